package layer

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// harm is one way to damage a file.
var harms = map[string]func(t *testing.T, path string){
	"flipped byte": func(t *testing.T, path string) { flip(t, path, 1234) },
	"truncated": func(t *testing.T, path string) {
		if err := os.Truncate(path, 1000); err != nil {
			t.Fatal(err)
		}
	},
	"longer": func(t *testing.T, path string) {
		os.Chmod(path, 0o600)
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			t.Fatal(err)
		}
		f.WriteString("x")
		f.Close()
	},
	"replaced, of the same length and time": func(t *testing.T, path string) {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		data[0] ^= 1
		if err := errors.Join(os.Remove(path), os.WriteFile(path, data, 0o400), os.Chtimes(path, info.ModTime(), info.ModTime())); err != nil {
			t.Fatal(err)
		}
	},
	"written in place, time set back": func(t *testing.T, path string) {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		flip(t, path, 7)
		if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
			t.Fatal(err)
		}
	},
	"a symbolic link": func(t *testing.T, path string) {
		if err := errors.Join(os.Rename(path, path+".bak"), os.Symlink(path+".bak", path)); err != nil {
			t.Fatal(err)
		}
	},
	"a folder": func(t *testing.T, path string) {
		if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
			t.Fatal(err)
		}
	},
}

func TestDamagedDisk(t *testing.T) {
	for name, harm := range harms {
		t.Run(name, func(t *testing.T) {
			s, _, id := tree(t, Options{})
			time.Sleep(10 * time.Millisecond) // the clock of file times is coarse
			c := find(t, s, query("a b c"))
			if err := c.Verify(t.Context()); err != nil {
				t.Fatal(err)
			}
			harm(t, at(t, s, id["b"], "disk-0.qcow2"))
			err := c.Verify(t.Context())
			var damage *DamageError
			if !errors.Is(err, ErrDamaged) || !errors.As(err, &damage) || len(damage.Damages) != 1 || len(damage.Damages[0].Dropped) != 2 {
				t.Fatalf("the error is %v", err)
			}
			if text := err.Error(); !strings.Contains(text, id["b"]) || !strings.Contains(text, "disk-0.qcow2") || !strings.Contains(text, "1 built on it") {
				t.Errorf("the error is %v", err)
			}
			wantLeft(t, s, id["root"], id["a"], id["x"])
			if again := find(t, s, query("a b c")); again.Last().ID != id["a"] || again.Verify(t.Context()) != nil {
				t.Errorf("found %s", again.Last().describe())
			}
		})
	}
}

func TestDamagedMemory(t *testing.T) {
	for name, harm := range harms {
		t.Run(name, func(t *testing.T) {
			s, _, id := tree(t, Options{})
			time.Sleep(10 * time.Millisecond)
			harm(t, at(t, s, id["b"], "memory"))
			longer := find(t, s, query("a b c")) // does not need it
			if err := longer.Verify(t.Context()); err != nil {
				t.Errorf("c does not need the memory of b: %v", err)
			}
			longer.Close()
			c := find(t, s, query("a b"))
			if err := c.Verify(t.Context()); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "memory") {
				t.Fatalf("the error is %v", err)
			}
			// Nothing is built on a memory.
			wantLeft(t, s, id["root"], id["a"], id["b"]+"-", id["c"], id["x"])
			expect(t, s, query("a b"), &Chain{Layers: []*Layer{{ID: id["a"]}}}, false)
		})
	}
}

