package ebs

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ebs/types"

	"github.com/ingot-image/ingot/disk/image"
	"github.com/ingot-image/ingot/export/account"
)

// Options are options of [Upload]. Describe is the one that must be given.
type Options struct {
	// Describe asks EC2; *ec2.Client is one.
	Describe DescribeSnapshotsAPI
	// Keys asks KMS for the ARN of a key that is given by its id or alias; without it KMSKeyID must be an ARN. *kms.Client is one.
	Keys KeysAPI

	// VolumeSizeGiB is the size of volumes made of the snapshot; 0: the disk's, rounded up.
	VolumeSizeGiB int64
	// Parent is the snapshot of an earlier build, so that only what has changed is sent; nil: none. Where it cannot be one, everything is sent; see
	// Snapshot.FullBecause.
	Parent *Parent
	// Encrypted asks for encryption, by the account's default key or by KMSKeyID, which asks for it too.
	Encrypted bool
	KMSKeyID  string
	// WriteZeros writes blocks of zeros into a snapshot that is not encrypted too; see the package's comment.
	WriteZeros bool

	Description string // 255 bytes at most
	Tags        map[string]string

	// Record is where an upload that is cut off goes on; nil: it starts anew. Name is the upload's among those of one record; default "disk".
	Record Record
	Name   string

	Parallel int                     // how many blocks are sent at once; 0: 32, at most 256
	Progress func(done, total int64) // bytes of the disk's blocks; never called by two goroutines at once; must not block

	Poll  time.Duration // first pause between two looks at the snapshot's state; 0: 2 s
	Limit time.Duration // for the snapshot to be completed by AWS after everything was sent; 0: one hour
}

// Parent is the snapshot of an earlier build of the same image, and the digests that Upload gave with it: they must be that snapshot's.
type Parent struct {
	SnapshotID string
	Digests    Digests
}

// Snapshot is what Upload has made: a snapshot in the state completed.
type Snapshot struct {
	ID            string `json:"id"`
	VolumeSizeGiB int64  `json:"volumeSizeGiB"`
	Encrypted     bool   `json:"encrypted,omitempty"`
	ParentID      string `json:"parentId,omitempty"`
	// FullBecause tells why the parent that was given is not this snapshot's.
	FullBecause string `json:"fullBecause,omitempty"`
	// Blocks that the snapshot has, those of its parent included, and those sent by this call; Bytes and SentBytes are the same in bytes.
	Blocks     int   `json:"blocks"`
	SentBlocks int   `json:"sentBlocks"`
	Bytes      int64 `json:"bytes"`
	SentBytes  int64 `json:"sentBytes"`
	// Digests of its blocks, for the next build's upload. Keep them with the snapshot's id.
	Digests Digests `json:"digests,omitempty"`
}

// timeoutMinutes is how long AWS waits for the next block before it gives a pending snapshot up: its longest, three days, so that an upload can go on after one.
const timeoutMinutes = 4320

// upload is an Upload under way.
type upload struct {
	Options
	client API
	src    image.Source
	keyARN string
	state  state
	parent Digests // of the parent that is used
	sending
}

