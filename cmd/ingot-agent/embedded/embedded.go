// Package embedded carries the agents that `make` built before the ingot program, so that one file installs Ingot.
//
// A plain `go build ./...` on a fresh clone also works, but then no agent is inside and [Agent] says how to get one.
package embedded

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
)

// The folder always holds .gitkeep, so that the pattern matches before the agents are built.
//
//go:embed all:bin
var files embed.FS

// ErrNotBuilt is returned when this program was built without the agent asked for.
var ErrNotBuilt = errors.New("this ingot was built without its guest agents; build it with `make build`")

// Agent returns the static program for a guest of the given operating system and architecture, in Go's words
// ("linux", "amd64"). The error wraps ErrNotBuilt if there is none inside.
func Agent(goos, goarch string) ([]byte, error) {
	data, err := files.ReadFile(fmt.Sprintf("bin/ingot-agent-%s-%s", goos, goarch))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("agent for %s/%s: %w", goos, goarch, ErrNotBuilt)
	}
	return data, err
}
