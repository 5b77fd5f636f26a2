package aws

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	sdkhttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/ingot-image/ingot/builder/component"
)

// bucketStore is S3 by the SDK.
type bucketStore struct {
	account *account

	mu      sync.Mutex
	clients map[string]*s3.Client // by region
	regions map[string]string     // of buckets, where it is not the account's
}

// client returns the client for a bucket.
func (b *bucketStore) client(ctx context.Context, bucket string) (*s3.Client, error) {
	c, err := b.account.config(ctx)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	region := cmp.Or(b.regions[bucket], c.Region)
	client, made := b.clients[region]
	if !made {
		client = s3.NewFromConfig(c, func(o *s3.Options) {
			o.Region = region
			// Other servers than Amazon's rarely have a host name for every bucket.
			o.UsePathStyle = o.BaseEndpoint != nil
		})
		if b.clients == nil {
			b.clients, b.regions = map[string]*s3.Client{}, map[string]string{}
		}
		b.clients[region] = client
	}
	return client, nil
}

// moved tells whether the answer was that the bucket is in another region, and remembers which.
func (b *bucketStore) moved(bucket string, err error) bool {
	var response *sdkhttp.ResponseError
	if !errors.As(err, &response) || response.HTTPStatusCode() != http.StatusMovedPermanently {
		return false
	}
	region := response.Response.Header.Get("X-Amz-Bucket-Region")
	b.mu.Lock()
	defer b.mu.Unlock()
	if region == "" || b.regions[bucket] == region {
		return false
	}
	b.regions[bucket] = region
	return true
}

func (b *bucketStore) List(ctx context.Context, prefix component.S3Place, limit int) ([]component.S3Object, error) {
	objects, err := b.list(ctx, prefix, limit)
	if b.moved(prefix.Bucket, err) {
		objects, err = b.list(ctx, prefix, limit)
	}
	if err != nil {
		return nil, fmt.Errorf("list s3://%s/%s: %w", prefix.Bucket, prefix.Key, explain(err))
	}
	return objects, nil
}

func (b *bucketStore) list(ctx context.Context, prefix component.S3Place, limit int) ([]component.S3Object, error) {
	client, err := b.client(ctx, prefix.Bucket)
	if err != nil {
		return nil, err
	}
	objects := []component.S3Object{}
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{
		Bucket: &prefix.Bucket, Prefix: &prefix.Key, ExpectedBucketOwner: owner(prefix),
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, o := range page.Contents {
			objects = append(objects, component.S3Object{Key: sdk.ToString(o.Key), Size: sdk.ToInt64(o.Size)})
		}
		if len(objects) > limit {
			return nil, tooMany(limit)
		}
	}
	return objects, nil
}

func tooMany(limit int) error { return fmt.Errorf("there are more than %d objects", limit) }

// Get fetches an object. A connection that breaks off half way is taken up again where it was.
func (b *bucketStore) Get(ctx context.Context, place component.S3Place, w io.Writer) error {
	if err := b.get(ctx, place, w); err != nil {
		return fmt.Errorf("get s3://%s/%s: %w", place.Bucket, place.Key, explain(err))
	}
	return nil
}

// maxResumes is how often a download that broke off is taken up again.
const maxResumes = 4

func (b *bucketStore) get(ctx context.Context, place component.S3Place, w io.Writer) error {
	in := &s3.GetObjectInput{Bucket: &place.Bucket, Key: &place.Key, ExpectedBucketOwner: owner(place)}
	var done int64
	for resumes := 0; ; {
		client, err := b.client(ctx, place.Bucket)
		if err != nil {
			return err
		}
		object, err := client.GetObject(ctx, in)
		if b.moved(place.Bucket, err) {
			continue
		}
		if err != nil {
			return err
		}
		target := &target{w: w}
		n, err := io.Copy(target, object.Body)
		object.Body.Close()
		done += n
		if err == nil || target.err != nil || ctx.Err() != nil || resumes == maxResumes || object.ETag == nil {
			return err
		}
		resumes++
		in.IfMatch = object.ETag // the rest must be of the same object
		in.Range = sdk.String(fmt.Sprintf("bytes=%d-", done))
	}
}

// target keeps the error of the writer apart from that of the connection.
type target struct {
	w   io.Writer
	err error
}

func (t *target) Write(p []byte) (int, error) {
	n, err := t.w.Write(p)
	t.err = err
	return n, err
}

// The parts of a large upload: S3 takes at most 10,000 of them, each of at least 5 MiB (user guide, "Multipart upload limits").
const (
	partSize  = 8 << 20
	partCount = 10_000

	uploadsAtOnce = 4
)

func (b *bucketStore) Put(ctx context.Context, place component.S3Place, r io.Reader, size int64) error {
	if err := b.put(ctx, place, r, size); err != nil {
		return fmt.Errorf("put s3://%s/%s: %w", place.Bucket, place.Key, explain(err))
	}
	return nil
}

func (b *bucketStore) put(ctx context.Context, place component.S3Place, r io.Reader, size int64) error {
	client, err := b.client(ctx, place.Bucket)
	if err != nil {
		return err
	}
	// The body is read only once: where the bucket is must be known before. Any other answer is the upload's to give.
	_, err = client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &place.Bucket, ExpectedBucketOwner: owner(place)})
	if b.moved(place.Bucket, err) {
		if client, err = b.client(ctx, place.Bucket); err != nil {
			return err
		}
	}
	uploads := transfermanager.New(client, func(o *transfermanager.Options) {
		o.Concurrency = uploadsAtOnce
		o.PartSizeBytes = max(partSize, (size+partCount-1)/partCount)
		o.MultipartUploadThreshold = 2 * o.PartSizeBytes
	})
	_, err = uploads.UploadObject(ctx, &transfermanager.UploadObjectInput{
		Bucket: &place.Bucket, Key: &place.Key, Body: &exactly{r: r, left: size}, ExpectedBucketOwner: owner(place),
	})
	return err
}

func owner(place component.S3Place) *string {
	if place.ExpectedBucketOwner == "" {
		return nil
	}
	return &place.ExpectedBucketOwner
}

// exactly reads a number of bytes. Fewer are an error, so that a source that ends early never becomes an object.
type exactly struct {
	r    io.Reader
	left int64
}

func (e *exactly) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n, err := e.r.Read(p[:min(int64(len(p)), e.left)])
	e.left -= int64(n)
	if err == io.EOF && e.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	if err == io.EOF {
		err = nil
	}
	return n, err
}
