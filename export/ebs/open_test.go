package ebs

import (
	"bytes"
	"errors"
	"sync"
	"testing"

	"github.com/ingot-image/ingot/disk/image"
	store "github.com/ingot-image/ingot/export/internal/ec2sim/ebs"
)

func TestOpen(t *testing.T) {
	flips := 0
	var mu sync.Mutex
	s := serve(t, store.Options{PageSize: 100, Fault: func(c store.Call) *store.Fault {
		mu.Lock()
		defer mu.Unlock()
		if c.Action == "GetSnapshotBlock" && c.Nth%7 == 1 {
			flips++
			return &store.Fault{Flip: true}
		}
		return nil
	}})
	src := many()
	made := s.upload(t, src, Options{})
	s.is(t, made.ID, src)
	if flips == 0 {
		t.Fatal("no block came changed")
	}
	opened, err := Open(t.Context(), s.client, made.ID)
	if err != nil {
		t.Fatal(err)
	}
	blocks := 0
	if err := opened.Extents(t.Context(), func(e image.Extent) error { blocks += int(e.Size / BlockSize); return nil }); err != nil || blocks != made.Blocks {
		t.Errorf("%d blocks in extents, %v", blocks, err)
	}
	// Small reads by many ask for a block once.
	before := s.Calls("GetSnapshotBlock")
	var group sync.WaitGroup
	for k := range 20 {
		group.Go(func() {
			p := make([]byte, 1000)
			if n, err := opened.ReadAt(p, 3*BlockSize+int64(k)*1000); n != 1000 || err != nil || !bytes.Equal(p, bytes.Repeat([]byte{4}, 1000)) {
				t.Error(n, err)
			}
		})
	}
	group.Wait()
	if n := s.Calls("GetSnapshotBlock") - before; n > 2 { // one may have come changed
		t.Errorf("%d requests for one block", n)
	}
}

func TestOpenRefuses(t *testing.T) {
	s := serve(t, store.Options{Fault: func(c store.Call) *store.Fault {
		if c.Action == "GetSnapshotBlock" {
			return &store.Fault{Flip: true}
		}
		return nil
	}})
	if _, err := Open(t.Context(), s.client, "snap-1"); err == nil {
		t.Error("what does not exist was opened")
	}
	made := s.upload(t, &fake{size: BlockSize, blocks: map[int64]byte{0: 1}}, Options{})
	opened, err := Open(t.Context(), s.client, made.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := opened.ReadAt(make([]byte, 10), 0); !errors.Is(err, errChecksum) {
		t.Error(err)
	}
	if n := s.Calls("GetSnapshotBlock"); n != reads {
		t.Errorf("%d tries", n)
	}
}
