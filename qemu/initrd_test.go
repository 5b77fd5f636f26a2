package qemu

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cavaliergopher/cpio"
)

func TestAppendInitrd(t *testing.T) {
	dir := t.TempDir()
	src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
	first := []byte("pretend this is compressed") // not a multiple of 4
	if err := os.WriteFile(src, first, 0o600); err != nil {
		t.Fatal(err)
	}
	files := []InitrdFile{
		{Path: "/usr/local", Mode: fs.ModeDir | 0o750},
		{Path: "usr/local/bin/../run.sh", Mode: 0o755, Content: []byte("#!/bin/sh\n")},
		{Path: "etc/link", Mode: fs.ModeSymlink, Content: []byte("../usr/local/run.sh")},
		{Path: "tmp", Mode: fs.ModeDir | fs.ModeSticky | 0o777},
		{Path: "empty", Mode: 0o600},
	}
	if err := AppendInitrd(dst, src, files); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(dst)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(data, first) || len(data)%512 != 0 || !bytes.HasPrefix(data[512:], []byte("070701")) || len(bytes.Trim(data[len(first):512], "\x00")) != 0 {
		t.Fatalf("layout: %d bytes, %q", len(data), data[:600])
	}
	var got []string
	for r := cpio.NewReader(bytes.NewReader(data[512:])); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, _ := io.ReadAll(r)
		got = append(got, h.Mode.String()+" "+h.Name+" "+string(content)+h.Linkname)
	}
	want := []string{
		"040755 usr ", "040750 usr/local ", "0100755 usr/local/run.sh #!/bin/sh\n",
		"040755 etc ", "0120777 etc/link ../usr/local/run.sh", "041777 tmp ", "0100600 empty ",
	}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("got  %q\nwant %q", got, want)
	}

	// The same by somebody else's reader.
	if path, err := exec.LookPath("cpio"); err != nil {
		t.Log("not checked with cpio: ", err)
	} else {
		cmd := exec.Command(path, "-itv", "--quiet")
		cmd.Stdin = bytes.NewReader(data[512:])
		out, err := cmd.CombinedOutput()
		if err != nil || strings.Count(string(out), "\n") != len(want) || !strings.Contains(string(out), "etc/link -> ../usr/local/run.sh") {
			t.Errorf("cpio: %v\n%s", err, out)
		}
	}

	// In place, and again the same bytes.
	if err := AppendInitrd(src, src, files); err != nil {
		t.Fatal(err)
	}
	if again, _ := os.ReadFile(src); !bytes.Equal(again, data) {
		t.Error("in place gives something else")
	}
	// Failures leave nothing behind.
	for _, bad := range [][]InitrdFile{
		{{Path: "/"}},
		{{Path: "a"}, {Path: "./a"}},
		{{Path: "a/b"}, {Path: "a", Mode: fs.ModeDir}},
		{{Path: "dev/x", Mode: fs.ModeDevice}},
		{{Path: "a\x00b"}},
	} {
		if err := AppendInitrd(filepath.Join(dir, "bad"), src, bad); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
	if err := AppendInitrd(dst, filepath.Join(dir, "none"), nil); err == nil {
		t.Error("a missing initrd was taken")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("left behind: %v", entries)
	}
}
