package qemu

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"time"
)

// sandbox is the strictest seccomp filter QEMU offers: no obsolete system calls, no set*uid, no fork or exec, no
// scheduling changes.
const sandbox = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"

// relaying is the filter for a machine with services: QEMU starts programs, each in a session of its own (setsid is among what
// elevateprivileges=deny and =children deny), and they inherit the filter.
const relaying = "on,obsolete=deny,elevateprivileges=allow,spawn=allow,resourcecontrol=deny"

func (c *Config) sandbox() string {
	if c.Network != nil && len(c.Network.Services) > 0 {
		return relaying
	}
	return sandbox
}

// FindBinary returns the path of the QEMU to run. binary is a path or a name looked up in PATH; "" is the
// architecture's own. The error names the package to install.
func FindBinary(binary, architecture string) (string, error) {
	m, err := machineFor(architecture)
	if err != nil {
		return "", fmt.Errorf("find qemu: %w", err)
	}
	if binary == "" {
		binary = m.binary
	}
	path, err := exec.LookPath(binary)
	if err != nil {
		return "", fmt.Errorf("find qemu: %w; install the package %s", err, m.qemuPackage)
	}
	return path, nil
}

// BinaryInfo is what a QEMU binary says of itself.
type BinaryInfo struct {
	Path    string
	Version string // "7.2.22"
	Sandbox bool   // built with seccomp, so that it can restrict its own system calls
}

var versionLine = regexp.MustCompile(`QEMU emulator version (\d+\.\d+(?:\.\d+)?)`)

// InspectBinary runs the binary at path for its version (some 20 ms).
func InspectBinary(ctx context.Context, path string) (BinaryInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	info := BinaryInfo{Path: path}
	// QEMU reads its options in order: a binary without seccomp fails on -sandbox before it prints its version.
	out, err := exec.CommandContext(ctx, path, "-sandbox", sandbox, "--version").Output()
	info.Sandbox = err == nil
	if err != nil && ctx.Err() == nil {
		out, err = exec.CommandContext(ctx, path, "--version").Output()
	}
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok && len(exit.Stderr) > 0 {
			err = fmt.Errorf("%w: %s", err, lastLine(string(exit.Stderr)))
		}
		return info, fmt.Errorf("ask %s for its version: %w", path, err)
	}
	v := versionLine.FindSubmatch(out)
	if v == nil {
		return info, fmt.Errorf("ask %s for its version: not QEMU's answer: %.100q", path, out)
	}
	info.Version = string(v[1])
	return info, nil
}

// lastLine returns the last line of s that is not blank.
func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return strings.TrimSpace(s[strings.LastIndexByte(s, '\n')+1:])
}
