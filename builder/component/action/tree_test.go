//go:build unix

package action_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/builder/component"
)

func TestDeleteFolder(t *testing.T) {
	tests := []struct{ inputs, path, tree, failure, notices string }{
		{`[{path: /empty}]`, "empty", "-", "", ""},
		{`[{path: /empty/, force: true}]`, "empty", "-", "", ""},
		{`[{path: /full}]`, "full", "a=x link -> ../outside sub/ sub/b=x", "delete folder /full: it is not empty; with force: true", ""},
		{`[{path: /full, force: true}]`, "full", "-", "", ""},
		{`[{path: full, force: true}]`, "work/full", "-", "", ""},
		{`[{path: /nope}]`, "full", "a=x link -> ../outside sub/ sub/b=x", "", "there is no folder /nope to delete\n"},
		{`[{path: /nope/nope, force: true}]`, "nope", "-", "", "there is no folder /nope/nope to delete\n"},
		{`[{path: /file, force: true}]`, "full", "a=x link -> ../outside sub/ sub/b=x", "it is no folder", ""},
		{`[{path: /link, force: true}]`, "outside", "secret=s", "it is a symbolic link; DeleteFile deletes it", ""},
		{`[{path: /link/, force: true}]`, "outside", "secret=s", "it is a symbolic link; DeleteFile deletes it", ""},
		{`[{path: "/ful*", force: true}]`, "full", "a=x link -> ../outside sub/ sub/b=x", "must not contain *", ""},
		{`[{path: /, force: true}]`, "outside", "secret=s", "it is the root of the file system", ""},
		{`[{path: /../.., force: true}]`, "outside", "secret=s", "it is the root of the file system", ""},
		{`[{path: /usr, force: true}]`, "usr", "bin/ bin/sh=x", "the system cannot be without", ""},
		{`[{path: /usr/bin, force: true}]`, "usr", "bin/ bin/sh=x", "the system cannot be without", ""},
		{`[{path: /full/../usr, force: true}]`, "usr", "bin/ bin/sh=x", "the system cannot be without", ""},
		{`[{path: /tousr/bin, force: true}]`, "usr", "bin/ bin/sh=x", "the system cannot be without", ""},
		{`[{path: /work, force: true}]`, "work", "full/ full/x=x", "the system cannot be without", ""},
		{`[{path: ., force: true}]`, "work", "full/ full/x=x", "the system cannot be without", ""},
	}
	for _, test := range tests {
		t.Run(test.inputs, func(t *testing.T) {
			m := newMachine(t)
			m.write("full/a", "x", 0o600)
			m.write("full/sub/b", "x", 0o600)
			m.write("work/full/x", "x", 0o600)
			m.write("usr/bin/sh", "x", 0o600)
			m.write("outside/secret", "s", 0o600)
			m.write("file", "x", 0o600)
			m.mkdir("empty", 0o755)
			m.link("../outside", "full/link")
			m.link("outside", "link")
			m.link("usr", "tousr")
			expect(t, m.failure("DeleteFolder", test.inputs), test.failure)
			if got := m.tree(test.path); got != test.tree {
				t.Errorf("%s holds %s, want %s", test.path, got, test.tree)
			}
			if m.notices != test.notices {
				t.Errorf("notices %q", m.notices)
			}
			if m.tree("outside") != "secret=s" {
				t.Error("a link was followed")
			}
		})
	}
}

func TestSetFolderOwner(t *testing.T) {
	needRoot(t)
	const all = "f sub sub/f sub/link sub/tofolder"
	tests := []struct{ inputs, changed, failure string }{
		{`[{path: /d, owner: 1234, group: 2345}]`, "d " + all, ""},
		{`[{path: /d/, owner: 1234, group: 2345, recursive: false}]`, "d", ""},
		{`[{path: /link, owner: 1234, group: 2345, recursive: false}]`, "d", ""},
		{`[{path: /link, owner: 1234, group: 2345}]`, "", "it is a symbolic link; name the folder that it leads to"},
		{`[{path: /d/f, owner: 1234}]`, "", "it is no folder"},
		{`[{path: /nope, owner: 1234}]`, "", "set owner of folder /nope: "},
		{`[{path: /d, owner: no-such-user}]`, "", `look up owner "no-such-user"`},
		{`[{path: /d, owner: root, group: no-such-group}]`, "", `look up group "no-such-group"`},
		{`[{path: "/d*", owner: root}]`, "", "must not contain *"},
	}
	for _, test := range tests {
		t.Run(test.inputs, func(t *testing.T) {
			m := newMachine(t)
			m.withLinks()
			expect(t, m.failure("SetFolderOwner", test.inputs), test.failure)
			var changed []string
			for _, name := range strings.Fields("d d/f d/sub d/sub/f d/sub/link d/sub/tofolder outside outside/f link") {
				if uid, gid := m.owner(name); uid == 1234 && gid == 2345 {
					changed = append(changed, strings.TrimPrefix(name, "d/"))
				} else if uid != 0 || gid != 0 {
					t.Errorf("%s belongs to %d:%d", name, uid, gid)
				}
			}
			if got := strings.Join(changed, " "); got != test.changed {
				t.Errorf("changed: %s, want %s", got, test.changed)
			}
		})
	}
}

