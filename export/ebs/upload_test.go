package ebs

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/smithy-go"

	store "github.com/ingot-image/ingot/export/internal/ec2sim/ebs"
)

func TestUpload(t *testing.T) {
	s := serve(t, store.Options{Settle: 20 * time.Millisecond})
	s.unknown = 2
	src := many()
	src.blocks[1], src.blocks[100] = 0, 0 // which are zeros in extents
	last, total := int64(0), int64(0)
	made := s.upload(t, src, Options{Description: "a disk", Tags: map[string]string{"a": "b", "c": "d"}, Progress: func(done, all int64) {
		if done <= last {
			t.Errorf("progress from %d to %d", last, done)
		}
		last, total = done, all
	}})
	written := len(src.blocks) - 2
	if made.Blocks != written || made.SentBlocks != written || made.SentBytes != int64(written)*BlockSize || made.VolumeSizeGiB != 1 || len(made.Digests) != written {
		t.Errorf("made %+v of %d blocks", made, written)
	}
	if last != total || total != int64(len(src.blocks))*BlockSize {
		t.Errorf("progress ended at %d of %d", last, total)
	}
	if got := src.reads.Load(); got != int64(len(src.blocks)) {
		t.Errorf("%d reads of %d blocks: holes were read", got, len(src.blocks))
	}
	if calls := s.Calls("PutSnapshotBlock"); calls != written {
		t.Errorf("%d blocks sent", calls)
	}
	if s.looks < 3 {
		t.Errorf("%d looks: the snapshot was not waited for", s.looks)
	}
	n, _ := s.Snapshot(made.ID)
	if n.State != store.Completed || n.Description != "a disk" || n.Tags["a"] != "b" || n.Tags["c"] != "d" {
		t.Errorf("%+v", n)
	}
	s.is(t, made.ID, src)
}

func TestEmptyAndLargerVolume(t *testing.T) {
	s := serve(t, store.Options{})
	made := s.upload(t, &fake{size: 512}, Options{VolumeSizeGiB: 3})
	if n, _ := s.Snapshot(made.ID); made.Blocks != 0 || n.VolumeSizeGiB != 3 || n.State != store.Completed {
		t.Errorf("made %+v, %+v", made, n)
	}
	for size, want := range map[int64]string{1: "too small for the disk, which needs 2 GiB", 65537: "larger than EBS allows"} {
		if _, err := s.try(t, &fake{size: 1<<30 + 512}, Options{VolumeSizeGiB: size}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%d GiB: %v", size, err)
		}
	}
}

func TestErrorsThatPass(t *testing.T) {
	s := serve(t, store.Options{Fault: func(c store.Call) *store.Fault {
		switch {
		case c.Action == "StartSnapshot" && c.Nth == 1:
			return &store.Fault{Cut: true, After: true} // which must not make two snapshots
		case c.Action == "PutSnapshotBlock" && c.Nth%20 == 1:
			return &store.Fault{Status: 400, Code: "ThrottlingException", Message: "Rate exceeded"}
		case c.Action == "PutSnapshotBlock" && c.Nth%20 == 2:
			return &store.Fault{Status: 400, Code: "RequestThrottledException", Message: "Rate exceeded"}
		case c.Action == "PutSnapshotBlock" && c.Nth%20 == 3:
			return &store.Fault{Status: 503, Code: "ServiceUnavailable"}
		case c.Action == "PutSnapshotBlock" && c.Nth%20 == 4:
			return &store.Fault{Cut: true}
		case c.Action == "PutSnapshotBlock" && c.Nth%20 == 5:
			return &store.Fault{Status: 400, Code: "ConcurrentLimitExceededException"}
		case c.Action == "CompleteSnapshot" && c.Nth == 1:
			return &store.Fault{Cut: true, After: true} // so that the second one is refused
		}
		return nil
	}})
	src := &fake{size: 60 * BlockSize, blocks: map[int64]byte{}}
	for i := range int64(60) {
		src.blocks[i] = byte(i) + 1
	}
	made := s.upload(t, src, Options{})
	s.is(t, made.ID, src)
	if n := len(s.Snapshots()); n != 1 {
		t.Errorf("%d snapshots", n)
	}
}

