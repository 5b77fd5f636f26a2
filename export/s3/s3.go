// Package s3 brings large files into buckets, Amazon's and those of other makers, and goes on with what an earlier process began: after a
// crash, a cut connection or a day only the parts that are missing are sent.
//
//	client := s3.NewClient(cfg) // endpoint and credentials are the SDK's settings
//	u := s3.Uploader{Client: client, Record: book, Progress: func(done, total int64) { … }}
//	stored, err := u.Upload(ctx, s3.Object{Bucket: "images", Key: "ingot/web.vmdk"}, file, size, "sha256:"+digest)
//	…
//	err = s3.Delete(ctx, client, s3.Object{Bucket: "images", Key: "ingot/web.vmdk"})
//
// A part is hashed once: its SHA-256 is what the request is signed with, the checksum that the server has to confirm, and how a later process finds
// out that the part is already there. Parts are read from the file as they are sent and never held in memory.
package s3

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/ingot-image/ingot/export/account"
	"github.com/ingot-image/ingot/export/internal/stall"
)

// API is what of the SDK's client an upload needs.
type API interface {
	DeleteAPI
	HeadObject(context.Context, *sdk.HeadObjectInput, ...func(*sdk.Options)) (*sdk.HeadObjectOutput, error)
	PutObject(context.Context, *sdk.PutObjectInput, ...func(*sdk.Options)) (*sdk.PutObjectOutput, error)
	CreateMultipartUpload(context.Context, *sdk.CreateMultipartUploadInput, ...func(*sdk.Options)) (*sdk.CreateMultipartUploadOutput, error)
	UploadPart(context.Context, *sdk.UploadPartInput, ...func(*sdk.Options)) (*sdk.UploadPartOutput, error)
	ListParts(context.Context, *sdk.ListPartsInput, ...func(*sdk.Options)) (*sdk.ListPartsOutput, error)
	CompleteMultipartUpload(context.Context, *sdk.CompleteMultipartUploadInput, ...func(*sdk.Options)) (*sdk.CompleteMultipartUploadOutput, error)
	AbortMultipartUpload(context.Context, *sdk.AbortMultipartUploadInput, ...func(*sdk.Options)) (*sdk.AbortMultipartUploadOutput, error)
}

// Object is a place in a bucket, and what becomes of what is put there.
type Object struct {
	Bucket, Key string
	Owner       string // account that must own the bucket, "" for any
	KMSKeyID    string // encrypt with it (SSE-KMS); "" leaves it to the bucket
	Tags        map[string]string
	ContentType string
}

func (o Object) String() string { return "s3://" + o.Bucket + "/" + o.Key }

// What the SDK's settings leave open.
const (
	maxAttempts   = 8               // of a request, unless AWS_MAX_ATTEMPTS says otherwise: an upload of hours must outlast a few bad minutes
	writeBuffer   = 128 << 10       // of a connection
	maxParallel   = 32              // of Uploader.Parallel
	idlePerServer = 2 * maxParallel // connections kept for the next part
)

// NewClient makes the SDK's client for a configuration. Servers other than Amazon's are asked in path style, as they rarely have a host name for every
// bucket. A connection that stands still is given up after a minute, and the request is sent again.
func NewClient(cfg aws.Config) *sdk.Client {
	return sdk.NewFromConfig(cfg, func(o *sdk.Options) {
		o.UsePathStyle = o.BaseEndpoint != nil
		if cfg.RetryMaxAttempts == 0 {
			o.RetryMaxAttempts = maxAttempts
		}
		if client, ok := o.HTTPClient.(*awshttp.BuildableClient); ok {
			o.HTTPClient = client.WithDialerOptions(func(d *net.Dialer) { d.Control = stall.GiveUp }).
				WithTransportOptions(func(t *http.Transport) {
					t.WriteBufferSize, t.MaxIdleConnsPerHost = writeBuffer, idlePerServer
					t.ResponseHeaderTimeout = stall.AnswerLimit
				})
		}
	})
}

// DeleteAPI is what of the SDK's client Delete needs.
type DeleteAPI interface {
	DeleteObject(context.Context, *sdk.DeleteObjectInput, ...func(*sdk.Options)) (*sdk.DeleteObjectOutput, error)
}

// Delete deletes an object. One that is not there is no error.
func Delete(ctx context.Context, client DeleteAPI, o Object) error {
	_, err := client.DeleteObject(ctx, &sdk.DeleteObjectInput{Bucket: &o.Bucket, Key: &o.Key, ExpectedBucketOwner: optional(o.Owner)})
	if err != nil && account.Code(err) != "NoSuchKey" {
		return fmt.Errorf("delete %s: %w", o, account.Explain(err))
	}
	return nil
}

// optional is nil for an empty string, as the SDK wants what is not given.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// status is the HTTP status of an error that is an answer, 0 for others.
func status(err error) int {
	var answer *awshttp.ResponseError
	if errors.As(err, &answer) {
		return answer.HTTPStatusCode()
	}
	return 0
}
