//go:build unix

package action_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestCreateFile(t *testing.T) {
	m := newMachine(t)
	m.write("etc/old", "old content", 0o640)
	m.link("old", "etc/link")
	if err := os.Mkdir(filepath.Join(m.root, "etc/dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, inputs, path, content, failure string }{
		{"new, with parents", `[{path: /a/b/c, content: "x\n"}]`, "a/b/c", "x\n", ""},
		{"empty", `[{path: /a/empty}]`, "a/empty", "", ""},
		{"relative", `[{path: rel, content: r}]`, "work/rel", "r", ""},
		{"replaced", `[{path: /etc/old, content: new}]`, "etc/old", "new", ""},
		{"through a link", `[{path: /etc/link, content: linked}]`, "etc/old", "linked", ""},
		{"no overwrite", `[{path: /etc/old, content: no, overwrite: false}]`, "etc/old", "linked", "create file /etc/old: it exists, and overwrite is false"},
		{"no overwrite of a link", `[{path: /etc/link, content: no, overwrite: "no"}]`, "etc/old", "linked", "it exists"},
		{"folder", `[{path: /etc/dir}]`, "etc/old", "linked", "create file /etc/dir: it is a folder"},
		{"several", `[{path: /s1, content: 1}, {path: /s2, content: 0755}]`, "s2", "0755", ""},
		{"first failure ends the step", `[{path: /etc/dir}, {path: /s3}]`, "s3", "-", "it is a folder"},
		{"unknown owner", `[{path: /o, owner: no-such-user}]`, "o", "-", "look up owner \"no-such-user\""},
		{"unknown group", `[{path: /o, group: no-such-group}]`, "o", "-", "look up group \"no-such-group\""},
		{"utf-16", `[{path: /u, content: "aä😀", encoding: UTF-16}]`, "u", "a\x00\xe4\x00\x3d\xd8\x00\xde", ""},
		{"utf16-be", `[{path: /u, content: "aä", encoding: utf16-BE}]`, "u", "\x00a\x00\xe4", ""},
		{"utf32", `[{path: /u, content: "😀", encoding: Utf32}]`, "u", "\x00\xf6\x01\x00", ""},
		{"utf-32-be", `[{path: /u, content: "😀", encoding: utf-32-be}]`, "u", "\x00\x01\xf6\x00", ""},
		{"utf8", `[{path: /u, content: "ä", encoding: utf8}]`, "u", "ä", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			expect(t, m.run("CreateFile", test.inputs), test.failure)
			if got := m.read(test.path); got != test.content {
				t.Errorf("%s holds %q, want %q", test.path, got, test.content)
			}
		})
	}
	if m.mode("etc/old") != 0o640 {
		t.Errorf("a replaced file got the mode %s", m.mode("etc/old"))
	}
}

