package copyout

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// entry is one of an archive: content of a file, or the target of a link.
type entry struct {
	name string
	kind byte
	text string
	mode int64
}

func archive(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Typeflag: e.kind, Mode: e.mode, ModTime: time.Unix(1e9, 0)}
		if e.mode == 0 {
			h.Mode = 0o755
		}
		if e.kind == tar.TypeReg {
			h.Size = int64(len(e.text))
		} else {
			h.Linkname = e.text
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if e.kind == tar.TypeReg {
			io.WriteString(w, e.text)
		}
	}
	w.Close()
	return b.Bytes()
}

// listing is what lies in a folder: names, with modes of files and folders, content and targets.
func listing(t testing.TB, dir string) (lines []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case name == ".":
		case d.IsDir():
			lines = append(lines, name+"/ "+info.Mode().String())
		case info.Mode()&fs.ModeSymlink != 0:
			target, _ := os.Readlink(path)
			lines = append(lines, name+" -> "+target)
		default:
			data, _ := os.ReadFile(path)
			lines = append(lines, name+" "+info.Mode().String()+" "+string(data))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func wantListing(t *testing.T, dir string, want ...string) {
	t.Helper()
	if got := listing(t, dir); !slices.Equal(got, want) {
		t.Errorf("the folder has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestTo(t *testing.T) {
	dir := t.TempDir()
	os.Mkdir(filepath.Join(dir, "logs"), 0o700)
	os.WriteFile(filepath.Join(dir, "file"), nil, 0o600)
	for _, c := range []struct{ path, name, want, fails string }{
		{"logs", "/var/log/nginx", "logs/nginx", ""},
		{"logs/", "nginx", "logs/nginx", ""},
		{".", "nginx", "nginx", ""},
		{"logs/new", "nginx", "logs/new", ""},
		{"file", "nginx", "file", ""},
		{"new", "", "new", ""},
		{"new/", "nginx", "", "no folder"},
		{"none/new", "nginx", "", "no folder"},
		{"file/new", "nginx", "", "file"},
		{"logs", "", "", "needs a name"},
	} {
		path := filepath.Join(dir, c.path)
		if strings.HasSuffix(c.path, "/") {
			path += "/"
		}
		d, err := To(path, c.name)
		if c.fails != "" {
			if err == nil || !strings.Contains(err.Error(), c.fails) {
				t.Errorf("To(%s) = %v, %v", c.path, d, err)
			}
		} else if err != nil || d.Path() != filepath.Join(dir, c.want) {
			t.Errorf("To(%s) = %v, %v", c.path, d, err)
		}
	}
}

func TestUnpackFile(t *testing.T) {
	dir := t.TempDir()
	to := Destination{dir, "passwd"}
	var progress []Summary
	s, err := Unpack(t.Context(), bytes.NewReader(archive(t, entry{".", tar.TypeReg, "root\n", 0o6755})), to, Options{Progress: func(s Summary) { progress = append(progress, s) }})
	if err != nil || s.Files != 1 || s.Bytes != 5 || s.Path != to.Path() || len(progress) == 0 {
		t.Fatalf("Unpack = %+v, %v; progress %v", s, err, progress)
	}
	wantListing(t, dir, "passwd -rwxr-xr-x root\n")
	if info, _ := os.Stat(to.Path()); info.ModTime().Unix() != 1e9 {
		t.Errorf("modified %v", info.ModTime())
	}
	// Replaced whole, and a link that is there is replaced, not followed.
	outside := filepath.Join(t.TempDir(), "outside")
	os.WriteFile(outside, []byte("mine"), 0o600)
	os.Remove(to.Path())
	os.Symlink(outside, to.Path())
	if _, err := Unpack(t.Context(), bytes.NewReader(archive(t, entry{".", tar.TypeReg, "new", 0o600})), to, Options{}); err != nil {
		t.Fatal(err)
	}
	wantListing(t, dir, "passwd -rw------- new")
	if data, _ := os.ReadFile(outside); string(data) != "mine" {
		t.Errorf("what a link led to is %q", data)
	}
}

// tree is a folder with a bit of everything that is wanted.
func tree(t testing.TB) []byte {
	return archive(t,
		entry{"./", tar.TypeDir, "", 0o750}, entry{"a", tar.TypeReg, "A", 0o644}, entry{"d/", tar.TypeDir, "", 0o500}, entry{"d/b", tar.TypeReg, "B", 0o4711},
		entry{"d/up", tar.TypeSymlink, "../a", 0}, entry{"l", tar.TypeSymlink, "d/b", 0}, entry{"-first", tar.TypeReg, "", 0o600},
		entry{"abs", tar.TypeSymlink, "/etc/passwd", 0}, entry{"out", tar.TypeSymlink, "../x", 0}, entry{"null", tar.TypeChar, "", 0},
	)
}

func TestUnpackFolder(t *testing.T) {
	dir := t.TempDir()
	s, err := Unpack(t.Context(), bytes.NewReader(tree(t)), Destination{dir, "copy"}, Options{})
	if err != nil || s.Files != 3 || s.Folders != 2 || s.Links != 2 || s.Bytes != 2 || len(s.Skipped) != 3 {
		t.Fatalf("Unpack = %+v, %v", s, err)
	}
	want := []string{"copy/ drwxr-x---", "copy/-first -rw------- ", "copy/a -rw-r--r-- A", "copy/d/ dr-x------", "copy/d/b -rwx--x--x B", "copy/d/up -> ../a", "copy/l -> d/b"}
	wantListing(t, dir, want...)
	// Once more into the same place, with a file that is the user's: it stays, and so do the modes of the folders that were there.
	os.Chmod(filepath.Join(dir, "copy/d"), 0o700)
	os.WriteFile(filepath.Join(dir, "copy/d/mine"), nil, 0o600)
	os.WriteFile(filepath.Join(dir, "copy/a"), []byte("older"), 0o600)
	if _, err := Unpack(t.Context(), bytes.NewReader(tree(t)), Destination{dir, "copy"}, Options{}); err != nil {
		t.Fatal(err)
	}
	want[3] = "copy/d/ drwx------"
	wantListing(t, dir, slices.Insert(want, 5, "copy/d/mine -rw------- ")...)
	os.Chmod(filepath.Join(dir, "copy/d"), 0o700)
}

// TestInTheWay wants nothing to be changed where something of another kind is in the way.
func TestInTheWay(t *testing.T) {
	file := archive(t, entry{".", tar.TypeReg, "new", 0})
	for name, c := range map[string]struct {
		archive []byte
		make    func(dir string)
	}{
		"file on a folder": {file, func(dir string) { os.Mkdir(filepath.Join(dir, "copy"), 0o700) }},
		"folder on a file": {tree(t), func(dir string) { os.WriteFile(filepath.Join(dir, "copy"), []byte("mine"), 0o600) }},
		"folder on a link": {tree(t), func(dir string) {
			os.Mkdir(filepath.Join(dir, "other"), 0o700)
			os.Symlink("other", filepath.Join(dir, "copy"))
		}},
		"folder below a link": {tree(t), func(dir string) {
			os.MkdirAll(filepath.Join(dir, "copy"), 0o700)
			os.Mkdir(filepath.Join(dir, "other"), 0o700)
			os.Symlink("../other", filepath.Join(dir, "copy/d"))
		}},
		"file below on a folder": {tree(t), func(dir string) { os.MkdirAll(filepath.Join(dir, "copy/a"), 0o700) }},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c.make(dir)
			before := listing(t, dir)
			if s, err := Unpack(t.Context(), bytes.NewReader(c.archive), Destination{dir, "copy"}, Options{}); err == nil || !strings.Contains(err.Error(), "nothing was copied") {
				t.Errorf("Unpack = %+v, %v", s, err)
			}
			wantListing(t, dir, before...)
		})
	}
}

// TestHostile gives archives that no agent sends: each is an error and changes nothing.
func TestHostile(t *testing.T) {
	top := entry{"./", tar.TypeDir, "", 0}
	huge := archive(t, entry{".", tar.TypeReg, strings.Repeat("x", 2000), 0})
	for name, data := range map[string][]byte{
		"empty":              archive(t),
		"cut":                tree(t)[:1700],
		"cut in a file":      huge[:1000],
		"no archive":         bytes.Repeat([]byte("x"), 4096),
		"climbs":             archive(t, top, entry{"../x", tar.TypeReg, "", 0}),
		"climbs below":       archive(t, top, entry{"a/../../x", tar.TypeReg, "", 0}),
		"absolute":           archive(t, top, entry{"/tmp/x", tar.TypeReg, "", 0}),
		"absolute top":       archive(t, entry{"/", tar.TypeDir, "", 0}),
		"two tops":           archive(t, top, top),
		"no top":             archive(t, entry{"x", tar.TypeReg, "", 0}),
		"below a file":       archive(t, entry{".", tar.TypeReg, "", 0}, entry{"x", tar.TypeReg, "", 0}),
		"below a link":       archive(t, top, entry{"l", tar.TypeSymlink, "..", 0}, entry{"l/x", tar.TypeReg, "", 0}),
		"below a good link":  archive(t, top, entry{"l", tar.TypeSymlink, ".", 0}, entry{"l/x", tar.TypeReg, "", 0}),
		"over a link":        archive(t, top, entry{"l", tar.TypeSymlink, "x", 0}, entry{"l", tar.TypeReg, "", 0}),
		"twice":              archive(t, top, entry{"x", tar.TypeReg, "", 0}, entry{"x", tar.TypeReg, "", 0}),
		"without its folder": archive(t, top, entry{"a/x", tar.TypeReg, "", 0}),
		"a link":             archive(t, entry{".", tar.TypeSymlink, "/etc/passwd", 0}),
		"a hard link":        archive(t, entry{".", tar.TypeLink, "/etc/passwd", 0}),
		"too much":           huge,
	} {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			dir := filepath.Join(parent, "to")
			os.Mkdir(dir, 0o700)
			if s, err := Unpack(t.Context(), bytes.NewReader(data), Destination{dir, "copy"}, Options{MaxBytes: 1000}); err == nil {
				t.Errorf("Unpack = %+v", s)
			}
			wantListing(t, parent, "to/ drwx------")
		})
	}
	r, w := io.Pipe()
	go func() {
		w.Write(tree(t))
		w.CloseWithError(errors.New("too late"))
	}()
	dir := t.TempDir()
	if _, err := Unpack(t.Context(), r, Destination{dir, "copy"}, Options{}); err == nil || !strings.Contains(err.Error(), "too late") {
		t.Errorf("an error at the end of the archive: %v", err)
	}
	wantListing(t, dir)
	var limit *LimitError
	if _, err := Unpack(t.Context(), bytes.NewReader(huge), Destination{t.TempDir(), "copy"}, Options{MaxBytes: 1999}); !errors.As(err, &limit) {
		t.Errorf("too much: %v", err)
	}
	for _, name := range []string{"", ".", "..", "a/b", "/"} {
		if _, err := Unpack(t.Context(), bytes.NewReader(huge), Destination{t.TempDir(), name}, Options{}); err == nil {
			t.Errorf("the name %q is taken", name)
		}
	}
}