func TestErrorsThatStay(t *testing.T) {
	for name, test := range map[string]struct {
		fault  func(*service, store.Call) *store.Fault
		settle time.Duration
		src    *fake
		want   string
	}{
		"start": {want: "AccessDeniedException: no; the credentials do not allow this", fault: func(_ *service, c store.Call) *store.Fault {
			return &store.Fault{Status: 403, Code: "AccessDeniedException", Message: "no"}
		}},
		"block": {want: "write block", fault: func(_ *service, c store.Call) *store.Fault {
			if c.Action == "PutSnapshotBlock" && c.Nth > 3 {
				return &store.Fault{Status: 402, Code: "ServiceQuotaExceededException", Message: "too many"}
			}
			return nil
		}},
		"failed": {want: `AWS ended it with an error: "the key is gone"`, fault: func(s *service, c store.Call) *store.Fault {
			if c.Action == "CompleteSnapshot" {
				time.AfterFunc(time.Millisecond, func() { s.Fail(c.Snapshot, "the key is gone") })
			}
			return nil
		}, settle: time.Hour},
		"slow":    {want: "AWS has not completed the snapshot in 100ms: it is pending (7%)", settle: time.Hour},
		"changed": {want: "the file has changed", src: &fake{size: BlockSize, blocks: map[int64]byte{0: 1}, changed: errors.New("the file has changed")}},
	} {
		t.Run(name, func(t *testing.T) {
			var s *service
			s = serve(t, store.Options{Settle: test.settle, Fault: func(c store.Call) *store.Fault {
				if test.fault == nil {
					return nil
				}
				return test.fault(s, c)
			}})
			if test.src == nil {
				test.src = many()
			}
			limit := 100 * time.Millisecond
			if name == "failed" {
				limit = 5 * time.Second
			}
			if _, err := s.try(t, test.src, Options{Limit: limit}); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q in it", err, test.want)
			}
		})
	}
}

func TestCancel(t *testing.T) {
	s := serve(t, store.Options{})
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	_, err := Upload(ctx, s.client, many(), Options{Describe: s, Progress: func(done, _ int64) {
		if done > 10*BlockSize {
			cancel(why)
		}
	}})
	if !errors.Is(err, why) {
		t.Error(err)
	}
}

func TestEncrypted(t *testing.T) {
	const key = "arn:aws:kms:eu-west-1:123456789012:key/one"
	for name, o := range map[string]Options{"asked": {Encrypted: true}, "key": {KMSKeyID: key}, "default": {}} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, store.Options{})
			s.byDefault = name == "default"
			src := &fake{size: 40 * BlockSize, blocks: map[int64]byte{1: 1, 39: 2}}
			made := s.upload(t, src, o)
			n, _ := s.Snapshot(made.ID)
			if !made.Encrypted || !n.Encrypted || name == "key" && n.KMSKeyARN != key {
				t.Errorf("made %+v, %+v", made, n)
			}
			if made.SentBlocks != 40 || n.Written != 40 { // zeros that are not written would read as noise
				t.Errorf("%d blocks sent, %d written", made.SentBlocks, n.Written)
			}
			s.is(t, made.ID, src)
			next := s.upload(t, src.with(map[int64]int{39: -1, 7: 3}), Options{Parent: &Parent{made.ID, made.Digests}, Encrypted: o.Encrypted, KMSKeyID: o.KMSKeyID})
			if next.ParentID != made.ID || next.SentBlocks != 2 || !next.Encrypted {
				t.Errorf("the next one: %+v", next)
			}
		})
	}
	s := serve(t, store.Options{})
	if _, err := s.try(t, many(), Options{KMSKeyID: "alias/mine"}); err == nil || !strings.Contains(err.Error(), `"alias/mine" is not given by its ARN`) {
		t.Error(err)
	}
}