// withLinks makes a folder d with links out of it.
func (m *machine) withLinks() {
	m.write("outside/f", "x", 0o640)
	m.mkdir("outside", 0o751)
	m.write("d/f", "x", 0o640)
	m.write("d/sub/f", "x", 0o640)
	m.mkdir("d/sub", 0o751)
	m.mkdir("d", 0o751)
	m.link("../../outside/f", "d/sub/link")
	m.link("../../outside", "d/sub/tofolder")
	m.link("d", "link")
}

func TestSetFolderPermissions(t *testing.T) {
	tests := []struct{ inputs, changed, failure string }{
		{`[{path: /d, permissions: 0700}]`, "d f sub sub/f", ""},
		{`[{path: /d/, permissions: 700, recursive: false}]`, "d", ""},
		{`[{path: /link, permissions: "0700", recursive: "no"}]`, "d", ""},
		{`[{path: /link, permissions: 0700}]`, "", "it is a symbolic link; name the folder that it leads to"},
		{`[{path: /d/f, permissions: 0700}]`, "", "it is no folder"},
		{`[{path: /d/f, permissions: 0700, recursive: false}]`, "", "not a directory"},
		{`[{path: /nope, permissions: 0700}]`, "", "set permissions of folder /nope: "},
		{`[{path: /d, permissions: rwx}]`, "", `"rwx" are no permissions`},
		{`[{path: /d}]`, "", "permissions: is missing"},
	}
	for _, test := range tests {
		t.Run(test.inputs, func(t *testing.T) {
			m := newMachine(t)
			m.withLinks()
			expect(t, m.failure("SetFolderPermissions", test.inputs), test.failure)
			var changed []string
			for _, name := range strings.Fields("d d/f d/sub d/sub/f outside outside/f") {
				switch m.mode(name).Perm() {
				case 0o700:
					changed = append(changed, strings.TrimPrefix(name, "d/"))
				case 0o640, 0o751:
				default:
					t.Errorf("%s has the mode %s", name, m.mode(name))
				}
			}
			if got := strings.Join(changed, " "); got != test.changed {
				t.Errorf("changed: %s, want %s", got, test.changed)
			}
		})
	}
}

// Permissions that lock everybody out, and those that let one in again, are set as an ordinary user, too.
func TestSetFolderPermissionsAsUser(t *testing.T) {
	asUser(t, func(m *machine) {
		m.withLinks()
		expect(t, m.run("SetFolderPermissions", "[{path: /d, permissions: 0000}]"), "")
		if m.mode("d").Perm() != 0 {
			t.Errorf("mode %s", m.mode("d"))
		}
		m.mkdir("d", 0o700)
		expect(t, m.run("SetFolderPermissions", "[{path: /d, permissions: 0750}]"), "")
		if m.mode("d/sub").Perm() != 0o750 || m.mode("d/sub/f").Perm() != 0o750 || m.mode("outside").Perm() != 0o751 {
			t.Errorf("modes %s and %s", m.mode("d/sub"), m.mode("d/sub/f"))
		}
		expect(t, m.run("SetFolderOwner", "[{path: /d, owner: root}]"), "operation not permitted")
		expect(t, m.run("CopyFolder", "[{source: /d, destination: /copy}]"), "")
		if m.tree("copy") != m.tree("d") || m.mode("copy/sub/f") != 0o750 {
			t.Errorf("copy: %s", m.tree("copy"))
		}
	})
}

