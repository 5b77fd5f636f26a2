// Package ebs writes a disk straight into an Amazon EBS snapshot and reads one back, by the EBS direct APIs: no bucket, no role, no import task. Only blocks
// that hold something are sent, several at once, each with its SHA-256 and all of them with one more.
//
//	client := ebs.NewClient(cfg)
//	snapshot, err := ebs.Upload(ctx, client, disk, ebs.Options{
//		Describe: ec2.NewFromConfig(cfg),
//		Record:   book, // *record.Book; the same call after a crash sends only what is missing
//	})
//	…
//	next, err := ebs.Upload(ctx, client, nextBuild, ebs.Options{
//		Describe: ec2.NewFromConfig(cfg),
//		Parent:   &ebs.Parent{SnapshotID: snapshot.ID, Digests: snapshot.Digests}, // sends only what has changed
//	})
//	back, err := ebs.Open(ctx, client, next.ID) // an image.Source
//
// One rule decides what is sent. The digests of the blocks that the snapshot already has are known: of the parent's blocks, and of those that an earlier try
// of this upload wrote. A block is sent if its digest is another one. So a source that was changed between two tries gives what it holds now, and a block
// that has become zero is written as zeros.
//
// # Zeros
//
// A block of a snapshot that was never written reads as zeros, but not where there is encryption: a volume of an encrypted snapshot gives what zeros decrypt to,
// noise, for a block that the snapshot does not have (see issues 395 and 470 of awslabs/coldsnap). File systems expect zeros where they wrote some. Upload therefore
// writes every block of the disk into a snapshot that is encrypted, zeros included, and skips those of zeros in any other. Where encrypted volumes are to be made of
// a snapshot that is not, ask for the same with Options.WriteZeros.
//
// The rules are those of the EBS direct APIs' reference and user guide ("Write snapshots", "Encryption outcomes"), https://docs.aws.amazon.com/ebs/latest/.
package ebs

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	sdkhttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	sdk "github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"net/http"
)

// BlockSize is the one size of blocks that EBS has, in bytes.
const BlockSize = 512 << 10

// MaxVolumeSizeGiB is the largest volume.
const MaxVolumeSizeGiB = 64 << 10

// API is what [Upload] needs of the EBS direct APIs. It is satisfied by the SDK's client; see [NewClient].
type API interface {
	StartSnapshot(context.Context, *sdk.StartSnapshotInput, ...func(*sdk.Options)) (*sdk.StartSnapshotOutput, error)
	PutSnapshotBlock(context.Context, *sdk.PutSnapshotBlockInput, ...func(*sdk.Options)) (*sdk.PutSnapshotBlockOutput, error)
	CompleteSnapshot(context.Context, *sdk.CompleteSnapshotInput, ...func(*sdk.Options)) (*sdk.CompleteSnapshotOutput, error)
}

// ReadAPI is what [Open] needs of them.
type ReadAPI interface {
	ListSnapshotBlocks(context.Context, *sdk.ListSnapshotBlocksInput, ...func(*sdk.Options)) (*sdk.ListSnapshotBlocksOutput, error)
	GetSnapshotBlock(context.Context, *sdk.GetSnapshotBlockInput, ...func(*sdk.Options)) (*sdk.GetSnapshotBlockOutput, error)
}

// DescribeSnapshotsAPI is what Upload needs of EC2: the states of snapshots, and whether the account encrypts all of them.
type DescribeSnapshotsAPI interface {
	DescribeSnapshots(context.Context, *ec2.DescribeSnapshotsInput, ...func(*ec2.Options)) (*ec2.DescribeSnapshotsOutput, error)
	GetEbsEncryptionByDefault(context.Context, *ec2.GetEbsEncryptionByDefaultInput, ...func(*ec2.Options)) (*ec2.GetEbsEncryptionByDefaultOutput, error)
}

// KeysAPI is what Upload needs of KMS where a key is not given by its ARN.
type KeysAPI interface {
	DescribeKey(context.Context, *kms.DescribeKeyInput, ...func(*kms.Options)) (*kms.DescribeKeyOutput, error)
}

// Record keeps what an upload has done. *record.Book is one.
type Record interface {
	Get(key string, v any) (bool, error)
	Put(key string, v any) error
	Delete(key string) error
}

const (
	// maxParallel is how many blocks may be on their way at once: also how many connections are kept.
	maxParallel = 256
	// attempts and backoff are for uploads of hours: about ten minutes of throttling or of no network at all.
	attempts   = 40
	maxBackoff = 20 * time.Second
	// attemptLimit is how long one request may take, so that a connection that has died quietly is given up.
	attemptLimit = 2 * time.Minute
	// writeBuffer is the transport's, for bodies that are as long as blocks.
	writeBuffer = 640 << 10
)

// NewClient is the SDK's client as uploads of many blocks want it: with as many connections as blocks are sent at once, and with tries that outlast throttling and
// short outages of the network. An HTTP client in cfg that is not the SDK's own stays as it is.
func NewClient(cfg aws.Config) *sdk.Client {
	return sdk.NewFromConfig(cfg, func(o *sdk.Options) {
		o.Retryer = retry.NewStandard(func(r *retry.StandardOptions) {
			r.MaxAttempts, r.MaxBackoff = attempts, maxBackoff
			r.RateLimiter = ratelimit.None // a budget for retries would end an upload whose many blocks are throttled together
			r.Retryables = append(r.Retryables, retry.RetryableErrorCode{Codes: map[string]struct{}{"ConcurrentLimitExceededException": {}}})
		})
		own, ok := o.HTTPClient.(*sdkhttp.BuildableClient)
		if ok {
			o.HTTPClient = own.WithTimeout(attemptLimit).WithTransportOptions(func(t *http.Transport) {
				t.MaxIdleConns, t.MaxIdleConnsPerHost = maxParallel, maxParallel
				t.WriteBufferSize = writeBuffer
			})
		}
	})
}
