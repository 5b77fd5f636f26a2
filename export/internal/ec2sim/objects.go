package ec2sim

import (
	"cmp"
	"context"
	"io"
	"net/url"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// object is where the file to import is.
type object struct{ bucket, key string }

// newObject reads the two ways in which a disk container names its file.
func newObject(container form) (object, error) {
	if bucket := container.sub("UserBucket"); bucket.get("S3Bucket") != "" {
		return object{bucket.get("S3Bucket"), bucket.get("S3Key")}, nil
	}
	u, err := url.Parse(container.get("Url"))
	if err != nil || u.Host == "" {
		return object{}, refuse("InvalidParameter", "Invalid S3 source location")
	}
	path := strings.TrimPrefix(u.Path, "/")
	if u.Scheme == "s3" {
		return object{u.Host, path}, nil
	}
	if bucket, _, found := strings.Cut(u.Host, ".s3."); found {
		return object{bucket, path}, nil
	}
	bucket, key, _ := strings.Cut(path, "/")
	return object{bucket, key}, nil
}

func (s *Server) store(p place) *s3.Client {
	return s3.NewFromConfig(s.behind(p), func(o *s3.Options) { o.UsePathStyle = true })
}

// localBucket demands that a bucket is there, in the region.
func (s *Server) localBucket(p place, bucket string) error {
	location, err := s.store(p).GetBucketLocation(s.ctx, &s3.GetBucketLocationInput{Bucket: &bucket})
	if err != nil {
		return refuse("InvalidParameter", "Invalid S3 source location")
	}
	if region := cmp.Or(string(location.LocationConstraint), "us-east-1"); region != p.region {
		return refuse("InvalidParameter", "The given S3 bucket is not local to the Region")
	}
	return nil
}

// look demands that there is an object with something in it, and tells how long it is and by which key it is encrypted.
func (s *Server) look(p place, o object) (size int64, kmsKey string, err error) {
	head, err := s.store(p).HeadObject(s.ctx, &s3.HeadObjectInput{Bucket: &o.bucket, Key: &o.key})
	if err != nil {
		return 0, "", refuse("InvalidParameter", "Invalid S3 source location")
	}
	if size = aws.ToInt64(head.ContentLength); size == 0 {
		return 0, "", refuse("InvalidParameter", "The given S3 object is not a valid disk image: disk-image-size=0 has an invalid format")
	}
	return size, aws.ToString(head.SSEKMSKeyId), nil
}

// fetch brings an object into a file without a name.
func (s *Server) fetch(ctx context.Context, p place, o object) (*os.File, error) {
	got, err := s.store(p).GetObject(ctx, &s3.GetObjectInput{Bucket: &o.bucket, Key: &o.key})
	if err != nil {
		return nil, refuse("InvalidParameter", "Invalid S3 source location")
	}
	defer got.Body.Close()
	f, err := os.CreateTemp(s.dir, "object-*")
	if err != nil {
		return nil, err
	}
	os.Remove(f.Name())
	if _, err := io.Copy(f, got.Body); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