// asUser calls f with a machine that belongs to nobody, as that user: in this process if it is no root's, else in one of its own.
func asUser(t *testing.T, f func(m *machine)) {
	t.Helper()
	if os.Getuid() != 0 {
		f(newMachine(t))
		return
	}
	dir := t.TempDir()
	for path := dir; path != os.TempDir() && path != "/"; path = filepath.Dir(path) {
		if err := os.Chmod(path, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	program, err := os.ReadFile(os.Args[0]) // where it is now, an ordinary user cannot run it
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "test"), program, 0o755); err != nil {
		t.Fatal(err)
	}
	command := asNobody(exec.Command(filepath.Join(dir, "test"), "-test.run=^"+t.Name()+"$", "-test.v"))
	command.Dir, command.Env = dir, append(os.Environ(), "TMPDIR="+dir)
	output, err := command.CombinedOutput()
	if err != nil || !strings.Contains(string(output), "--- PASS: "+t.Name()) {
		t.Errorf("as an ordinary user: %v\n%s", err, output)
	}
}

func TestDepthIsBounded(t *testing.T) {
	m := newMachine(t)
	root, err := os.OpenRoot(m.root)
	if err != nil {
		t.Fatal(err)
	}
	for range 1100 { // deeper than a path can be long
		if err := root.Mkdir("d", 0o755); err != nil {
			t.Fatal(err)
		}
		sub, err := root.OpenRoot("d")
		if err != nil {
			t.Fatal(err)
		}
		root.Close()
		root = sub
	}
	root.Close()
	for action, inputs := range map[string]string{
		"CopyFolder": "[{source: /d, destination: /e}]", "SetFolderPermissions": "[{path: /d, permissions: 700}]",
		"ListFiles": "[{path: /d, recursive: true}]",
	} {
		expect(t, m.run(action, inputs), "folders nest deeper than 1000 levels")
	}
	expect(t, m.run("DeleteFolder", "[{path: /d, force: true}]"), "")
	if m.tree("d") != "-" {
		t.Error("the folder is still there")
	}
	m.noTemporaryFiles()
}

