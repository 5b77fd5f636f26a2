// Package ebs is a server of the EBS direct APIs for tests: the REST interface that the EBS direct API reference documents, on the wire, and stricter than
// most clients would like. A block without its right SHA-256, a count of changed blocks that is off by one, a parent together with encryption, a read of a
// snapshot that is still pending: each is refused in the way AWS refuses it. What was written can be read as a disk, by the API and directly.
//
//	store, err := ebs.New(ebs.Options{})
//	defer store.Close()
//	server := httptest.NewServer(store)
//	… // a client writes a snapshot to server.URL
//	disk, err := store.Bytes(id) // an image.Source to compare with
//
// Snapshots exist as soon as they are started. A server of EC2's own API asks for them by [Store.Snapshot] and [Store.Snapshots], and brings those that it
// makes itself by [Store.Adopt].
//
// Paths, headers and status codes are those of the model that AWS's SDKs are generated from (com.amazonaws.ebs, 2019-11-02).
package ebs

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ingot-image/ingot/disk/image"
)

// BlockSize is the one size of blocks, in bytes.
const BlockSize = 512 << 10

// Options are options of [New].
type Options struct {
	// Dir is where blocks are kept, in files without names; default [os.TempDir].
	Dir string
	// Discard keeps only the digests of blocks, so that no disk is in the way of a measurement. They are verified and counted as ever, but cannot be read.
	Discard bool
	// AccountID owns the snapshots; default 123456789012.
	AccountID string
	// NewID names a new snapshot; default: one of random digits.
	NewID func(volumeSizeGiB int64) (string, error)
	// EncryptionByDefault tells the account's setting and its default key's ARN; default: off.
	EncryptionByDefault func() (on bool, keyARN string)
	// Settle is how long a snapshot that was completed stays pending.
	Settle time.Duration
	// PageSize is the most blocks that an answer lists, whatever the client asks for; 0: 10,000.
	PageSize int
	// Fault is asked before every call; nil answers let it pass.
	Fault func(Call) *Fault
}

// Call is a call of the API.
type Call struct {
	Action   string // "PutSnapshotBlock"
	Nth      int    // how many calls of the action there were, this one included
	Snapshot string
	Block    int32 // of PutSnapshotBlock and GetSnapshotBlock
}

// Fault is what happens to a call instead of its work, or after it.
type Fault struct {
	Delay   time.Duration // first of all
	Status  int           // HTTP's; 0 with Cut
	Code    string        // "ThrottlingException"
	Message string
	Cut     bool // the connection ends without an answer
	After   bool // the work is done, and then its answer is lost
	Flip    bool // a byte of the block that is read is another one on the way
}

// The states of a snapshot, as DescribeSnapshots calls them.
const (
	Pending   = "pending"
	Completed = "completed"
	Failed    = "error"
)

// Snapshot is what is known of a snapshot.
type Snapshot struct {
	ID            string
	OwnerID       string
	VolumeSizeGiB int64
	ParentID      string
	Description   string
	Tags          map[string]string
	Encrypted     bool
	KMSKeyARN     string
	State         string
	Message       string // why it failed
	Started       time.Time
	Blocks        int // that the snapshot has, those of its parent included
	Written       int // of them by PutSnapshotBlock into this one
}

// Store keeps snapshots. It is an [http.Handler].
type Store struct {
	options Options

	mu        sync.Mutex
	snapshots map[string]*snapshot
	tokens    map[string]*started // by client token
	calls     map[string]int
	files     []*os.File
	buffers   sync.Pool
}

// started is what a client token was used for.
type started struct {
	request startRequest
	id      string
}

type snapshot struct {
	Snapshot
	root      string // the first ancestor's id: snapshots that are related have one
	blocks    map[int32]block
	written   map[int32]bool
	file      *os.File // of the blocks written into this one; nil before the first
	source    image.Source
	completed time.Time // zero: CompleteSnapshot has not been called
}

