//go:build unix

package action_test

import (
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// needRoot skips what an ordinary user may not do.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("changing owners takes root")
	}
}

// owner returns who owns a file or link itself.
func (m *machine) owner(name string) (uid, gid uint32) {
	m.t.Helper()
	info, err := os.Lstat(filepath.Join(m.root, name))
	if err != nil {
		m.t.Fatal(err)
	}
	stat := info.Sys().(*syscall.Stat_t)
	return stat.Uid, stat.Gid
}

func (m *machine) chown(name string, uid, gid int) {
	m.t.Helper()
	if err := os.Lchown(filepath.Join(m.root, name), uid, gid); err != nil {
		m.t.Fatal(err)
	}
}

func TestCreateFileLooksUpOwnerFirst(t *testing.T) {
	m := newMachine(t)
	m.write("old", "old", 0o640)
	expect(t, m.run("CreateFile", `[{path: /new/file, content: x, owner: no-such-user}]`), `look up owner "no-such-user"`)
	expect(t, m.run("CreateFile", `[{path: /old, content: x, group: no-such-group}]`), `look up group "no-such-group"`)
	expect(t, m.run("CreateFolder", `[{path: /folder, owner: no-such-user}]`), `look up owner "no-such-user"`)
	if m.read("new/file") != "-" || m.read("old") != "old" || m.read("folder") != "-" {
		t.Error("something was written for an owner that does not exist")
	}
}

func TestCreateFileThroughDanglingLink(t *testing.T) {
	m := newMachine(t)
	m.link("target", "link")
	expect(t, m.run("CreateFile", `[{path: /link, content: x, permissions: 0600}]`), "")
	if m.read("target") != "x" || m.mode("target") != 0o600 {
		t.Errorf("target holds %q, mode %s", m.read("target"), m.mode("target"))
	}
}

func TestCopyFileOwner(t *testing.T) {
	needRoot(t)
	m := newMachine(t)
	m.write("tool", "x", 0)
	m.chown("tool", 1234, 2345)
	if err := os.Chmod(filepath.Join(m.root, "tool"), 0o755|fs.ModeSetuid|fs.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	expect(t, m.run("CopyFile", `[{source: /tool, destination: /copy}]`), "")
	uid, gid := m.owner("copy")
	if uid != 1234 || gid != 2345 {
		t.Errorf("the copy of a setuid program belongs to %d:%d, mode %s", uid, gid, m.mode("copy"))
	}
	if m.mode("copy") != 0o755|fs.ModeSetuid|fs.ModeSetgid {
		t.Errorf("the copy has the mode %s", m.mode("copy"))
	}
}

func TestCopyFileHoles(t *testing.T) {
	m := newMachine(t)
	m.sparse("big")
	expect(t, m.run("CopyFile", `[{source: /big, destination: /copy}]`), "")
	m.sameSparse("big", "copy")
}

// sparse makes a file of 64 MiB and a bit that holds three bytes of data.
func (m *machine) sparse(name string) {
	m.t.Helper()
	file, err := os.Create(filepath.Join(m.root, name))
	if err != nil {
		m.t.Fatal(err)
	}
	for _, at := range []int64{1 << 20, 32<<20 + 5, 60 << 20} {
		if _, err := file.WriteAt([]byte("x"), at); err != nil {
			m.t.Fatal(err)
		}
	}
	if err := file.Truncate(64<<20 + 7); err != nil {
		m.t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) sameSparse(a, b string) {
	m.t.Helper()
	if m.read(a) != m.read(b) {
		m.t.Error("the content is another")
	}
	info, err := os.Stat(filepath.Join(m.root, b))
	if err != nil {
		m.t.Fatal(err)
	}
	if used := info.Sys().(*syscall.Stat_t).Blocks * 512; used > 1<<20 {
		m.t.Errorf("the copy takes %d bytes on the disk", used)
	}
}

func TestWebDownloadKeepsAttributes(t *testing.T) {
	s := newFileServer(t, (*httptest.Server).Start)
	m := newMachine(t)
	m.write("tool", "old", 0o751)
	m.write("dir/x", "x", 0o600)
	expect(t, m.run("WebDownload", "[{source: "+s.URL+"/file.txt, destination: /tool}]"), "")
	if m.read("tool") != "content" || m.mode("tool") != 0o751 {
		t.Errorf("file holds %q, mode %s", m.read("tool"), m.mode("tool"))
	}
	clear(s.requests)
	expect(t, m.run("WebDownload", "[{source: "+s.URL+"/file.txt, destination: /dir}]"), "it is a folder")
	if s.requests["/file.txt"] != 0 {
		t.Error("the file was downloaded, although it cannot be put anywhere")
	}
}

func TestMoreThanOneAsterisk(t *testing.T) {
	m := newMachine(t)
	for _, name := range []string{"d/a-1.log", "d/b-1.log", "d/a-1.txt", "d/a.log"} {
		m.write(name, "x", 0o600)
	}
	expect(t, m.run("DeleteFile", `[{path: "/d/a*-*.log"}]`), "")
	if m.read("d/a-1.log") != "-" || m.read("d/b-1.log") != "x" || m.read("d/a.log") != "x" || m.read("d/a-1.txt") != "x" {
		t.Error("the wrong files were deleted")
	}
}
