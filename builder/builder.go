// Package builder casts images: it takes a recipe through the stages of a build, from pinned inputs to a tested disk image
// with its manifest. [Builder.Build] in build.go is the whole of it, top to bottom; each stage is a function from what
// the stages before it gave to what the next ones need, in a file of its own or beside its neighbours:
//
//	plan.go        resolve: the recipe with every input pinned
//	job.go         one build under way: its number, workspace, logs, events and stages
//	guest.go       boot, apply, finalise: the guest that becomes the image
//	stack.go       the images that a guest's disk is made of, layers among them
//	warm.go        which layers a build goes on from, and when it saves one (warm_apply.go, reads.go, finished.go)
//	flatten.go     flatten: the image's files
//	distribute.go  distribute: their way to where they were asked for
//	test.go        test: throwaway VMs booted from the image's files
//	rehearsal.go   the image's boot as on EC2, with the metadata service of builder/imds
//	machine.go     a guest and the session with its agent, across reboots
//	workspace.go   what must not outlive a build, and how it is made sure
//
// The rooms below it do the work: builder/recipe, builder/base, builder/component and builder/agent, and disk and qemu.
package builder

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"

	"github.com/ingot-image/ingot/builder/agent"
	"github.com/ingot-image/ingot/builder/base"
)

// Builder builds images and keeps what it knows under one folder. Home and Agent must be
// given.
type Builder struct {
	// Home is $INGOT_HOME. See DefaultHome.
	Home string
	// Mirror is the Debian mirror that bases are made from. Empty: that of the machine's own apt sources.
	Mirror string
	// Agent gives the agent's program for a guest (embedded.Agent).
	Agent func(goos, goarch string) ([]byte, error)
	// Services are what components may reach outside of their guest while they build and test. What is nil they cannot use.
	Services agent.Services
	// Relay is the command that connects a guest to services of this program: qemu.Config.Relay. Only Rehearse needs it.
	Relay []string
	// Events is told what happens, one event at a time.
	Events func(Event)
}

// DefaultHome is where Ingot keeps its state: $INGOT_HOME, or the folder ingot in the user's data folder (XDG Base
// Directory Specification: $XDG_DATA_HOME, else ~/.local/share).
func DefaultHome() (string, error) {
	if home := os.Getenv("INGOT_HOME"); home != "" {
		return filepath.Abs(home)
	}
	if data := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(data) {
		return filepath.Join(data, "ingot"), nil
	}
	user, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find a place for Ingot's state: %w; set INGOT_HOME", err)
	}
	return filepath.Join(user, ".local", "share", "ingot"), nil
}

// CatalogPath is the catalog's file.
func (b *Builder) CatalogPath() string { return filepath.Join(b.Home, "ingot.db") }

// Bases is the store of parent images' disks.
func (b *Builder) Bases() *base.Store {
	return &base.Store{Dir: filepath.Join(b.Home, "bases"), Mirror: b.Mirror}
}

func randomHex(bytes int) string {
	data := make([]byte, bytes)
	rand.Read(data)
	return hex.EncodeToString(data)
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func mkdir(path string) error { return os.MkdirAll(path, 0o700) }