func TestDamageWhileHeld(t *testing.T) {
	s, _, id := tree(t, Options{})
	user, finder := find(t, s, query("a b c")), find(t, s, query("a b"))
	draft, err := s.Begin(t.Context(), user, 0)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(10 * time.Millisecond)
	flip(t, at(t, s, id["b"], "disk-0.qcow2"), 0)
	if err := finder.Verify(t.Context()); !errors.Is(err, ErrDamaged) {
		t.Fatalf("the error is %v", err)
	}
	// Not used by anybody any more, but its folders are there for the one who has them.
	expect(t, s, query("a b c"), &Chain{Layers: []*Layer{{ID: id["a"]}}}, false)
	if _, err := os.Stat(user.Images()[0]); err != nil {
		t.Errorf("the disk of a held layer is gone: %v", err)
	}
	// What that one saves would stand on what is damaged.
	os.WriteFile(filepath.Join(draft.Folder(), "disk"), nil, 0o600)
	if c, err := draft.Commit(t.Context(), Layer{Disks: []string{"disk"}, Segment: Segment{Steps: steps("d")}}); err == nil {
		t.Errorf("saved %s on a damaged layer", c.Last().describe())
	}
	user.Close()
	if _, err := s.Prune(t.Context(), PruneOptions{ToSize: -1}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(at(t, s, id["b"])); !os.IsNotExist(err) {
		t.Errorf("the damaged layer is still there: %v", err)
	}
}

func TestDamagedState(t *testing.T) {
	s, _, id := tree(t, Options{})
	flip(t, at(t, s, id["c"], stateName), 60)
	expect(t, s, query("a b c"), &Chain{Layers: []*Layer{{ID: id["b"]}}}, false)
	found, err := s.VerifyAll(t.Context(), nil)
	if err != nil || len(found) != 1 || found[0].File != stateName {
		t.Errorf("found %v, %v", found, err)
	}
	wantLeft(t, s, id["root"], id["a"], id["b"], id["x"])
}

func TestVerifyAll(t *testing.T) {
	s, _, id := tree(t, Options{})
	var last, total int64
	progress := func(done, all int64) { last, total = done, all }
	if found, err := s.VerifyAll(t.Context(), progress); err != nil || len(found) != 0 {
		t.Fatalf("found %v, %v", found, err)
	}
	if total != 5*300*kib || last != total {
		t.Errorf("progress ended with %d of %d", last, total)
	}
	// Damage that leaves no mark on the file: the mark is set to what the file is now.
	path := at(t, s, id["a"], "disk-0.qcow2")
	flip(t, path, 5)
	c := find(t, s, query("a"))
	known := verified{Boot: bootID(), Files: map[string]identity{}}
	for _, name := range c.Last().names() {
		_, now, err := sumFile(t.Context(), c.Path(c.Last(), name), "x")
		if err != nil {
			t.Fatal(err)
		}
		known.Files[name] = now
	}
	if err := s.writeSealed(at(t, s, id["a"]), verifiedName, id["a"], known, maxRecord); err != nil {
		t.Fatal(err)
	}
	if err := c.Verify(t.Context()); err != nil {
		t.Fatalf("the mark is not believed: %v", err)
	}
	c.Close()
	found, err := s.VerifyAll(t.Context(), nil)
	if err != nil || len(found) != 1 || len(found[0].Dropped) != 4 {
		t.Errorf("found %v, %v", found, err)
	}
	wantLeft(t, s, id["root"])
}

func TestMarksEndWithTheBoot(t *testing.T) {
	s, _, id := tree(t, Options{})
	path := at(t, s, id["root"], "memory")
	flip(t, path, 5)
	dir := at(t, s, id["root"])
	c := find(t, s, query(""))
	known := verified{Boot: "an earlier one", Files: map[string]identity{}}
	for _, name := range c.Last().names() {
		_, now, err := sumFile(t.Context(), c.Path(c.Last(), name), "x")
		if err != nil {
			t.Fatal(err)
		}
		known.Files[name] = now
	}
	if err := s.writeSealed(dir, verifiedName, id["root"], known, maxRecord); err != nil {
		t.Fatal(err)
	}
	if err := c.Verify(t.Context()); !errors.Is(err, ErrDamaged) {
		t.Errorf("a mark of an earlier boot was believed: %v", err)
	}
}

func TestLostSecret(t *testing.T) {
	s, _, _ := tree(t, Options{})
	if err := os.WriteFile(filepath.Join(s.dir, secretName), []byte("short\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(s.dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	expect(t, s, query("a b c"), nil, false)
	add(t, s, nil, spec{}) // clears the others away
	if got := left(t, s); len(got) != 1 {
		t.Errorf("left are %v", got)
	}
	if entries, _ := os.ReadDir(s.dir); len(entries) != 3 {
		t.Errorf("left are %v", entries)
	}
}
