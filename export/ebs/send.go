package ebs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ebs/types"
	"golang.org/x/sync/errgroup"

	"github.com/ingot-image/ingot/disk/image"
	"github.com/ingot-image/ingot/export/account"
)

// sending is what the goroutines that send blocks share.
type sending struct {
	mu      sync.Mutex
	written Digests        // of blocks written into this snapshot, by this call or an earlier one
	now     Digests        // of all blocks that it has
	dirty   map[int32]bool // pages of written that are not recorded
	sent    int
	done    int64 // blocks
}

// flushPause is the time between two writes of the record. What was sent since the last one is sent again after a kill.
const flushPause = 200 * time.Millisecond

// send reads the disk's blocks and sends those that the snapshot does not have.
func (u *upload) send(ctx context.Context) (err error) {
	held, total, err := u.plan(ctx)
	if err != nil {
		return err
	}
	u.now, u.dirty, u.sent, u.done = Digests{}, map[int32]bool{}, 0, 0
	group, ctx := errgroup.WithContext(ctx)
	work := make(chan int32)
	group.Go(func() error {
		defer close(work)
		for i := range held.size {
			if !held.has(i) && !u.known(i) {
				continue
			}
			select {
			case work <- i:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	})
	var workers sync.WaitGroup
	workers.Add(u.Parallel)
	for range u.Parallel {
		group.Go(func() error {
			defer workers.Done()
			buffer := make([]byte, BlockSize)
			for i := range work {
				if err := u.block(ctx, i, held.has(i), buffer, total); err != nil {
					return err
				}
			}
			return nil
		})
	}
	idle := make(chan struct{})
	go func() { workers.Wait(); close(idle) }()
	group.Go(func() error {
		for {
			select {
			case <-time.After(flushPause):
			case <-idle: // after an error too: what was sent is not sent again
				return u.flush()
			}
			if err := u.flush(); err != nil {
				return err
			}
		}
	})
	return group.Wait()
}

// known tells whether a block may be in the snapshot, or must be there though it is of zeros.
func (u *upload) known(i int32) bool {
	if _, ok := u.has(i); ok {
		return true
	}
	return u.writesZeros() && int64(i)*BlockSize < u.src.Size()
}

func (u *upload) writesZeros() bool { return u.WriteZeros || u.state.IsEncrypted }

// has gives the digest of the block that the snapshot has.
func (u *upload) has(i int32) (Digest, bool) {
	u.mu.Lock()
	sum, ok := u.written[i]
	u.mu.Unlock()
	if !ok {
		sum, ok = u.parent[i]
	}
	return sum, ok
}

// blockSet is a set of blocks of a volume.
type blockSet struct {
	size int32 // of the volume, in blocks
	bits []uint64
}

func (s blockSet) has(i int32) bool { return s.bits[i/64]>>(i%64)&1 == 1 }

// plan finds the blocks that the disk's extents touch, and how many blocks there are to look at.
func (u *upload) plan(ctx context.Context) (blockSet, int64, error) {
	blocks := int32(u.state.VolumeSizeGiB << 30 / BlockSize)
	s := blockSet{blocks, make([]uint64, (blocks+63)/64)}
	size, last := u.src.Size(), int64(0)
	err := u.src.Extents(ctx, func(e image.Extent) error {
		if e.Start < last || e.Size <= 0 || e.Size > size-e.Start {
			return fmt.Errorf("the source has an extent of %d bytes at %d, after one that ends at %d, on a disk of %d", e.Size, e.Start, last, size)
		}
		last = e.End()
		for i := e.Start / BlockSize; i*BlockSize < e.End(); i++ {
			s.bits[i/64] |= 1 << (i % 64)
		}
		return nil
	})
	if err != nil {
		return s, 0, err
	}
	total := int64(0)
	for i := range blocks {
		if s.has(i) || u.known(i) {
			total++
		}
	}
	return s, total, nil
}

// block sends one block if the snapshot has another one, or none.
func (u *upload) block(ctx context.Context, i int32, held bool, buffer []byte, total int64) error {
	data, sum := zeros, zeroDigest
	if held {
		if err := u.read(buffer, i); err != nil {
			return err
		}
		if !image.IsZero(buffer) {
			data, sum = buffer, sha256.Sum256(buffer)
		}
	}
	before, there := u.has(i)
	isZero := sum == zeroDigest
	send := there && before != sum || !there && (!isZero || u.writesZeros())
	if send {
		if u.state.Sealed {
			return errSealed
		}
		if err := u.put(ctx, i, data, sum); err != nil {
			return fmt.Errorf("write block %d: %w", i, account.Explain(err))
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if send {
		u.written[i], u.dirty[i/pageBlocks] = sum, true
		u.sent++
	}
	if send || there {
		u.now[i] = sum
	}
	u.done++
	if u.Progress != nil {
		u.Progress(u.done*BlockSize, total*BlockSize)
	}
	return nil
}

// read reads a block; behind the disk's end are zeros.
func (u *upload) read(buffer []byte, i int32) error {
	at := int64(i) * BlockSize
	here := buffer[:min(BlockSize, u.src.Size()-at)]
	clear(buffer[len(here):])
	if n, err := u.src.ReadAt(here, at); n < len(here) {
		if err == nil || errors.Is(err, io.EOF) {
			err = errors.New("the source has become shorter")
		}
		return fmt.Errorf("read at %d: %w", at, err)
	}
	return nil
}

func (u *upload) put(ctx context.Context, i int32, data []byte, sum Digest) error {
	checksum := base64.StdEncoding.EncodeToString(sum[:])
	out, err := u.client.PutSnapshotBlock(ctx, &sdk.PutSnapshotBlockInput{
		SnapshotId:        &u.state.SnapshotID,
		BlockIndex:        &i,
		BlockData:         bytes.NewReader(data),
		DataLength:        aws.Int32(BlockSize),
		Checksum:          &checksum,
		ChecksumAlgorithm: types.ChecksumAlgorithmChecksumAlgorithmSha256,
	})
	if err != nil {
		return err
	}
	if got := aws.ToString(out.Checksum); got != checksum {
		return fmt.Errorf("its checksum is %s, but AWS answers %q", checksum, got)
	}
	return nil
}

// flush records the digests of what was written since the last one.
func (u *upload) flush() error {
	u.mu.Lock()
	pages := map[int32]Digests{}
	for page := range u.dirty {
		digests := Digests{}
		for i := page * pageBlocks; i < (page+1)*pageBlocks; i++ {
			if sum, ok := u.written[i]; ok {
				digests[i] = sum
			}
		}
		pages[page] = digests
	}
	clear(u.dirty)
	u.mu.Unlock()
	for page, digests := range pages {
		if err := u.Record.Put(u.pageKey(page), digests); err != nil {
			return err
		}
	}
	return nil
}