func TestCreateFileRefusesPipes(t *testing.T) {
	m := newMachine(t)
	if err := syscall.Mkfifo(filepath.Join(m.root, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	expect(t, m.run("CreateFile", `[{path: /pipe, content: x}]`), "it is no regular file")
	expect(t, m.run("AppendFile", `[{path: /pipe, content: x}]`), "it is no regular file")
	expect(t, m.run("CopyFile", `[{source: /pipe, destination: /x}]`), "it is no regular file")
	expect(t, m.run("CopyFile", `[{source: /../pipe, destination: /x}]`), "it is no regular file")
}

func TestPermissions(t *testing.T) {
	for text, want := range map[string]fs.FileMode{
		"0755": 0o755, "755": 0o755, `"0755"`: 0o755, "0o640": 0o640, "4755": 0o755 | fs.ModeSetuid, "2750": 0o750 | fs.ModeSetgid, "0": 0,
		"01777": 0o777 | fs.ModeSticky,
	} {
		m := newMachine(t)
		m.write("f", "x", 0o600)
		expect(t, m.run("SetFilePermissions", fmt.Sprintf("[{path: /f, permissions: %s}]", text)), "")
		expect(t, m.run("CreateFile", fmt.Sprintf("[{path: /new, permissions: %s}]", text)), "")
		expect(t, m.run("CreateFolder", fmt.Sprintf("[{path: /dir, permissions: %s}]", text)), "")
		if m.mode("f") != want || m.mode("new") != want || m.mode("dir") != want|fs.ModeDir {
			t.Errorf("%s: modes %s, %s, %s, want %s", text, m.mode("f"), m.mode("new"), m.mode("dir"), want)
		}
	}
	m := newMachine(t)
	expect(t, m.run("SetFilePermissions", "[{path: /nope, permissions: 644}]"), "set permissions of file /nope: stat ")
	expect(t, m.run("SetFilePermissions", "[{path: /work, permissions: 644}]"), "it is a folder")
}

func TestSetFileOwner(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("changing owners takes root")
	}
	m := newMachine(t)
	m.write("f", "x", 0o600)
	m.link("f", "link")
	owners := func() [2]uint32 {
		info, err := os.Stat(filepath.Join(m.root, "f"))
		if err != nil {
			t.Fatal(err)
		}
		stat := info.Sys().(*syscall.Stat_t)
		return [2]uint32{stat.Uid, stat.Gid}
	}
	tests := []struct {
		inputs string
		want   [2]uint32
	}{
		{"[{path: /f, owner: 1234, group: 2345}]", [2]uint32{1234, 2345}},
		{"[{path: /f, owner: 1235}]", [2]uint32{1235, 2345}}, // nobody of that number, whose group would be known
		{"[{path: /link, owner: root}]", [2]uint32{0, 0}},
		{"[{path: /f, owner: root, group: 7}]", [2]uint32{0, 7}},
	}
	for _, test := range tests {
		expect(t, m.run("SetFileOwner", test.inputs), "")
		if got := owners(); got != test.want {
			t.Errorf("%s: owners %v, want %v", test.inputs, got, test.want)
		}
	}
	expect(t, m.run("CreateFile", "[{path: /f, owner: 1234, permissions: 4711}]"), "")
	if got := owners(); got[0] != 1234 || m.mode("f") != 0o711|fs.ModeSetuid {
		t.Errorf("owners %v, mode %s", got, m.mode("f"))
	}
	expect(t, m.run("SetFileOwner", "[{path: /nope, owner: root}]"), "set owner of file /nope")
	expect(t, m.run("SetFileOwner", "[{path: /f, owner: no-such-user}]"), "look up owner")
}

func TestAppendFile(t *testing.T) {
	m := newMachine(t)
	m.write("f", "one\n", 0o600)
	expect(t, m.run("AppendFile", `[{path: /f, content: "two\n"}, {path: /f, content: ä, encoding: utf16-be}]`), "")
	if got := m.read("f"); got != "one\ntwo\n\x00\xe4" {
		t.Errorf("file holds %q", got)
	}
	expect(t, m.run("AppendFile", `[{path: /nope, content: x}]`), "append to file /nope")
	if got := m.read("nope"); got != "-" {
		t.Errorf("a file was made: %q", got)
	}
}

func TestCreateFolder(t *testing.T) {
	m := newMachine(t)
	m.write("d/keep", "x", 0o600)
	m.write("f", "x", 0o600)
	expect(t, m.run("CreateFolder", `[{path: /a/b/c}, {path: /d, permissions: 0700}]`), "")
	if !m.mode("a/b/c").IsDir() || m.mode("d").Perm() != 0o700 || m.read("d/keep") != "x" {
		t.Error("folders are not as they should be")
	}
	expect(t, m.run("CreateFolder", `[{path: /d, overwrite: false}]`), "create folder /d: it exists, and overwrite is false")
	expect(t, m.run("CreateFolder", `[{path: /f}]`), "not a directory")
}

func TestCopyFile(t *testing.T) {
	m := newMachine(t)
	m.write("src/a.conf", "a", 0o640)
	m.write("src/b.conf", "b", 0o755)
	m.write("src/c[1].txt", "c", 0o644)
	m.write("src/sub.conf/x", "x", 0o644)
	m.write("dst/old", "old", 0o600)
	m.link("old", "dst/link")
	m.link("a.conf", "src/link")
	tests := []struct{ inputs, path, content, failure string }{
		{`[{source: /src/a.conf, destination: /new/deep/file}]`, "new/deep/file", "a", ""},
		{`[{source: /src/a.conf, destination: /new/dir/}]`, "new/dir/a.conf", "a", ""},
		{`[{source: "/src/*.conf", destination: /all/}]`, "all/b.conf", "b", ""},
		{`[{source: "/src/c[1].*", destination: /brackets/}]`, "brackets/c[1].txt", "c", ""},
		{`[{source: /src/b.conf, destination: /dst/old}]`, "dst/old", "b", ""},
		{`[{source: /src/a.conf, destination: /dst/link}]`, "dst/old", "a", ""},
		{`[{source: /src/link, destination: /fromlink}]`, "fromlink", "a", ""},
		{`[{source: /src/b.conf, destination: /dst/old, overwrite: false}]`, "dst/old", "a", "the destination exists, and overwrite is false"},
		{`[{source: /src/nope, destination: /x}]`, "x", "-", "no such file"},
		{`[{source: "/src/*.nope", destination: /x/}]`, "x", "-", "copy file /src/*.nope: no file matches"},
		{`[{source: "/nope/*", destination: /x/}]`, "x", "-", "no such file"},
		{`[{source: /src, destination: /x}]`, "x", "-", "it is a folder"},
		{`[{source: /src/a.conf, destination: /dst}]`, "dst/a.conf", "-", "it is a folder"},
	}
	for _, test := range tests {
		t.Run(test.inputs, func(t *testing.T) {
			expect(t, m.run("CopyFile", test.inputs), test.failure)
			if got := m.read(test.path); got != test.content {
				t.Errorf("%s holds %q, want %q", test.path, got, test.content)
			}
		})
	}
	if m.mode("all/b.conf") != 0o755 || m.mode("new/deep/file") != 0o640 {
		t.Errorf("modes %s and %s", m.mode("all/b.conf"), m.mode("new/deep/file"))
	}
	if info, err := os.Lstat(filepath.Join(m.root, "dst/link")); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link at the destination is gone: %v, %v", info, err)
	}
	m.noTemporaryFiles()
}

func TestDeleteFile(t *testing.T) {
	m := newMachine(t)
	for _, name := range []string{"d/a.log", "d/b.log", "d/c.txt", "d/sub/x", "target"} {
		m.write(name, "x", 0o600)
	}
	m.link("../target", "d/link")
	expect(t, m.run("DeleteFile", `[{path: /d/a.log}, {path: /d/link}]`), "")
	if m.read("d/a.log") != "-" || m.read("d/link") != "-" || m.read("target") != "x" {
		t.Error("the wrong files were deleted")
	}
	expect(t, m.run("DeleteFile", `[{path: "/d/*"}]`), "")
	if m.read("d/b.log") != "-" || m.read("d/c.txt") != "-" || m.read("d/sub/x") != "x" {
		t.Error("the wrong files were deleted")
	}
	expect(t, m.run("DeleteFile", `[{path: /d/a.log}, {path: "/d/*.log"}, {path: "/nope/*"}]`), "")
	if m.notices != "there is no file /d/a.log to delete\nthere is no file /d/*.log to delete\nthere is no file /nope/* to delete\n" {
		t.Errorf("notices %q", m.notices)
	}
	expect(t, m.run("DeleteFile", `[{path: /d/sub}]`), "delete file /d/sub: it is a folder")
}