// block is a block's place and digest. Of a snapshot with a parent it may be in the parent's file.
type block struct {
	file   *os.File
	source image.Source // of an adopted snapshot, instead of a file
	sum    [sha256.Size]byte
}

// New makes a store without snapshots.
func New(o Options) *Store {
	if o.AccountID == "" {
		o.AccountID = "123456789012"
	}
	if o.NewID == nil {
		o.NewID = func(int64) (string, error) { return "snap-0" + random(8), nil }
	}
	if o.EncryptionByDefault == nil {
		o.EncryptionByDefault = func() (bool, string) { return false, "" }
	}
	if o.PageSize <= 0 {
		o.PageSize = 10000
	}
	s := &Store{options: o, snapshots: map[string]*snapshot{}, tokens: map[string]*started{}, calls: map[string]int{}}
	s.buffers.New = func() any { b := make([]byte, BlockSize+1); return &b }
	return s
}

// Close frees what blocks are kept in.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, f := range s.files {
		errs = append(errs, f.Close())
	}
	s.files, s.snapshots = nil, map[string]*snapshot{}
	return errors.Join(errs...)
}

// Adopt brings a completed snapshot made elsewhere, such as by an import. Its blocks are those of the source's extents.
func (s *Store) Adopt(made Snapshot, src image.Source) error {
	if made.ID == "" || made.VolumeSizeGiB < 1 || src.Size() > made.VolumeSizeGiB<<30 {
		return fmt.Errorf("adopt snapshot %q of %d GiB with %d bytes", made.ID, made.VolumeSizeGiB, src.Size())
	}
	if made.State == "" {
		made.State = Completed
	}
	if made.Started.IsZero() {
		made.Started = time.Now()
	}
	if made.OwnerID == "" {
		made.OwnerID = s.options.AccountID
	}
	blocks, err := blocksOf(src)
	if err != nil {
		return fmt.Errorf("adopt snapshot %s: %w", made.ID, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.snapshots[made.ID] = &snapshot{Snapshot: made, root: made.ID, blocks: blocks, source: src, completed: made.Started}
	return nil
}

// Snapshot describes a snapshot.
func (s *Store) Snapshot(id string) (Snapshot, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.snapshots[id]
	if n == nil {
		return Snapshot{}, false
	}
	return s.describe(n), true
}

// Snapshots describes all snapshots, in the order of their ids.
func (s *Store) Snapshots() []Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Snapshot
	for _, n := range s.snapshots {
		list = append(list, s.describe(n))
	}
	slices.SortFunc(list, func(a, b Snapshot) int { return strings.Compare(a.ID, b.ID) })
	return list
}

func (s *Store) describe(n *snapshot) Snapshot {
	s.settle(n)
	d := n.Snapshot
	d.Blocks, d.Written = len(n.blocks), len(n.written)
	return d
}

// settle moves a snapshot that was completed to its state by now.
func (s *Store) settle(n *snapshot) {
	if n.State == Pending && !n.completed.IsZero() && time.Since(n.completed) >= s.options.Settle {
		n.State = Completed
	}
}

// Fail puts a snapshot into the state error.
func (s *Store) Fail(id, message string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.snapshots[id]; n != nil {
		n.State, n.Message = Failed, message
	}
}

// Delete forgets a snapshot. Blocks of it that others have stay theirs.
func (s *Store) Delete(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.snapshots, id)
}

// Calls tells how often an action was called.
func (s *Store) Calls(action string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[action]
}

// Bytes gives a completed snapshot's content as a disk of its volume's size.
func (s *Store) Bytes(id string) (image.Source, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.snapshots[id]
	if n == nil {
		return nil, fmt.Errorf("there is no snapshot %s", id)
	}
	if s.settle(n); n.State != Completed {
		return nil, fmt.Errorf("snapshot %s is %s", id, n.State)
	}
	if s.options.Discard && n.source == nil {
		return nil, errors.New("the store keeps no blocks")
	}
	return &content{n.VolumeSizeGiB << 30, n.blocks}, nil
}

func random(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return hex.EncodeToString(b)
}