func TestLeadsOut(t *testing.T) {
	for _, c := range []struct {
		name, target string
		good         bool
	}{
		{"l", "a", true}, {"l", "./a/b", true}, {"d/l", "../a", true}, {"d/e/l", "../../a", true}, {"d/l", "..", true}, {"l", ".", true}, {"d/l", ".././a//b", true},
		{"l", "", false}, {"l", "/a", false}, {"l", "..", false}, {"l", "../a", false}, {"d/l", "../../a", false},
		// With d/x -> ../e, which is good, this one would lead out.
		{"y", "d/x/..", false}, {"y", "d/x/../..", false}, {"l", "a\x00b", false}, {"l", strings.Repeat("a/", 4096), false},
	} {
		if reason := leadsOut(c.name, c.target); (reason == "") != c.good {
			t.Errorf("%s -> %q: %q", c.name, c.target, reason)
		}
	}
}

func TestSkippedAreBounded(t *testing.T) {
	entries := []entry{{"./", tar.TypeDir, "", 0}}
	for i := range maxSkipped + 5 {
		entries = append(entries, entry{"f" + strings.Repeat("x", i%100) + string(rune('a'+i/100)), tar.TypeFifo, "", 0})
	}
	s, err := Unpack(t.Context(), bytes.NewReader(archive(t, entries...)), Destination{t.TempDir(), "copy"}, Options{})
	if err != nil || len(s.Skipped) != maxSkipped || s.MoreSkipped != 5 {
		t.Errorf("Unpack = %d skipped and %d more, %v", len(s.Skipped), s.MoreSkipped, err)
	}
}

