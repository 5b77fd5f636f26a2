package ebs

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ebs"

	"github.com/ingot-image/ingot/disk/image"
	"github.com/ingot-image/ingot/export/account"
)

const (
	// listed is how many blocks one answer of ListSnapshotBlocks is asked to have, its most.
	listed = 10000
	// cached is how many blocks are kept for reads of less than a block, as readers of file systems do.
	cached = 32
	// reads is how often a block is asked for that comes cut off or with another checksum.
	reads = 4
)

// Open reads a completed snapshot as a disk. Every block that is read is compared with its checksum. ctx is that of all reads, which last at most as long as the tokens
// that blocks are read with: seven days.
func Open(ctx context.Context, client ReadAPI, snapshotID string) (image.Source, error) {
	d := &disk{ctx: ctx, client: client, id: snapshotID, tokens: map[int32]string{}, cache: map[int32]*cachedBlock{}}
	in := &sdk.ListSnapshotBlocksInput{SnapshotId: &snapshotID, MaxResults: aws.Int32(listed)}
	for {
		out, err := client.ListSnapshotBlocks(ctx, in)
		if err != nil {
			return nil, fmt.Errorf("open EBS snapshot %s: %w", snapshotID, account.Explain(err))
		}
		d.size = aws.ToInt64(out.VolumeSize) << 30
		if d.size <= 0 || d.size > MaxVolumeSizeGiB<<30 {
			return nil, fmt.Errorf("open EBS snapshot %s: it is of a volume of %d GiB", snapshotID, aws.ToInt64(out.VolumeSize))
		}
		for _, b := range out.Blocks {
			i := aws.ToInt32(b.BlockIndex)
			if i < 0 || int64(i) >= d.size/BlockSize {
				return nil, fmt.Errorf("open EBS snapshot %s: it has a block %d, beyond its volume of %d GiB", snapshotID, i, d.size>>30)
			}
			d.tokens[i] = aws.ToString(b.BlockToken)
		}
		if aws.ToString(out.NextToken) == "" {
			return d, nil
		}
		in.NextToken = out.NextToken
	}
}

// disk is a snapshot that is read.
type disk struct {
	ctx    context.Context
	client ReadAPI
	id     string
	size   int64
	tokens map[int32]string

	mu    sync.Mutex
	cache map[int32]*cachedBlock
	order []int32 // of the cache, the oldest first
}

// cachedBlock is read once, whoever asks.
type cachedBlock struct {
	once sync.Once
	data []byte
	err  error
}

func (d *disk) Size() int64 { return d.size }

func (d *disk) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) && off < d.size {
		i, within := int32(off/BlockSize), off%BlockSize
		part := p[n:min(int64(len(p)), int64(n)+BlockSize-within)]
		switch _, held := d.tokens[i]; {
		case !held:
			clear(part)
		case len(part) == BlockSize:
			if err := d.fetch(part, i); err != nil {
				return n, err
			}
		default:
			data, err := d.block(i)
			if err != nil {
				return n, err
			}
			copy(part, data[within:])
		}
		n, off = n+len(part), off+int64(len(part))
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Extents are the blocks that the snapshot has.
func (d *disk) Extents(ctx context.Context, f func(image.Extent) error) error {
	var e image.Extent
	for _, i := range slices.Sorted(maps.Keys(d.tokens)) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		start := int64(i) * BlockSize
		if e.Size == 0 || e.End() != start {
			if e.Size > 0 {
				if err := f(e); err != nil {
					return err
				}
			}
			e = image.Extent{Start: start}
		}
		e.Size += BlockSize
	}
	if e.Size == 0 {
		return nil
	}
	return f(e)
}

// block gives a block from the cache, where it stays for a while.
func (d *disk) block(i int32) ([]byte, error) {
	d.mu.Lock()
	b := d.cache[i]
	if b == nil {
		b = &cachedBlock{}
		d.cache[i] = b
		if d.order = append(d.order, i); len(d.order) > cached {
			delete(d.cache, d.order[0])
			d.order = d.order[1:]
		}
	}
	d.mu.Unlock()
	b.once.Do(func() {
		b.data = make([]byte, BlockSize)
		b.err = d.fetch(b.data, i)
	})
	return b.data, b.err
}

var errChecksum = errors.New("what came is not what its checksum says")

// fetch reads a block. One that comes cut off or changed is asked for again: the SDK only sees to requests that fail.
func (d *disk) fetch(p []byte, i int32) (err error) {
	for range reads {
		if err = d.get(p, i); err == nil || d.ctx.Err() != nil || account.Code(err) != "" {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("read block %d of EBS snapshot %s: %w", i, d.id, account.Explain(err))
	}
	return nil
}

func (d *disk) get(p []byte, i int32) error {
	out, err := d.client.GetSnapshotBlock(d.ctx, &sdk.GetSnapshotBlockInput{SnapshotId: &d.id, BlockIndex: &i, BlockToken: aws.String(d.tokens[i])})
	if err != nil {
		return err
	}
	defer out.BlockData.Close()
	if _, err := io.ReadFull(out.BlockData, p); err != nil {
		return err
	}
	if sum := sha256.Sum256(p); aws.ToString(out.Checksum) != base64.StdEncoding.EncodeToString(sum[:]) {
		return errChecksum
	}
	return nil
}
