package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ingot-image/ingot/builder/component"
)

// TestARM64 runs the agent for arm64, and tests of its packages, by user mode emulation. Programs that they start are the host's.
func TestARM64(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and emulates programs for arm64")
	}
	emulator := findProgram("qemu-aarch64", "qemu-aarch64-static")
	if emulator == "" {
		t.Skip("qemu-aarch64 is not installed (Debian package qemu-user), so nothing runs programs for arm64")
	}
	t.Parallel()
	emulate := func(t *testing.T, dir, program string, args ...string) (stdout, stderr []byte, code int) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, emulator, append([]string{program}, args...)...)
		cmd.Dir = dir
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		cmd.WaitDelay = 5 * time.Second
		err := cmd.Run()
		if exit, ok := errors.AsType[*exec.ExitError](err); ok && ctx.Err() == nil {
			return out.Bytes(), errs.Bytes(), exit.ExitCode()
		}
		if err != nil {
			t.Fatalf("%s %v: %v (%v)\n%s%s", program, args, err, ctx.Err(), out.Bytes(), errs.Bytes())
		}
		return out.Bytes(), errs.Bytes(), 0
	}

	t.Run("agent", func(t *testing.T) {
		dir := t.TempDir()
		agent, document := filepath.Join(dir, "ingot-agent"), filepath.Join(dir, "document.yml")
		build(t, "linux", "arm64", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", agent, "./cmd/ingot-agent")
		content := `
schemaVersion: 1.0
parameters:
  - Name: {type: string}
phases:
  - name: build
    steps:
      - name: Create
        action: CreateFile
        inputs: [{path: file, content: "for {{ Name }}\n", permissions: 0640}]
      - name: Show
        action: ExecuteBash
        inputs: {commands: [cat file, stat -c %a file, "pwd >&2"]}
      - name: Again
        action: ExecuteBash
        inputs: {commands: ["[ -e again ] || { touch again; exit 194; }"]}
  - name: validate
    steps:
      - name: Compare
        action: Assert
        inputs: {stringEquals: "for arm64\n640", value: "{{ build.Show.outputs.stdout }}"}
`
		if err := os.WriteFile(document, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		run := func() ran {
			stdout, stderr, code := emulate(t, dir, agent, "run", "-d", document, "-parameters", "Name=arm64", "-working-directory", dir, "-state", filepath.Join(dir, "state"))
			if len(stderr) > 0 {
				t.Errorf("the agent says: %s", stderr)
			}
			r := parseRun(t, stdout)
			r.code = code
			return r
		}
		r := run()
		if r.code != 194 || r.result == nil || r.result.Status != component.StatusReboot || strings.TrimSpace(r.text(component.StreamStderr)) != dir {
			t.Fatal(r)
		}
		run().succeeded(t)
	})
	// Tests of time are left out: the emulator takes long to start programs and to interrupt them.
	for _, unit := range []struct{ dir, run string }{
		{"builder/component", "^Test(Parse|ScanReferences|Resolve|CheckParameters|Secrets|Cleaner|If|RunOrder|RunAttempts|RunRebootAction)"},
		{"builder/component/action", "^Test(CreateFile|AppendFile|CopyFile|CreateFolder|DeleteFile|Owner|Permissions|SetFile|Registry|Assert|ExecuteBinary)"},
		{"builder/agent", "^Test(Requests|Get|StaleBytes|Reconnect|Connect|HostileGuest|CheckResult|CompareVersions|BootFiles)"},
	} {
		t.Run("tests of "+filepath.Base(unit.dir), func(t *testing.T) {
			program := filepath.Join(t.TempDir(), "unit.test")
			build(t, "linux", "arm64", "test", "-c", "-ldflags", "-s -w", "-o", program, "./"+unit.dir)
			stdout, stderr, code := emulate(t, filepath.Join("..", "..", unit.dir), program, "-test.v", "-test.short", "-test.run", unit.run)
			if code != 0 || !bytes.Contains(stdout, []byte("--- PASS")) {
				t.Errorf("exit status %d\n%s%s", code, stdout, stderr)
			}
		})
	}
}