// FuzzUnpack wants nothing to be made outside of the destination, and no link in it to lead out.
func FuzzUnpack(f *testing.F) {
	f.Add(tree(f))
	f.Add(archive(f, entry{".", tar.TypeReg, "x", 0}))
	f.Add(archive(f, entry{"./", tar.TypeDir, "", 0}, entry{"d", tar.TypeDir, "", 0}, entry{"d/x", tar.TypeSymlink, "../e", 0}, entry{"e", tar.TypeDir, "", 0}, entry{"y", tar.TypeSymlink, "d/x/../..", 0}))
	f.Add(archive(f, entry{"./", tar.TypeDir, "", 0}, entry{"l", tar.TypeSymlink, "..", 0}, entry{"l/x", tar.TypeReg, "", 0}))
	f.Fuzz(func(t *testing.T, data []byte) {
		parent := t.TempDir()
		dir := filepath.Join(parent, "to")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		s, err := Unpack(t.Context(), bytes.NewReader(data), Destination{dir, "copy"}, Options{MaxBytes: 1 << 20})
		if entries, _ := os.ReadDir(parent); len(entries) != 1 {
			t.Fatalf("beside the destination: %v", entries)
		}
		entries, _ := os.ReadDir(dir)
		if err != nil && len(entries) != 0 || err == nil && (len(entries) != 1 || entries[0].Name() != "copy") {
			t.Fatalf("%+v, %v left %v", s, err, entries)
		}
		filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return nil
			}
			if d.IsDir() {
				os.Chmod(path, 0o700)
			}
			if d.Type()&fs.ModeSymlink == 0 {
				return nil
			}
			real, err := filepath.EvalSymlinks(path)
			if err == nil && real != dir+"/copy" && !strings.HasPrefix(real, dir+"/copy/") {
				t.Errorf("%s leads to %s", path, real)
			}
			return nil
		})
	})
}
