package s3

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"
)

// The limits of a multipart upload (S3 user guide, "Amazon S3 multipart upload limits"). A part but the last has at least 5 MiB.
const (
	DefaultPartSize = 16 << 20
	minPartSize     = 5 << 20
	maxParts        = 10_000
)

// partSize is the size of an object's parts, a multiple of 1 MiB.
func (u Uploader) partSize(size int64) int64 {
	const MiB = 1 << 20
	least := (size + maxParts - 1) / maxParts
	return max(cmp.Or(u.PartSize, DefaultPartSize), minPartSize, (least+MiB-1)/MiB*MiB)
}

// session is a multipart upload as the record keeps it.
type session struct {
	UploadID string `json:"uploadId"`
	Identity string `json:"identity"`
	Size     int64  `json:"size"`
	PartSize int64  `json:"partSize"`
}

func (o Object) recordKey() string { return "s3/" + o.Bucket + "/" + o.Key }

// session finds the object's upload with the parts that the server has of it by number, or begins one.
func (u Uploader) session(ctx context.Context, o Object, size int64, identity string) (session, map[int32]types.Part, error) {
	s, found, err := u.recorded(o)
	if err != nil {
		return s, nil, err
	}
	if found && s.Size == size && s.Identity == identity && identity != "" && s.PartSize >= minPartSize {
		there, err := u.list(ctx, o, s)
		if err == nil || !lost(err) {
			return s, there, err
		}
	} else if found {
		if err := u.Abort(ctx, o); err != nil {
			return s, nil, err
		}
	}
	created, err := u.Client.CreateMultipartUpload(ctx, &sdk.CreateMultipartUploadInput{
		Bucket: &o.Bucket, Key: &o.Key, ExpectedBucketOwner: optional(o.Owner), ContentType: optional(o.ContentType),
		Metadata: metadata(identity), Tagging: tagging(o.Tags), SSEKMSKeyId: optional(o.KMSKeyID), ServerSideEncryption: encryption(o),
		ChecksumAlgorithm: types.ChecksumAlgorithmSha256,
	})
	if err != nil {
		return s, nil, err
	}
	s = session{UploadID: value(created.UploadId), Identity: identity, Size: size, PartSize: u.partSize(size)}
	if u.Record != nil {
		err = u.Record.Put(o.recordKey(), s)
	}
	return s, nil, err
}

func (u Uploader) recorded(o Object) (s session, found bool, err error) {
	if u.Record != nil {
		found, err = u.Record.Get(o.recordKey(), &s)
	}
	return s, found, err
}

func (u Uploader) forget(o Object) error {
	if u.Record == nil {
		return nil
	}
	return u.Record.Delete(o.recordKey())
}

// Abort gives up the unfinished upload of an object that is in the record: the server forgets its parts. No upload, or one that the server
// does not know, is no error.
func (u Uploader) Abort(ctx context.Context, o Object) error {
	s, found, err := u.recorded(o)
	if err != nil || !found {
		return err
	}
	_, err = u.Client.AbortMultipartUpload(ctx, &sdk.AbortMultipartUploadInput{
		Bucket: &o.Bucket, Key: &o.Key, UploadId: &s.UploadID, ExpectedBucketOwner: optional(o.Owner),
	})
	if err != nil && !lost(err) {
		return fmt.Errorf("abort the upload of %s: %w", o, err)
	}
	return u.forget(o)
}

func (u Uploader) list(ctx context.Context, o Object, s session) (map[int32]types.Part, error) {
	there := map[int32]types.Part{}
	pages := sdk.NewListPartsPaginator(u.Client, &sdk.ListPartsInput{
		Bucket: &o.Bucket, Key: &o.Key, UploadId: &s.UploadID, ExpectedBucketOwner: optional(o.Owner),
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, p := range page.Parts {
			there[value(p.PartNumber)] = p
		}
	}
	return there, nil
}

// finished is a part that the server has.
type finished struct {
	part
	etag, checksum *string // as it answered
}

// send sends the parts that the server has not, or not as they are in body.
func (u Uploader) send(ctx context.Context, o Object, s session, there map[int32]types.Part, body io.ReaderAt, p *progress) ([]finished, int, error) {
	parts := make([]finished, (s.Size+s.PartSize-1)/s.PartSize)
	var sent atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(min(cmp.Or(u.Parallel, defaultParallel), maxParallel))
	for i := range parts {
		if ctx.Err() != nil {
			break
		}
		offset := int64(i) * s.PartSize
		parts[i].part = part{number: int32(i + 1), body: body, offset: offset, size: min(s.PartSize, s.Size-offset)}
		group.Go(func() error {
			f := &parts[i]
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err := f.hash(); err != nil {
				return err
			}
			if listed, ok := there[f.number]; ok && f.same(listed) {
				f.etag, f.checksum = listed.ETag, listed.ChecksumSHA256
				p.add(f.size)
				return nil
			}
			sent.Add(1)
			return u.sendPart(ctx, o, s, f, p)
		})
	}
	err := group.Wait()
	return parts, int(sent.Load()), err
}

func (u Uploader) sendPart(ctx context.Context, o Object, s session, f *finished, p *progress) error {
	out, err := u.Client.UploadPart(ctx, &sdk.UploadPartInput{
		Bucket: &o.Bucket, Key: &o.Key, UploadId: &s.UploadID, PartNumber: &f.number, ExpectedBucketOwner: optional(o.Owner),
		Body: p.body(f.part), ContentLength: &f.size, ChecksumSHA256: f.encoded(),
	}, signedWith(f.part))
	if err != nil {
		return err
	}
	f.etag, f.checksum = out.ETag, out.ChecksumSHA256
	return f.confirmed(out.ChecksumSHA256, out.ETag, out.ServerSideEncryption)
}

// complete makes the parts an object.
func (u Uploader) complete(ctx context.Context, o Object, s session, parts []finished) (*Stored, error) {
	list := make([]types.CompletedPart, len(parts))
	digests := sha256.New()
	for i, f := range parts {
		list[i] = types.CompletedPart{PartNumber: aws.Int32(f.number), ETag: f.etag, ChecksumSHA256: f.checksum}
		digests.Write(f.sha256[:])
	}
	out, err := u.Client.CompleteMultipartUpload(ctx, &sdk.CompleteMultipartUploadInput{
		Bucket: &o.Bucket, Key: &o.Key, UploadId: &s.UploadID, ExpectedBucketOwner: optional(o.Owner),
		MultipartUpload: &types.CompletedMultipartUpload{Parts: list},
	})
	if err != nil {
		return nil, err
	}
	// The checksum of an object in parts is that of its parts' digests (user guide, "Checking object integrity", composite checksums).
	want := fmt.Sprintf("%s-%d", base64.StdEncoding.EncodeToString(digests.Sum(nil)), len(parts))
	if got := value(out.ChecksumSHA256); got != "" && got != want {
		return nil, errors.Join(fmt.Errorf("the server has put together something else: its checksum is %s, not %s", got, want), u.discard(ctx, o), u.forget(o))
	}
	return &Stored{Bucket: o.Bucket, Key: o.Key, ETag: value(out.ETag), VersionID: value(out.VersionId), Parts: len(parts)}, nil
}

// partsOf tells how many parts an object has: the ETag of one in parts ends in -N.
func partsOf(etag string) int {
	_, number, _ := strings.Cut(strings.Trim(etag, `"`), "-")
	if n, err := strconv.Atoi(number); err == nil && n > 0 {
		return n
	}
	return 1
}
