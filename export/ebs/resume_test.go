package ebs

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	store "github.com/ingot-image/ingot/export/internal/ec2sim/ebs"
	"github.com/ingot-image/ingot/export/record"
)

// pending is EC2 as an upload sees it that does not come to its end.
type pending struct{ *service }

func (pending) DescribeSnapshots(context.Context, *ec2.DescribeSnapshotsInput, ...func(*ec2.Options)) (*ec2.DescribeSnapshotsOutput, error) {
	return &ec2.DescribeSnapshotsOutput{Snapshots: []ec2types.Snapshot{{State: ec2types.SnapshotStatePending}}}, nil
}

// Killed in the middle, the upload goes on with the blocks that are missing and with no other.
func TestKilled(t *testing.T) {
	if url := os.Getenv("INGOT_TEST_EBS"); url != "" {
		b, err := record.Open(os.Getenv("INGOT_TEST_EBS_RECORD"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("uploading")
		Upload(context.Background(), clientOf(url), many(), Options{Describe: pending{}, Record: b})
		return
	}
	const until = 300 // blocks, and then the server does not answer
	var stalled atomic.Bool
	stalled.Store(true)
	written := make(chan struct{})
	var once sync.Once
	s := serve(t, store.Options{Fault: func(c store.Call) *store.Fault {
		if c.Action == "PutSnapshotBlock" && c.Nth > until && stalled.Load() {
			once.Do(func() { close(written) })
			return &store.Fault{Delay: time.Hour, Cut: true}
		}
		return nil
	}})
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
	cmd.Env = append(os.Environ(), "INGOT_TEST_EBS="+s.url, "INGOT_TEST_EBS_RECORD="+dir)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(stdout); lines.Scan() && !strings.Contains(lines.Text(), "uploading"); {
	}
	select {
	case <-written:
	case <-time.After(time.Minute):
		t.Error("the child has not written its blocks in a minute")
	}
	time.Sleep(5 * flushPause) // the record is written that often
	cmd.Process.Kill()
	cmd.Wait()
	stalled.Store(false)
	before := s.Snapshots()
	if len(before) != 1 || before[0].Written != until || before[0].State != store.Pending {
		t.Fatalf("the child left %+v", before)
	}
	calls := s.Calls("PutSnapshotBlock")
	src := many()
	b := book(t, dir)
	made := s.upload(t, src, Options{Record: b})
	if sent := s.Calls("PutSnapshotBlock") - calls; sent != len(src.blocks)-until || made.SentBlocks != sent || made.Blocks != len(src.blocks) {
		t.Errorf("%d of %d blocks were sent again after %d, made %d of %d", sent, len(src.blocks), until, made.SentBlocks, made.Blocks)
	}
	if made.ID != before[0].ID || len(s.Snapshots()) != 1 {
		t.Errorf("went on with %s, which was %s", made.ID, before[0].ID)
	}
	s.is(t, made.ID, src)

	// What is there is given again, and a disk that has changed since has a snapshot of its own.
	again := s.upload(t, src, Options{Record: b})
	if again.ID != made.ID || again.SentBlocks != 0 || len(again.Digests) != made.Blocks {
		t.Errorf("again: %s, %d sent", again.ID, again.SentBlocks)
	}
	changed := src.with(map[int64]int{0: 99})
	other := s.upload(t, changed, Options{Record: b})
	if other.ID == made.ID {
		t.Error("a completed snapshot was written")
	}
	s.is(t, other.ID, changed)
}

// An upload that failed goes on as well, also of a disk that has changed.
func TestResumeChanged(t *testing.T) {
	var failing atomic.Bool
	failing.Store(true)
	s := serve(t, store.Options{Fault: func(c store.Call) *store.Fault {
		if c.Action == "PutSnapshotBlock" && c.Nth > 100 && failing.Load() {
			return &store.Fault{Status: 403, Code: "AccessDeniedException"}
		}
		return nil
	}})
	b := book(t, t.TempDir())
	src := many()
	if _, err := s.try(t, src, Options{Record: b, Parallel: 1}); err == nil {
		t.Fatal("no error")
	}
	failing.Store(false)
	changed := src.with(map[int64]int{0: 99, 3: -1})
	made := s.upload(t, changed, Options{Record: b})
	if len(s.Snapshots()) != 1 || made.SentBlocks != len(src.blocks)-100+2 { // what was missing, and the two that are others now
		t.Errorf("%d snapshots, %d blocks sent of %d", len(s.Snapshots()), made.SentBlocks, len(changed.blocks))
	}
	s.is(t, made.ID, changed)
}

func TestResumeElsewhere(t *testing.T) {
	src := &fake{size: 8 * BlockSize, blocks: map[int64]byte{1: 1, 2: 2}}
	for name, test := range map[string]struct {
		between func(*service, *store.Snapshot)
		next    Options
		want    int // snapshots
	}{
		"nothing changed": {want: 1},
		"given up by AWS": {want: 2, between: func(s *service, n *store.Snapshot) { s.Fail(n.ID, "timeout") }},
		"deleted":         {want: 1, between: func(s *service, n *store.Snapshot) { s.Delete(n.ID) }},
		"other size":      {want: 2, next: Options{VolumeSizeGiB: 2}},
		"other upload":    {want: 2, next: Options{Name: "data"}},
	} {
		t.Run(name, func(t *testing.T) {
			failing := true
			s := serve(t, store.Options{Fault: func(c store.Call) *store.Fault {
				if c.Action == "CompleteSnapshot" && failing {
					return &store.Fault{Status: 403, Code: "AccessDeniedException"}
				}
				return nil
			}})
			b := book(t, t.TempDir())
			if _, err := s.try(t, src, Options{Record: b}); err == nil {
				t.Fatal("no error")
			}
			failing = false
			if test.between != nil {
				test.between(s, &s.Snapshots()[0])
			}
			test.next.Record = b
			made := s.upload(t, src, test.next)
			if n := len(s.Snapshots()); n != test.want {
				t.Errorf("%d snapshots", n)
			}
			s.is(t, made.ID, src)
		})
	}
}

// StartSnapshot's answer that never came is asked for again by the token, also with other tags.
func TestStartIsNotDoubled(t *testing.T) {
	for name, want := range map[string]int{"same": 1, "other": 2} {
		failing := true
		s := serve(t, store.Options{Fault: func(c store.Call) *store.Fault {
			if c.Action == "StartSnapshot" && failing {
				return &store.Fault{Status: 403, Code: "AccessDeniedException", After: true}
			}
			return nil
		}})
		b := book(t, t.TempDir())
		src := &fake{size: BlockSize, blocks: map[int64]byte{0: 1}}
		if _, err := s.try(t, src, Options{Record: b, Tags: map[string]string{"is": "same"}}); err == nil {
			t.Fatal("no error")
		}
		failing = false
		made := s.upload(t, src, Options{Record: b, Tags: map[string]string{"is": name}})
		if n := len(s.Snapshots()); n != want {
			t.Errorf("%s: %d snapshots", name, n)
		}
		s.is(t, made.ID, src)
	}
}