func TestIncremental(t *testing.T) {
	s := serve(t, store.Options{})
	base := many()
	first := s.upload(t, base, Options{})
	// The digests go through a record.
	data, err := json.Marshal(first)
	if err != nil || len(data) > first.Blocks*60 {
		t.Fatalf("%d bytes for %d blocks, %v", len(data), first.Blocks, err)
	}
	var kept Snapshot
	if err := json.Unmarshal(data, &kept); err != nil {
		t.Fatal(err)
	}
	changes := base.with(map[int64]int{0: 9, 3: -1, 6: 0, 7: 8, 8: 0}) // changed, gone, zeros, new, new zeros
	second := s.upload(t, changes, Options{Parent: &Parent{kept.ID, kept.Digests}})
	if second.ParentID != first.ID || second.SentBlocks != 4 || second.FullBecause != "" || second.Blocks != first.Blocks+1 {
		t.Errorf("%d sent of %d (%d before), parent %q %q", second.SentBlocks, second.Blocks, first.Blocks, second.ParentID, second.FullBecause)
	}
	s.is(t, second.ID, changes)
	third := s.upload(t, base, Options{Parent: &Parent{second.ID, second.Digests}})
	if third.SentBlocks != 4 {
		t.Errorf("%d sent of the third", third.SentBlocks)
	}
	s.is(t, third.ID, base)
	fourth := s.upload(t, base, Options{Parent: &Parent{third.ID, third.Digests}})
	if fourth.SentBlocks != 0 {
		t.Errorf("%d sent of a disk that is the same", fourth.SentBlocks)
	}
	s.is(t, fourth.ID, base)
}

func TestParentThatCannotBe(t *testing.T) {
	const one, two = "arn:aws:kms:eu-west-1:123456789012:key/one", "arn:aws:kms:eu-west-1:123456789012:key/two"
	src := &fake{size: 8 * BlockSize, blocks: map[int64]byte{1: 1, 2: 2}}
	for name, test := range map[string]struct {
		base, next Options
		between    func(*service, *Snapshot)
		want       string
	}{
		"gone":            {want: "does not exist any more", between: func(s *service, n *Snapshot) { s.Delete(n.ID) }},
		"failed":          {want: "is error, not completed", between: func(s *service, n *Snapshot) { s.Fail(n.ID, "x") }},
		"size":            {want: "of a volume of 1 GiB, not of 2 GiB", next: Options{VolumeSizeGiB: 2}},
		"to be encrypted": {want: "is not encrypted, and this one is to be", next: Options{Encrypted: true}},
		"not encrypted":   {want: "is encrypted, and this one is not to be", base: Options{Encrypted: true}},
		"other key":       {want: "is encrypted by another key", base: Options{KMSKeyID: one}, next: Options{KMSKeyID: two}},
		"default":         {want: "is not encrypted, and this one is to be", between: func(s *service, _ *Snapshot) { s.byDefault = true }},
		"default that may not be asked": {want: "Encryption by default is enabled", between: func(s *service, _ *Snapshot) {
			s.byDefault, s.defaultErr = true, &smithy.GenericAPIError{Code: "UnauthorizedOperation"}
		}},
		"no digests": {want: "digests", between: func(_ *service, n *Snapshot) { n.Digests = nil }},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, store.Options{})
			first := s.upload(t, src, test.base)
			if test.between != nil {
				test.between(s, first)
			}
			test.next.Parent = &Parent{first.ID, first.Digests}
			second := s.upload(t, src, test.next)
			if second.ParentID != "" || !strings.Contains(second.FullBecause, test.want) || second.SentBlocks < 2 {
				t.Errorf("parent %q, because %q, %d sent", second.ParentID, second.FullBecause, second.SentBlocks)
			}
			s.is(t, second.ID, src)
		})
	}
}

func TestDigestsOfAStranger(t *testing.T) {
	for _, text := range []string{`{"0":"AAAA"}`, `{"-1":""}`, `{"134217728":"` + strings.Repeat("A", 43) + `="}`, `[]`,
		`{"0":"` + strings.Repeat("A", 86) + `==","1":"` + strings.Repeat("A", 43) + `="}`} {
		var d Digests
		if err := json.Unmarshal([]byte(text), &d); err == nil {
			t.Errorf("%s was read as %v", text, d)
		}
	}
}
