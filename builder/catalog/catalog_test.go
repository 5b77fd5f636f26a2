package catalog

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ingot-image/ingot/builder/recipe/version"
)

func openCatalog(t *testing.T, path string) *Catalog {
	t.Helper()
	c, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func newCatalog(t *testing.T) *Catalog {
	return openCatalog(t, filepath.Join(t.TempDir(), "a folder?#%", "ingot.db"))
}

func pattern(t *testing.T, text string) version.Pattern {
	t.Helper()
	p, err := version.ParsePattern(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func reserve(t *testing.T, c *Catalog, name, text string) *Build {
	t.Helper()
	b, err := c.Reserve(t.Context(), name, pattern(t, text))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close(context.Background()) })
	return b
}

var fullRecord = Record{
	Accelerator: "tcg", QEMUVersion: "7.2.9", PlanDigest: "sha256:p",
	Inputs:   []Input{{"debian-12", "sha256:a"}, {"install.yaml", "sha256:b"}},
	Outputs:  []Output{{"raw", "/out/a.raw", "c", 1 << 40}, {"vmdk", "/out/a.vmdk", "d", 7}},
	Tests:    []Test{{"boot", "bios", "virtio", "passed", 1200}},
	Stages:   []Stage{{"base", 55000, true}, {"boot", 9000, false}},
	Manifest: json.RawMessage(`{"name":"web-server"}`),
}

func TestLifeOfABuild(t *testing.T) {
	c := newCatalog(t)
	before := time.Now().Add(-time.Second)
	b := reserve(t, c, "Web Server", "1.0.x")
	if b.Name != "web-server" || b.Version.String() != "1.0.0/1" {
		t.Fatalf("reserved %s/%s", b.Name, b.Version)
	}
	for _, status := range []Status{Pending, Building, Testing, Distributing} {
		if status != Pending {
			if err := b.SetStatus(t.Context(), status); err != nil {
				t.Fatal(err)
			}
		}
		i, err := c.Get(t.Context(), "web-server/1.0.0/1")
		if err != nil || i.Status != status || !i.DateFinished.IsZero() {
			t.Fatalf("%+v, %v; want %s", i, err, status)
		}
	}
	if err := b.SetStatus(t.Context(), Available); err == nil {
		t.Error("a build became AVAILABLE without being finished")
	}
	if err := b.Finish(t.Context(), fullRecord); err != nil {
		t.Fatal(err)
	}
	i, err := c.Get(t.Context(), "web-server/1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	if i.DateCreated.Before(before) || i.DateFinished.Before(i.DateCreated) {
		t.Errorf("created %v, finished %v", i.DateCreated, i.DateFinished)
	}
	want := &Image{Name: "web-server", Version: b.Version, Status: Available, DateCreated: i.DateCreated, DateFinished: i.DateFinished, Record: fullRecord}
	if !reflect.DeepEqual(i, want) {
		t.Errorf("got  %+v\nwant %+v", i, want)
	}
	for what, err := range map[string]error{
		"SetStatus": b.SetStatus(t.Context(), Building),
		"Finish":    b.Finish(t.Context(), Record{}),
		"Fail":      b.Fail(t.Context(), "x", nil, Record{}),
	} {
		if !errors.Is(err, ErrFinished) {
			t.Errorf("%s after the end: %v", what, err)
		}
	}
	if err := errors.Join(b.Close(t.Context()), b.Close(t.Context())); err != nil {
		t.Error(err)
	}
	if again, _ := c.Get(t.Context(), "web-server/1.0.0"); !reflect.DeepEqual(again, want) {
		t.Errorf("the image changed after its end: %+v", again)
	}
	data, err := json.Marshal(i)
	if err != nil || !strings.Contains(string(data), `"version":"1.0.0/1","status":"AVAILABLE"`) {
		t.Errorf("%s, %v", data, err)
	}
}

func TestFailAndCancel(t *testing.T) {
	c := newCatalog(t)
	failed := reserve(t, c, "one", "1.0.0")
	details := map[string]any{"componentFailure": map[string]any{"stepName": "Third"}}
	if err := failed.Fail(t.Context(), "step Third failed", details, Record{Stages: fullRecord.Stages}); err != nil {
		t.Fatal(err)
	}
	closed := reserve(t, c, "one", "1.0.0")
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // as after Ctrl-C
	if err := closed.Close(ctx); err != nil {
		t.Fatal(err)
	}
	cancelled := reserve(t, c, "one", "1.0.0")
	if err := cancelled.Cancel(t.Context(), "by hand", Record{}); err != nil {
		t.Fatal(err)
	}
	images, err := c.List(t.Context(), "")
	if err != nil || len(images) != 3 {
		t.Fatalf("%+v, %v", images, err)
	}
	for n, want := range []Image{ // newest first
		{Status: Cancelled, Reason: "by hand"},
		{Status: Cancelled, Reason: ReasonCancelled},
		{Status: Failed, Reason: "step Third failed", Failure: json.RawMessage(`{"componentFailure":{"stepName":"Third"}}`), Record: Record{Stages: fullRecord.Stages}},
	} {
		got := images[n]
		if got.Status != want.Status || got.Reason != want.Reason || string(got.Failure) != string(want.Failure) ||
			!reflect.DeepEqual(got.Record, want.Record) || got.Version.Build != 3-n || got.DateFinished.IsZero() {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	}
}

// All or nothing: a record that cannot be written leaves the build as it was.
func TestFinishIsAtomic(t *testing.T) {
	c := newCatalog(t)
	b := reserve(t, c, "one", "1.0.0")
	if err := b.Finish(t.Context(), Record{Manifest: json.RawMessage("{")}); err == nil {
		t.Error("a broken manifest was recorded")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Finish(ctx, fullRecord); !errors.Is(err, context.Canceled) {
		t.Errorf("with a cancelled context: %v", err)
	}
	i, err := c.Get(t.Context(), "one/1.0.0")
	if err != nil || i.Status != Pending || len(i.Outputs) != 0 {
		t.Fatalf("%+v, %v", i, err)
	}
	if err := b.Finish(t.Context(), fullRecord); err != nil {
		t.Errorf("the next attempt: %v", err)
	}
}

func TestReserve(t *testing.T) {
	c := newCatalog(t)
	for _, step := range []struct{ name, pattern, want string }{
		{"web", "1.0.x", "1.0.0/1"}, {"web", "1.0.x", "1.0.1/1"}, {"web", "1.0.0", "1.0.0/2"}, {"web", "1.2.7", "1.2.7/1"},
		{"web", "1.x.x", "1.2.8/1"}, {"web", "1.0.x", "1.0.2/1"}, {"web", "x.x.x", "1.2.9/1"}, {"other", "x.x.x", "1.0.0/1"},
		{"WEB", "1.10.0", "1.10.0/1"}, {"web", "1.x.x", "1.10.1/1"},
	} {
		if b := reserve(t, c, step.name, step.pattern); b.Version.String() != step.want {
			t.Errorf("%s/%s is %s, want %s", step.name, step.pattern, b.Version, step.want)
		}
	}
	for name, p := range map[string]version.Pattern{"a/b": pattern(t, "1.0.0"), "web": pattern(t, "1.0.0/3"), "zero": {}} {
		if b, err := c.Reserve(t.Context(), name, p); err == nil {
			t.Errorf("reserved %s/%s", b.Name, b.Version)
		}
	}
	// what was refused is not recorded
	if images, err := c.List(t.Context(), "zero"); err != nil || len(images) != 0 {
		t.Errorf("%+v, %v", images, err)
	}
	last := version.Exactly(version.Version{Major: 3, Patch: version.MaxNode})
	if _, err := c.Reserve(t.Context(), "web", last); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Reserve(t.Context(), "web", pattern(t, "3.0.x")); !errors.Is(err, version.ErrExhausted) {
		t.Errorf("after the last patch: %v", err)
	}
}

func TestGetAndList(t *testing.T) {
	c := newCatalog(t)
	for _, v := range []string{"2.2.4", "1.7.8", "1.7.8", "1.6.8", "1.6.8"} {
		b := reserve(t, c, "base", v)
		var err error
		if v == "1.7.8" && b.Version.Build == 2 {
			err = b.Fail(t.Context(), "broken", nil, Record{})
		} else {
			err = b.Finish(t.Context(), fullRecord)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	reserve(t, c, "other", "1.0.0")
	for reference, want := range map[string]string{
		"base/x.x.x": "2.2.4/1", "base/1.x.x": "1.7.8/2", "base/1.6.x": "1.6.8/2", "Base/1.6.8": "1.6.8/2", "base/1.6.8/1": "1.6.8/1",
	} {
		if i, err := c.Get(t.Context(), reference); err != nil || i.Version.String() != want {
			t.Errorf("%s is %+v, %v; want %s", reference, i, err, want)
		}
	}
	if i, err := c.Get(t.Context(), "base/1.x.x", Available); err != nil || i.Version.String() != "1.7.8/1" {
		t.Errorf("the newest that is available is %+v, %v", i, err)
	}
	for _, reference := range []string{"base/3.x.x", "none/x.x.x", "base/1.6.8/3"} {
		if _, err := c.Get(t.Context(), reference); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", reference, err)
		}
	}
	if _, err := c.Get(t.Context(), "base/1.7.8/2", Available, Pending); !errors.Is(err, ErrNotFound) {
		t.Errorf("a failed build is available: %v", err)
	}
	for _, reference := range []string{"base", "base/1.x.3", "base/'; DROP TABLE images; --"} {
		if _, err := c.Get(t.Context(), reference); err == nil || errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", reference, err)
		}
	}
	images, err := c.List(t.Context(), "Base")
	var got []string
	for _, i := range images {
		got = append(got, i.Version.String())
		if i.Manifest != nil {
			t.Errorf("%s has its manifest in the list", i.Version)
		}
	}
	if want := []string{"1.6.8/2", "1.6.8/1", "1.7.8/2", "1.7.8/1", "2.2.4/1"}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	if images, err := c.List(t.Context(), ""); err != nil || len(images) != 6 || images[0].Name != "other" || images[0].Status != Pending {
		t.Errorf("%+v, %v", images, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	// real databases, changed
	database := func(name string, statements ...string) string {
		path := filepath.Join(dir, name)
		db, err := sql.Open("sqlite", path)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		for _, s := range statements {
			if _, err := db.Exec(s); err != nil {
				t.Fatal(err)
			}
		}
		return path
	}
	valid := filepath.Join(dir, "valid.db")
	c, err := Open(t.Context(), valid)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(valid)
	if err != nil {
		t.Fatal(err)
	}
	torn := string(data[:100]) + strings.Repeat("\xff", len(data)-100)
	for name, want := range map[string]struct {
		path string
		err  error
	}{
		"text":              {write("text.db", strings.Repeat("this is no database\n", 400)), ErrDamaged},
		"overwritten":       {write("torn.db", torn), ErrDamaged},
		"cut":               {write("cut.db", string(data[:5000])), ErrDamaged},
		"another program's": {database("foreign.db", "CREATE TABLE t (x)"), ErrForeign},
		"another id":        {database("id.db", "PRAGMA application_id = 7"), ErrForeign},
		"newer":             {database("newer.db", "PRAGMA application_id = 1229866831", "PRAGMA user_version = 99"), ErrNewer},
	} {
		before, _ := os.ReadFile(want.path)
		c, err := Open(t.Context(), want.path)
		if err == nil {
			c.Close()
		}
		if !errors.Is(err, want.err) || !strings.Contains(err.Error(), want.path) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
		if after, _ := os.ReadFile(want.path); name != "another program's" && name != "another id" && name != "newer" && string(after) != string(before) {
			t.Errorf("%s: the file was changed", name)
		}
	}
	if _, err := Open(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a folder: %v", err)
	}
	if _, err := Open(t.Context(), filepath.Join(write("file", ""), "ingot.db")); err == nil || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("below a file: %v", err)
	}
	if empty := openCatalog(t, write("empty.db", "")); empty == nil {
		t.Error("an empty file is not taken for a new catalog")
	}
}

// A full disk is named as the cause, and what was recorded before stays.
func TestFullDisk(t *testing.T) {
	c := newCatalog(t)
	b := reserve(t, c, "one", "1.0.0")
	c.db.SetMaxOpenConns(1)
	var pages int
	if err := c.db.QueryRow("PRAGMA page_count").Scan(&pages); err != nil {
		t.Fatal(err)
	}
	if _, err := c.db.Exec(fmt.Sprintf("PRAGMA max_page_count = %d", pages)); err != nil {
		t.Fatal(err)
	}
	record := Record{Manifest: json.RawMessage(`"` + strings.Repeat("x", 1<<20) + `"`)}
	if err := b.Finish(t.Context(), record); err == nil || !strings.Contains(err.Error(), "the disk is full") {
		t.Errorf("the error is %v", err)
	}
	if i, err := c.Get(t.Context(), "one/1.0.0"); err != nil || i.Status != Pending {
		t.Errorf("%+v, %v", i, err)
	}
}

// Pages that are damaged after the catalog was opened give the same error.
func TestDamagedLater(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ingot.db")
	c, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	for range 40 {
		b := reserve(t, c, "one", "1.0.0")
		if err := b.Finish(t.Context(), fullRecord); err != nil {
			t.Fatal(err)
		}
		b.Close(t.Context())
	}
	if err := c.Close(); err != nil { // the write-ahead log is folded in
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	info, _ := f.Stat()
	if _, err := f.WriteAt([]byte(strings.Repeat("\xee", int(info.Size())-8192)), 8192); err != nil {
		t.Fatal(err)
	}
	f.Close()
	c, err = Open(t.Context(), path)
	if err == nil {
		defer c.Close()
		_, err = c.List(t.Context(), "")
	}
	if !errors.Is(err, ErrDamaged) {
		t.Errorf("the error is %v", err)
	}
}
