package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ingot-image/ingot/builder/layer"
)

// fillCache is the script command "fillcache [hold]": it fills the cache of $INGOT_HOME with a booted base, three layers on it, of which two
// are branches, and a base that was used a moment ago. With hold the longest chain is in use until the script ends.
func fillCache(ts *testscript.TestScript, neg bool, args []string) {
	now := time.Now().Add(-72 * time.Hour)
	store, err := layer.Open(filepath.Join(ts.Getenv("INGOT_HOME"), "layers"), layer.Options{Now: func() time.Time { return now }})
	ts.Check(err)
	save := func(parent *layer.Chain, base string, s layer.Segment, cost time.Duration, mib int) *layer.Chain {
		chain, err := saveLayer(store, parent, layer.Layer{Base: base, Segment: s, Cost: cost}, mib)
		ts.Check(err)
		ts.Defer(func() { chain.Close() })
		now = now.Add(time.Hour)
		return chain
	}
	root := save(nil, "debian-12", layer.Segment{}, 50*time.Second, 3)
	index := save(root, "", layer.Segment{Steps: []string{"1"}, Component: "update-index"}, 8*time.Second, 1)
	nginx := save(index, "", layer.Segment{Steps: []string{"2"}, Component: "nginx"}, 30*time.Second, 2)
	part := save(index, "", layer.Segment{Steps: []string{"3"}, Component: "application", Step: "Unpack\x1b[31m"}, time.Second, 1)
	now = time.Now()
	fresh := save(nil, "debian-13", layer.Segment{}, 40*time.Second, 2)
	for _, chain := range []*layer.Chain{root, index, part, fresh, nginx} {
		if chain != nginx || len(args) == 0 {
			chain.Close()
		}
	}
}

// saveLayer saves a layer whose memory has so many MiB.
func saveLayer(store *layer.Store, parent *layer.Chain, l layer.Layer, mib int) (*layer.Chain, error) {
	d, err := store.Begin(context.Background(), parent, 0)
	if err != nil {
		return nil, err
	}
	defer d.Abort()
	if err := os.WriteFile(filepath.Join(d.Folder(), "disk-0.qcow2"), bytes.Repeat([]byte("disk"), 100_000), 0o600); err != nil {
		return nil, err
	}
	memory, err := d.Memory()
	if err != nil {
		return nil, err
	}
	if _, err := memory.Write(bytes.Repeat([]byte("memo"), mib<<18)); err != nil {
		return nil, err
	}
	l.Disks = []string{"disk-0.qcow2"}
	if parent == nil {
		l.Root = layer.Root{Disk: l.Base, Machine: "machine"}
	}
	return d.Commit(context.Background(), l)
}

func TestCacheTree(t *testing.T) {
	var list cacheList
	add := func(id, parent string) { list.Layers = append(list.Layers, layer.Info{ID: id, ParentID: parent}) }
	for _, l := range [][2]string{{"root", ""}, {"a", "root"}, {"b", "a"}, {"c", "b"}, {"d", "c"}, {"e", "b"}, {"f", "e"}, {"other", ""}, {"x", "other"}, {"y", "other"}} {
		add(l[0], l[1])
	}
	want := map[string]string{"root": "", "a": "  ", "b": "  ", "c": "  ├─ ", "d": "  │  ", "e": "  └─ ", "f": "     ", "other": "", "x": "  ├─ ", "y": "  └─ "}
	for i, lead := range list.leads() {
		if id := list.Layers[i].ID; lead != want[id] {
			t.Errorf("%s is led by %q, want %q", id, lead, want[id])
		}
	}
}

func TestAges(t *testing.T) {
	for text, want := range map[string]time.Duration{"90m": 90 * time.Minute, "7d": 7 * 24 * time.Hour, "1h30m": 90 * time.Minute,
		"": 0, "d": 0, "-1h": 0, "0d": 0, "99999999d": 0, "week": 0} {
		got, err := parseAge(text)
		if got != want || (err == nil) != (want > 0) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for d, want := range map[time.Duration]string{-time.Hour: "0s", 59 * time.Second: "59s", 61 * time.Minute: "1h", 47 * time.Hour: "47h", 49 * time.Hour: "2d"} {
		if got := ago(d); got != want {
			t.Errorf("%v is %s", d, got)
		}
	}
}
