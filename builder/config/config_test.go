package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		text string
		want int64
	}{
		{"", 0}, {"# nothing\n", 0}, {"cache:\n", 0}, {"cache: {}\n", 0}, {"cache:\n  maxSize:\n", 0},
		{"cache:\n  maxSize: 20GiB\n", 20 << 30}, {"cache: {maxSize: 1.5TiB}\n", 3 << 39}, {`cache: {maxSize: "100 MB"}`, 100_000_000},
		{"cache: {maxSize: 10G}", 10_000_000_000}, {"cache: {maxSize: 134217728}", 128 << 20},
	} {
		got, err := Parse("config.yaml", []byte(c.text))
		if err != nil || got.Cache.MaxSize != c.want {
			t.Errorf("%q: %+v, %v, want %d", c.text, got, err, c.want)
		}
	}
}

func TestMistakes(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"cache:\n  maxSize: much\n", `config.yaml:2:12: cache.maxSize: "much" is not a size, such as 20GiB`},
		{"cache:\n  maxSize: -1GiB\n", `"-1GiB" is not a size`},
		{"cache:\n  maxSize: 1MiB\n", "config.yaml:2:12: cache.maxSize: 1MiB is too small for a single layer; give at least 64MiB"},
		{"cache:\n  maxSize: 999999999TiB\n", "too large"},
		{"cache:\n  maxSize: [1]\n", "must be a size; such as 20GiB"},
		{"cache:\n  maxsize: 1GiB\n", "config.yaml:2:3: cache.maxsize: unknown key; known here: maxSize"},
		{"cash: 1\ncache: 20GiB\n", "config.yaml:1:1: cash: unknown key; known here: cache\nconfig.yaml:2:8: cache: must be a mapping"},
		{"cache: {maxSize: 1GiB, maxSize: 2GiB}\n", "already"},
		{"- a\n", "config.yaml:1:1: must be a mapping"},
		{"cache: {\n", "config.yaml:"},
		{"? [a]\n: b\n", "unknown key"},
	} {
		got, err := Parse("config.yaml", []byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %+v, %v, want %q", c.text, got, err, c.want)
		}
	}
}

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	if c, err := Read(path); err != nil || *c != (Config{}) {
		t.Errorf("no file: %+v, %v", c, err)
	}
	os.WriteFile(path, []byte("cache: {maxSize: 1GiB}\n"), 0o600)
	if c, err := Read(path); err != nil || c.Cache.MaxSize != 1<<30 {
		t.Errorf("%+v, %v", c, err)
	}
	os.WriteFile(path, []byte(strings.Repeat("#", maxFile+1)), 0o600)
	if _, err := Read(path); err == nil {
		t.Error("a huge file was read")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("cache:\n  maxSize: 20GiB\n")
	f.Add("a: &a [*a]\n")
	f.Add("? {a: b}\n: c")
	f.Add("cache: {maxSize: 1e309TiB}")
	f.Fuzz(func(t *testing.T, text string) {
		if c, err := Parse("f", []byte(text)); (c == nil) == (err == nil) || c != nil && c.Cache.MaxSize < 0 {
			t.Errorf("%+v, %v", c, err)
		}
	})
}