// A copy that is stopped in the middle leaves nothing.
func TestCopyFolderStops(t *testing.T) {
	m := newMachine(t)
	m.mkdir("d/a", 0o755)
	m.fifo("d/b")
	for i := range 200 {
		m.write(fmt.Sprintf("d/c/%d", i), "x", 0o600)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	m.Events = func(e component.Event) {
		if strings.Contains(e.Text, "named pipe") {
			cancel(errors.New("stopped"))
		}
	}
	if err := m.runContext(ctx, "CopyFolder", "[{source: /d, destination: /e}]"); err == nil || !strings.Contains(err.Error(), "stopped") {
		t.Errorf("error %v", err)
	}
	if got := m.tree("e"); got != "-" {
		t.Errorf("half a copy is there: %s", got)
	}
	m.noTemporaryFiles()
}

func TestCreateSymlink(t *testing.T) {
	tests := []struct{ inputs, path, target, failure string }{
		{`[{path: /new/deep/link, target: /d/f}]`, "new/deep/link", "/d/f", ""},
		{`[{path: /new, target: /d}]`, "new", "/d", ""},
		{`[{path: rel, target: /d/f}]`, "work/rel", "/d/f", ""},
		{`[{path: /d/rel, target: f}]`, "d/rel", "f", ""},
		{`[{path: /d/deep/up, target: ../f}]`, "d/deep/up", "../f", ""},
		{`[{path: /d/up, target: ../d/f}]`, "d/up", "/d/f", ""},
		{`[{path: /there, target: here}]`, "there", filepath.Join("/work", "here"), ""},
		{`[{path: /d/both, target: ./g/../both.txt}]`, "d/both", filepath.Join("/work", "both.txt"), ""},
		{`[{path: /rel, target: f}]`, "rel", "", "create symlink /rel: look at the target: "},
		{`[{path: /x/y, target: /nope}]`, "x", "", "look at the target: "},
		{`[{path: /link, target: /d/g}]`, "link", "/d/f", "the link exists, and force is false"},
		{`[{path: /link, target: /d/g, force: true}]`, "link", "/d/g", ""},
		{`[{path: /dangling, target: /d/g, force: true}]`, "dangling", "/d/g", ""},
		{`[{path: /tod, target: /d/g, force: true}]`, "tod", "/d/g", ""},
		{`[{path: /link, target: /nope, force: true}]`, "link", "/d/f", "look at the target: "},
		{`[{path: /d/f, target: /d/g, force: true}]`, "d/f", "", "what is there is no symbolic link"},
		{`[{path: /d, target: /d/g, force: true}]`, "d", "", "what is there is no symbolic link"},
	}
	for _, test := range tests {
		t.Run(test.inputs, func(t *testing.T) {
			m := newMachine(t)
			m.write("d/f", "f", 0o600)
			m.write("d/g", "g", 0o600)
			m.link("/d/f", "link")
			m.write("work/here", "", 0o600)
			m.write("work/both.txt", "", 0o600)
			m.write("d/both.txt", "", 0o600)
			m.link("/nowhere", "dangling")
			m.link("/d", "tod")
			expect(t, m.run("CreateSymlink", test.inputs), test.failure)
			if got, _ := os.Readlink(filepath.Join(m.root, test.path)); got != test.target {
				t.Errorf("%s leads to %q, want %q", test.path, got, test.target)
			}
			if m.read("d/f") != "f" || m.read("d/g") != "g" || m.tree("x") != "-" {
				t.Error("something else was changed")
			}
			m.noTemporaryFiles()
		})
	}
}

func TestListFiles(t *testing.T) {
	m := newMachine(t)
	for _, name := range []string{"d/b.log", "d/a.log", "d/A[1].log", "d/c.txt", "d/sub/d.log", "d/sub/deep/e.log", "d.log", "d/a-b.log", "out/o.log"} {
		m.write(name, "x", 0o600)
	}
	m.link("../out", "d/tofolder")
	m.link("c.txt", "d/link.log")
	m.link("d", "tod")
	m.mkdir("empty", 0o755)
	m.write("commas/a,b", "x", 0o600)
	tests := []struct{ inputs, files, failure string }{
		{`path: /d`, "/d/A[1].log,/d/a-b.log,/d/a.log,/d/b.log,/d/c.txt,/d/link.log,/d/tofolder", ""},
		{`path: /d/, fileNamePattern: "*.log"`, "/d/A[1].log,/d/a-b.log,/d/a.log,/d/b.log,/d/link.log", ""},
		{`path: /d, fileNamePattern: "*[1]*"`, "/d/A[1].log", ""},
		{`path: /d, fileNamePattern: "a*b*"`, "/d/a-b.log", ""},
		{`path: /d, fileNamePattern: "?.log"`, "", ""},
		{`path: /d, fileNamePattern: "b.log", recursive: true`, "/d/b.log", ""},
		{`path: /d, fileNamePattern: "?*", recursive: false`, "", ""},
		{`path: /d, recursive: true, fileNamePattern: "*.log"`, "/d/A[1].log,/d/a-b.log,/d/a.log,/d/b.log,/d/link.log,/d/sub/d.log,/d/sub/deep/e.log", ""},
		{`path: /tod, fileNamePattern: "c*"`, "/tod/c.txt", ""},
		{`path: ../d, fileNamePattern: "c*"`, "/d/c.txt", ""},
		{`path: /empty`, "", ""},
		{`path: /commas`, "/commas/a,b", ""},
		{`path: /nope`, "", "list files in /nope: "},
		{`path: /d/c.txt`, "", "not a directory"},
		{`path: "/d/*"`, "", "must not contain *"},
		{`path: /d, fileNamePattern: "sub/*"`, "", "contains a slash"},
	}
	for _, test := range tests {
		t.Run(test.inputs, func(t *testing.T) {
			expect(t, m.output1("ListFiles", test.inputs, "files"), test.failure)
			if got := m.read("got"); test.failure == "" && got != "<"+test.files+">" {
				t.Errorf("files %s, want %s", got, test.files)
			}
		})
	}
	m.run("ListFiles", `[{path: /commas}]`)
	if !strings.Contains(m.notices, "a comma in their path") {
		t.Errorf("notices %q", m.notices)
	}
}

func TestListFilesIsBounded(t *testing.T) {
	m := newMachine(t)
	name := strings.Repeat("x", 245)
	for i := range 4500 {
		m.write(fmt.Sprintf("d/%s%d", name, i), "", 0o600)
	}
	expect(t, m.run("ListFiles", `[{path: /d}]`), "the list is longer than 1 MiB")
	expect(t, m.run("ListFiles", `[{path: /d, fileNamePattern: "*99"}]`), "")
}

// output1 runs a step and writes one of its outputs to the file got.
func (m *machine) output1(action, inputs, output string) string {
	m.t.Helper()
	return m.tryDocument(fmt.Sprintf(`schemaVersion: 1.0
phases:
  - name: build
    steps:
      - {name: Step, action: %s, inputs: [{%s}]}
      - {name: Note, action: CreateFile, inputs: [{path: /got, content: "<{{ build.Step.outputs.%s }}>"}]}
`, action, inputs, output))
}
