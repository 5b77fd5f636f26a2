package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/ingot-image/ingot/export/account"
)

// Record keeps what an upload has done between processes: see package record.
type Record interface {
	Get(key string, v any) (bool, error)
	Put(key string, v any) error
	Delete(key string) error
}

// Uploader uploads objects. The zero value with a Client is ready for use; it may be used by several goroutines for different objects.
type Uploader struct {
	Client API
	Record Record // nil: an upload that breaks off begins anew
	// PartSize is the size of a part in bytes, and up to which an object is put in one piece; 0 for DefaultPartSize. It grows where the object would have
	// more than 10,000 parts.
	PartSize int64
	Parallel int                     // parts at once; 0 for 8, at most 32
	Progress func(done, total int64) // bytes, those of parts that were there already included; one call at a time
}

// Stored is an object that is there, completely.
type Stored struct {
	Bucket, Key     string
	ETag, VersionID string
	// Parts that the object has, 1 for one that was put in one piece, and how many of them this call sent.
	Parts, SentParts int
}

// identityKey is the object's metadata (x-amz-meta-) that tells whose content it has.
const identityKey = "ingot-identity"

const defaultParallel = 8

// Upload brings size bytes of body into a bucket and returns when the server has confirmed all of them. Identity tells one content from another,
// for instance "sha256:" and its digest, in ASCII: when an object with the same size and identity is there, nothing is sent; when an unfinished upload of it is in
// the record, what the server has of it is compared with body by checksum and the rest is sent; when an upload of another content is, that is aborted.
// After an error, the context's included, the parts stay for the next call: [Uploader.Abort] takes them away.
func (u Uploader) Upload(ctx context.Context, o Object, body io.ReaderAt, size int64, identity string) (*Stored, error) {
	stored, err := u.upload(ctx, o, body, size, identity)
	if lost(err) {
		// Aborted by somebody, or completed by a request whose answer was lost: the second try finds out.
		if err = u.forget(o); err == nil {
			stored, err = u.upload(ctx, o, body, size, identity)
		}
	}
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("upload %s: %w", o, account.Explain(err))
	}
	return stored, nil
}

func (u Uploader) upload(ctx context.Context, o Object, body io.ReaderAt, size int64, identity string) (*Stored, error) {
	p := &progress{total: size, tell: u.Progress}
	stored, err := u.present(ctx, o, size, identity)
	if err != nil {
		return nil, err
	}
	if stored != nil {
		p.add(size)
		return stored, u.Abort(ctx, o) // an upload of what is there by now
	}
	if size <= u.partSize(0) {
		return u.put(ctx, o, part{number: 1, body: body, size: size}, identity, p)
	}
	s, there, err := u.session(ctx, o, size, identity)
	if err != nil {
		return nil, err
	}
	parts, sent, err := u.send(ctx, o, s, there, body, p)
	if err != nil {
		return nil, err
	}
	if stored, err = u.complete(ctx, o, s, parts); err != nil {
		return nil, err
	}
	stored.SentParts = sent
	return stored, u.forget(o)
}

// present gives the object that is there, if it is of this content, else nil.
func (u Uploader) present(ctx context.Context, o Object, size int64, identity string) (*Stored, error) {
	head, err := u.Client.HeadObject(ctx, &sdk.HeadObjectInput{Bucket: &o.Bucket, Key: &o.Key, ExpectedBucketOwner: optional(o.Owner)})
	switch status(err) {
	case http.StatusNotFound, http.StatusForbidden: // one may be allowed to write and not to read
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if identity == "" || head.Metadata[identityKey] != identity || value(head.ContentLength) != size {
		return nil, nil
	}
	return &Stored{Bucket: o.Bucket, Key: o.Key, ETag: value(head.ETag), VersionID: value(head.VersionId), Parts: partsOf(value(head.ETag))}, nil
}

// put puts a small object in one piece.
func (u Uploader) put(ctx context.Context, o Object, whole part, identity string, p *progress) (*Stored, error) {
	if err := whole.hash(); err != nil {
		return nil, err
	}
	in := &sdk.PutObjectInput{
		Bucket: &o.Bucket, Key: &o.Key, ExpectedBucketOwner: optional(o.Owner), ContentType: optional(o.ContentType),
		Metadata: metadata(identity), Tagging: tagging(o.Tags), SSEKMSKeyId: optional(o.KMSKeyID), ServerSideEncryption: encryption(o),
		Body: p.body(whole), ContentLength: &whole.size, ChecksumSHA256: whole.encoded(),
	}
	out, err := u.Client.PutObject(ctx, in, signedWith(whole))
	if err != nil {
		return nil, err
	}
	if err := whole.confirmed(out.ChecksumSHA256, out.ETag, out.ServerSideEncryption); err != nil {
		return nil, errors.Join(err, u.discard(ctx, o))
	}
	return &Stored{Bucket: o.Bucket, Key: o.Key, ETag: value(out.ETag), VersionID: value(out.VersionId), Parts: 1, SentParts: 1}, nil
}

// discard takes away what the server has stored wrongly: it says of itself that it is what it should be, and the next run would believe it.
func (u Uploader) discard(ctx context.Context, o Object) error {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer stop()
	return Delete(ctx, u.Client, o)
}

func metadata(identity string) map[string]string {
	if identity == "" {
		return nil
	}
	return map[string]string{identityKey: identity}
}

func tagging(tags map[string]string) *string {
	values := url.Values{}
	for k, v := range tags {
		values.Set(k, v)
	}
	return optional(values.Encode())
}

func encryption(o Object) types.ServerSideEncryption {
	if o.KMSKeyID == "" {
		return ""
	}
	return types.ServerSideEncryptionAwsKms
}

// lost tells whether the server no longer knows an upload.
func lost(err error) bool {
	var gone *types.NoSuchUpload
	return errors.As(err, &gone) || account.Code(err) == "NoSuchUpload"
}

func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
