//go:build unix

package action_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tree returns what is in a folder, each entry as "path" for files with their content, "path/" for folders, "path -> target" for links.
func (m *machine) tree(name string) string {
	m.t.Helper()
	var found []string
	top := filepath.Join(m.root, name)
	err := filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == top {
			return err
		}
		rel, _ := filepath.Rel(top, path)
		switch {
		case entry.IsDir():
			found = append(found, rel+"/")
		case entry.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			found = append(found, rel+" -> "+target)
		case entry.Type().IsRegular():
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			found = append(found, rel+"="+string(data))
		default:
			found = append(found, rel+"?")
		}
		return nil
	})
	if os.IsNotExist(err) {
		return "-"
	}
	if err != nil {
		m.t.Fatal(err)
	}
	return strings.Join(found, " ")
}

func (m *machine) mkdir(name string, mode fs.FileMode) {
	m.t.Helper()
	path := filepath.Join(m.root, name)
	if err := os.MkdirAll(path, 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) fifo(name string) {
	m.t.Helper()
	if err := syscall.Mkfifo(filepath.Join(m.root, name), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

// withFolders returns a machine with folders to copy or move.
func withFolders(t *testing.T) *machine {
	m := newMachine(t)
	m.write("src/a", "1", 0o640)
	m.write("src/sub/b", "2", 0o755)
	m.mkdir("src/empty", 0o711)
	m.link("sub/b", "src/link")
	m.link("/etc", "src/sub/out")
	m.mkdir("src/sub", 0o750)
	m.write("src2/x", "x", 0o600)
	m.write("srcfile", "x", 0o600)
	m.write("old/a", "old", 0o600)
	m.write("old/kept", "kept", 0o600)
	m.mkdir("old/sub", 0o700)
	m.mkdir("old", 0o755)
	m.write("outside/secret", "s", 0o600)
	m.link("src", "tosrc")
	return m
}

const copied = "a=1 empty/ link -> sub/b sub/ sub/b=2 sub/out -> /etc"

func TestCopyAndMoveFolder(t *testing.T) {
	tests := []struct{ inputs, path, tree, failure string }{
		{`[{source: /src, destination: /new}]`, "new", copied, ""},
		{`[{source: /src/, destination: /deep/er/new}]`, "deep/er/new", copied, ""},
		{`[{source: /src, destination: /deep/}]`, "deep/src", copied, ""},
		{`[{source: "/src*", destination: /all/}]`, "all/src2", "x=x", ""},
		{`[{source: "/src*", destination: /all/}]`, "all/srcfile", "-", ""},
		{`[{source: "/s*c", destination: /all/}]`, "all/src", copied, ""},
		{`[{source: /src, destination: /old}]`, "old", "a=1 empty/ kept=kept link -> sub/b sub/ sub/b=2 sub/out -> /etc", ""},
		{`[{source: /src, destination: /old, overwrite: false}]`, "old", "a=old kept=kept sub/", "/src to /old: the destination exists, and overwrite is false"},
		{`[{source: /src, destination: /new, overwrite: false}]`, "new", copied, ""},
		{`[{source: /nope, destination: /new}]`, "new", "-", "no such file"},
		{`[{source: "/nope*", destination: /new/}]`, "new", "-", "folder /nope*: no folder matches"},
		{`[{source: /srcfile, destination: /new}]`, "new", "-", "it is no folder"},
		{`[{source: /src, destination: /srcfile}]`, "new", "-", "the destination is no folder"},
		{`[{source: /src, destination: /src}]`, "src", copied, "source and destination are the same folder"},
		{`[{source: /src, destination: /}]`, "src", copied, "source and destination are the same folder"},
		{`[{source: /src, destination: /src/sub/new}]`, "src", copied, "the destination is inside the source"},
		{`[{source: /src, destination: /tosrc/new}]`, "src", copied, "the destination is inside the source"},
		{`[{source: /src, destination: /src/empty}]`, "src", copied, "the destination is inside the source"},
		{`[{source: /src/sub, destination: /src}]`, "src", copied, "the source is inside the destination"},
		{`[{source: "/sr*/x", destination: /new/}]`, "new", "-", "* is allowed in the last part of the path only"},
		{`[{source: "/src*", destination: /new}]`, "new", "-", "must be a folder when the source contains *"},
		{`[{source: /src, destination: "/new*"}]`, "new", "-", "must not contain *"},
	}
	for _, test := range tests {
		t.Run(test.inputs, func(t *testing.T) {
			for _, action := range []string{"CopyFolder", "MoveFolder"} {
				m := withFolders(t)
				expect(t, m.failure(action, test.inputs), test.failure)
				if got := m.tree(test.path); got != test.tree {
					t.Errorf("%s: %s holds %s, want %s", action, test.path, got, test.tree)
				}
				moved := action == "MoveFolder" && test.failure == "" && test.path != "all/src2" && test.path != "all/srcfile"
				if got := m.tree("src"); moved && got != "-" || !moved && action == "CopyFolder" && got != copied {
					t.Errorf("%s: the source holds %s", action, got)
				}
				if m.tree("outside") != "secret=s" {
					t.Error("something else was changed")
				}
				m.noTemporaryFiles()
			}
		})
	}
}

// failure runs a step and returns its failure, also that of a document which is wrong.
func (m *machine) failure(name, inputs string) string {
	m.t.Helper()
	return m.tryDocument("schemaVersion: 1.0\nphases: [{name: build, steps: [{name: A, action: " + name + ", inputs: " + inputs + "}]}]\n")
}

func TestCopyFolderAttributes(t *testing.T) {
	m := withFolders(t)
	root := os.Getuid() == 0
	if root {
		m.chown("src/a", 1234, 2345)
		m.chown("src/sub", 1235, 2345)
		m.chown("src/link", 1236, 2345)
	}
	if err := os.Chmod(filepath.Join(m.root, "src/sub"), 0o750|fs.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	m.mkdir("src", 0o700)
	m.sparse("src/big")
	m.fifo("src/pipe")
	expect(t, m.run("CopyFolder", `[{source: /tosrc, destination: /new}, {source: /src, destination: /old}]`), "")
	if m.notices != "/src/pipe is a named pipe and not copied\n/src/pipe is a named pipe and not copied\n" {
		t.Errorf("notices %q", m.notices)
	}
	for _, to := range []string{"new", "old"} {
		if m.mode(to+"/a") != 0o640 || m.mode(to+"/sub/b") != 0o755 || m.mode(to+"/empty") != 0o711|fs.ModeDir {
			t.Errorf("%s: the modes are others", to)
		}
		m.sameSparse("src/big", to+"/big")
		if uid, gid := m.owner(to + "/a"); root && (uid != 1234 || gid != 2345) {
			t.Errorf("%s: the file belongs to %d:%d", to, uid, gid)
		}
		if uid, _ := m.owner(to + "/link"); root && uid != 1236 {
			t.Errorf("%s: the link belongs to %d", to, uid)
		}
	}
	if m.mode("new") != 0o700|fs.ModeDir || m.mode("new/sub") != 0o750|fs.ModeSetgid|fs.ModeDir {
		t.Errorf("new folders have the modes %s, %s", m.mode("new"), m.mode("new/sub"))
	}
	if m.mode("old") != 0o755|fs.ModeDir || m.mode("old/sub") != 0o700|fs.ModeDir {
		t.Errorf("folders that were there have the modes %s, %s", m.mode("old"), m.mode("old/sub"))
	}
}

// A link at the destination must not lead the copy elsewhere.
func TestCopyFolderIntoLinks(t *testing.T) {
	m := withFolders(t)
	if err := os.Remove(filepath.Join(m.root, "old/sub")); err != nil {
		t.Fatal(err)
	}
	m.link("../outside", "old/sub")
	expect(t, m.run("CopyFolder", `[{source: /src, destination: /old}]`), "it is a symbolic link")
	if got := m.tree("outside"); got != "secret=s" {
		t.Errorf("the copy left the destination: %s", got)
	}
	m.link("../outside/secret", "old/link2")
	m.link("x", "src2/link2")
	expect(t, m.run("CopyFolder", `[{source: /src2, destination: /old}]`), "")
	if m.tree("outside") != "secret=s" || !strings.Contains(m.tree("old"), "link2 -> x") {
		t.Errorf("trees %s and %s", m.tree("outside"), m.tree("old"))
	}
	m.write("folder/a/x", "x", 0o600)
	expect(t, m.run("CopyFolder", `[{source: /src, destination: /folder}]`), "there is a folder where a file is to be")
	m.noTemporaryFiles()
}

// otherFileSystem returns a folder that is on another file system than the machine, and makes it known there as /other.
func (m *machine) otherFileSystem() string {
	m.t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "ingot-test-")
	if err != nil {
		m.t.Skipf("this takes a second file system: %v", err)
	}
	m.t.Cleanup(func() { os.RemoveAll(dir) })
	var here, there syscall.Stat_t
	if syscall.Stat(m.root, &here) != nil || syscall.Stat(dir, &there) != nil || here.Dev == there.Dev {
		m.t.Skip("this takes a second file system: /dev/shm is none")
	}
	m.link(dir, "other")
	return dir
}

func TestMoveAcrossFileSystems(t *testing.T) {
	m := withFolders(t)
	dir := m.otherFileSystem()
	then := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, name := range []string{"src/a", "src/sub", "srcfile"} {
		if err := os.Chtimes(filepath.Join(m.root, name), then, then); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, m.run("MoveFolder", `[{source: /src, destination: /other/new}]`), "")
	expect(t, m.run("MoveFile", `[{source: /srcfile, destination: /other/}, {source: /tosrc, destination: /other/}]`), "")
	if m.tree("src") != "-" || m.read("srcfile") != "-" {
		t.Error("the source is still there")
	}
	there := &machine{t: t, root: dir}
	if got := there.tree("new"); got != copied {
		t.Errorf("moved: %s", got)
	}
	if got := there.tree("."); !strings.HasSuffix(got, "srcfile=x tosrc -> src") {
		t.Errorf("moved: %s", got)
	}
	for _, name := range []string{"new/a", "new/sub", "srcfile"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || !info.ModTime().Equal(then) {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if there.mode("new/sub") != 0o750|fs.ModeDir || there.mode("srcfile") != 0o600 {
		t.Error("the modes are others")
	}
	there.noTemporaryFilesBut("ingot-test-")

	m.fifo("src2/pipe")
	m.fifo("pipe")
	expect(t, m.run("MoveFolder", `[{source: /src2, destination: /other/two}]`), "it is a named pipe and cannot be copied")
	expect(t, m.run("MoveFile", `[{source: /pipe, destination: /other/}]`), "it is a named pipe and cannot be copied")
	if got := m.tree("src2"); got != "pipe? x=x" || there.tree("two") != "-" {
		t.Errorf("after the failure: source %s, destination %s", got, there.tree("two"))
	}
	there.noTemporaryFilesBut("ingot-test-")
}

func (m *machine) noTemporaryFilesBut(prefix string) {
	m.t.Helper()
	names := strings.Fields(m.tree("."))
	if slices.ContainsFunc(names, func(name string) bool { return strings.Contains(name, "ingot-") && !strings.HasPrefix(name, prefix) }) {
		m.t.Errorf("left behind: %q", names)
	}
}

func TestMoveFolderRefuses(t *testing.T) {
	m := withFolders(t)
	m.mkdir("etc", 0o755)
	expect(t, m.run("MoveFolder", `[{source: /tosrc, destination: /new}]`), "it is a symbolic link")
	expect(t, m.run("MoveFolder", `[{source: /etc, destination: /new}]`), "the system cannot be without")
	if m.tree("src") != copied || m.tree("new") != "-" {
		t.Error("something was moved")
	}
}

func TestMoveFile(t *testing.T) {
	tests := []struct{ inputs, path, content, gone, failure string }{
		{`[{source: /d/a, destination: /new/deep/file}]`, "new/deep/file", "a", "d/a", ""},
		{`[{source: /d/a, destination: /new/}]`, "new/a", "a", "d/a", ""},
		{`[{source: "/d/*", destination: /new/}]`, "new/b", "b", "d/b", ""},
		{`[{source: /d/a, destination: /d/b}]`, "d/b", "a", "d/a", ""},
		{`[{source: /d/a, destination: /link}]`, "link", "a", "d/a", ""},
		{`[{source: /link, destination: /new/link}]`, "new/link", "-", "link", ""},
		{`[{source: /d/a, destination: /d/b, overwrite: false}]`, "d/b", "b", "", "move file /d/a to /d/b: the destination exists, and overwrite is false"},
		{`[{source: /d/a, destination: /d/a}]`, "d/a", "a", "", "source and destination are the same file"},
		{`[{source: /d/a, destination: /tod/a}]`, "d/a", "a", "", "source and destination are the same file"},
		{`[{source: /d/a, destination: /d/sub}]`, "d/a", "a", "", "the destination is a folder; end it with a slash"},
		{`[{source: /d/sub, destination: /new}]`, "d/a", "a", "", "it is a folder"},
		{`[{source: /d/nope, destination: /new}]`, "d/a", "a", "", "no such file"},
		{`[{source: "/d/nope*", destination: /new/}]`, "d/a", "a", "", "move file /d/nope*: no file matches"},
		{`[{source: "/d/*", destination: /new}]`, "d/a", "a", "", "must be a folder when the source contains *"},
		{`[{source: /d/, destination: /new}]`, "d/a", "a", "", "names a folder where a file is needed"},
	}
	for _, test := range tests {
		t.Run(test.inputs, func(t *testing.T) {
			m := newMachine(t)
			m.write("d/a", "a", 0o640)
			m.write("d/b", "b", 0o600)
			m.mkdir("d/sub", 0o755)
			m.write("target", "target", 0o600)
			m.link("target", "link")
			m.link("d", "tod")
			expect(t, m.failure("MoveFile", test.inputs), test.failure)
			if got := m.read(test.path); got != test.content {
				t.Errorf("%s holds %q, want %q", test.path, got, test.content)
			}
			if _, err := os.Lstat(filepath.Join(m.root, test.gone)); test.gone != "" && err == nil {
				t.Errorf("%s is still there", test.gone)
			}
			if m.read("target") != "target" {
				t.Error("a link was followed")
			}
			m.noTemporaryFiles()
		})
	}
}