// Upload makes a snapshot of a disk and waits until it is completed. Blocks go over the wire as they are: 512 KiB each, whatever the image's own format.
//
// With a record, the same call after a kill, a crash or an outage goes on with the snapshot that it had begun, as long as AWS keeps it: three days after the
// last block. A call whose snapshot was already completed gives that snapshot, if the disk is still the same. What is abandoned is deleted by AWS after that time.
//
// The error is ctx's cause, of the source, the record, or AWS's as account.Explain tells it; a snapshot that failed has AWS's message in it.
func Upload(ctx context.Context, client API, src image.Source, o Options) (*Snapshot, error) {
	u := &upload{Options: o, client: client, src: src}
	s, err := u.run(ctx)
	if err == nil {
		return s, nil
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if u.state.SnapshotID != "" {
		return nil, fmt.Errorf("upload to EBS snapshot %s: %w", u.state.SnapshotID, err)
	}
	return nil, fmt.Errorf("upload to an EBS snapshot: %w", err)
}

// errSealed says that a snapshot that was completed lacks a block.
var errSealed = errors.New("the snapshot was completed with another content")

func (u *upload) run(ctx context.Context) (*Snapshot, error) {
	if err := u.defaults(ctx); err != nil {
		return nil, err
	}
	if err := u.begin(ctx); err != nil {
		return nil, err
	}
	err := u.send(ctx)
	if errors.Is(err, errSealed) { // the earlier call's disk was another one
		if err = u.beginAnew(ctx); err == nil {
			err = u.send(ctx)
		}
	}
	if err != nil {
		return nil, err
	}
	if c, ok := u.src.(image.Unchanged); ok {
		if err := c.Unchanged(); err != nil {
			return nil, err
		}
	}
	if err := u.complete(ctx); err != nil {
		return nil, err
	}
	s := &Snapshot{ID: u.state.SnapshotID, VolumeSizeGiB: u.state.VolumeSizeGiB, Encrypted: u.state.IsEncrypted, ParentID: u.state.ParentID,
		FullBecause: u.state.FullBecause, Blocks: len(u.now), SentBlocks: u.sent, Digests: u.now}
	s.Bytes, s.SentBytes = int64(s.Blocks)*BlockSize, int64(s.SentBlocks)*BlockSize
	return s, nil
}

// defaults checks the options and sets what is left open.
func (u *upload) defaults(ctx context.Context) error {
	least := max((u.src.Size()+1<<30-1)>>30, 1)
	u.VolumeSizeGiB = cmp.Or(u.VolumeSizeGiB, least)
	switch {
	case u.Describe == nil:
		return errors.New("no client of EC2 was given")
	case u.VolumeSizeGiB < least:
		return fmt.Errorf("a volume of %d GiB is too small for the disk, which needs %d GiB", u.VolumeSizeGiB, least)
	case u.VolumeSizeGiB > MaxVolumeSizeGiB:
		return fmt.Errorf("a volume of %d GiB is larger than EBS allows, %d GiB", u.VolumeSizeGiB, MaxVolumeSizeGiB)
	}
	u.Name = cmp.Or(u.Name, "disk")
	u.Poll, u.Limit = cmp.Or(u.Poll, 2*time.Second), cmp.Or(u.Limit, time.Hour)
	u.Parallel = min(cmp.Or(max(u.Parallel, 0), 32), maxParallel)
	if u.Record == nil {
		u.Record = forgetful{}
	}
	var err error
	u.keyARN, err = u.key(ctx)
	return err
}

// forgetful is the record of uploads that are not resumed.
type forgetful struct{}

func (forgetful) Get(string, any) (bool, error) { return false, nil }
func (forgetful) Put(string, any) error         { return nil }
func (forgetful) Delete(string) error           { return nil }

// complete seals the snapshot and waits for it.
func (u *upload) complete(ctx context.Context) error {
	earlier := u.state.Sealed
	if !earlier {
		u.state.Sealed = true
		if err := u.keepState(); err != nil {
			return err
		}
	}
	sum := u.written.linear()
	_, err := u.client.CompleteSnapshot(ctx, &sdk.CompleteSnapshotInput{
		SnapshotId:                &u.state.SnapshotID,
		ChangedBlocksCount:        aws.Int32(int32(len(u.written))),
		Checksum:                  aws.String(base64.StdEncoding.EncodeToString(sum[:])),
		ChecksumAlgorithm:         types.ChecksumAlgorithmChecksumAlgorithmSha256,
		ChecksumAggregationMethod: types.ChecksumAggregationMethodChecksumAggregationLinear,
	})
	if err == nil {
		return u.await(ctx, u.Limit)
	}
	if account.Code(err) != "ValidationException" {
		return fmt.Errorf("complete it: %w", account.Explain(err))
	}
	// Perhaps an earlier try has completed it, whose answer was lost.
	limit := min(u.Limit, 30*u.Poll)
	if earlier {
		limit = u.Limit
	}
	if u.await(ctx, limit) != nil {
		return fmt.Errorf("complete it: %w", account.Explain(err))
	}
	return nil
}
