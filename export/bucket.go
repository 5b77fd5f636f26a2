package export

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"

	"github.com/ingot-image/ingot/export/account"
	"github.com/ingot-image/ingot/export/distribution"
	"github.com/ingot-image/ingot/export/s3"
)

// anyRegion is what servers that have no regions are asked in: it is what the SDKs of all of them take for the default.
const anyRegion = "us-east-1"

// bucket is a bucket of any maker.
type bucket struct {
	distribution.S3
	uploader s3.Uploader
}

func newBucket(ctx context.Context, c distribution.S3, o PlaceOptions) (*bucket, error) {
	options := account.Options{Region: c.Region, Profile: c.Profile}
	cfg, err := account.Load(ctx, options)
	if errors.Is(err, account.ErrNoRegion) && c.Endpoint != "" {
		options.Region = anyRegion
		cfg, err = account.Load(ctx, options)
	}
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", c.Bucket, err)
	}
	if c.Endpoint != "" {
		cfg.BaseEndpoint = &c.Endpoint
	}
	b := &bucket{S3: c, uploader: s3.Uploader{Client: s3.NewClient(cfg)}}
	if o.Record != nil {
		b.uploader.Record = ofEndpoint{o.Record, cmp.Or(c.Endpoint, "aws/"+cfg.Region)}
	}
	return b, nil
}

// ofEndpoint keeps buckets of the same name with different makers apart in a record.
type ofEndpoint struct {
	Record
	endpoint string
}

func (r ofEndpoint) Get(key string, v any) (bool, error) { return r.Record.Get(key+"@"+r.endpoint, v) }
func (r ofEndpoint) Put(key string, v any) error         { return r.Record.Put(key+"@"+r.endpoint, v) }
func (r ofEndpoint) Delete(key string) error             { return r.Record.Delete(key + "@" + r.endpoint) }

// Deliver uploads what is not there with the same digest.
func (b *bucket) Deliver(ctx context.Context, d Delivery, progress func(done, total int64)) (*Delivered, error) {
	items, err := d.items()
	if err != nil {
		return nil, err
	}
	return deliver(ctx, items, progress, func(ctx context.Context, i item, progress func(int64)) (at string, sent bool, err error) {
		in, err := i.open()
		if err != nil {
			return "", false, err
		}
		defer in.Close()
		o := s3.Object{Bucket: b.Bucket, Key: path.Join(b.Prefix, i.Name)}
		u := b.uploader
		u.Progress = func(done, _ int64) { progress(done) }
		stored, err := u.Upload(ctx, o, in, i.Size, "sha256:"+i.SHA256)
		return o.String(), err == nil && stored.SentParts > 0, err
	})
}
