package vmimport

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	sdkhttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/ingot-image/ingot/export/account"
	"github.com/ingot-image/ingot/export/preflight"
	exports3 "github.com/ingot-image/ingot/export/s3"
)

// bucket is G02.
func (e *examination) bucket(ctx context.Context) {
	f := about("G02", "the bucket is there, in the region, and can be written to; keys can be used")
	e.encryptionKeys(ctx, f)
	if !e.throughS3(f) {
		return
	}
	client := exports3.NewClient(e.cfg)
	where := "s3://" + e.Bucket
	region, err := bucketRegion(ctx, client, e.Bucket)
	switch {
	case errors.Is(err, errNoBucket):
		e.add(failed(f, preflight.Fatal, where, "there is no such bucket", "Invalid S3 source location", fmt.Sprintf("make it: ingot aws setup --bucket %s", e.Bucket)))
		return
	case statusOf(err) == http.StatusForbidden:
		e.add(failed(f, preflight.Fatal, where, "the bucket is another account's, or the credentials do not allow s3:ListBucket on it", "Invalid S3 source location",
			"name another bucket, or have s3:ListBucket and s3:GetBucketLocation allowed"))
		return
	case err != nil:
		e.add(unknownFor(f, preflight.Fatal, where, err, ""))
		return
	case region != e.Region:
		e.add(failed(f, preflight.Fatal, where, fmt.Sprintf("the bucket is in %s, and the import in %s", region, e.Region), "The given S3 bucket is not local to the Region",
			fmt.Sprintf("name a bucket in %s, or import into %s", e.Region, region)))
		return
	}
	if other, err := anothers(ctx, client, e.Bucket, e.accountID); err == nil && other {
		e.add(failed(f, preflight.Warning, where, "the bucket is another account's, who may read and change what is imported", "",
			fmt.Sprintf("use one of account %s; else that bucket's own policy must let you write and the role %s read", e.accountID, e.RoleName)))
	}
	e.writable(ctx, client, f)
	e.leftovers(ctx, client, f)
	if encryption, err := client.GetBucketEncryption(ctx, &s3.GetBucketEncryptionInput{Bucket: &e.Bucket}); err == nil && encryption.ServerSideEncryptionConfiguration != nil {
		for _, rule := range encryption.ServerSideEncryptionConfiguration.Rules {
			if d := rule.ApplyServerSideEncryptionByDefault; d != nil && value(d.KMSMasterKeyID) != "" {
				if k := e.key(ctx, f, e.Region, *d.KMSMasterKeyID); k != nil && !slices.ContainsFunc(e.keys, func(o *kmsKey) bool { return o.arn == k.arn }) {
					e.keys = append(e.keys, k)
				}
			}
		}
	}
	e.concluded(f, preflight.Fatal, fmt.Sprintf("%s in %s", where, region))
}

var errNoBucket = errors.New("there is no such bucket")

// bucketRegion asks where a bucket is, which is told also by the answer of another region.
func bucketRegion(ctx context.Context, client *s3.Client, bucket string) (string, error) {
	head, err := client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &bucket})
	var response *sdkhttp.ResponseError
	switch {
	case err == nil && value(head.BucketRegion) != "":
		return *head.BucketRegion, nil
	case err == nil:
		location, err := client.GetBucketLocation(ctx, &s3.GetBucketLocationInput{Bucket: &bucket})
		if err != nil {
			return "", err
		}
		switch location.LocationConstraint { // API reference of GetBucketLocation
		case "":
			return "us-east-1", nil
		case "EU":
			return "eu-west-1", nil
		}
		return string(location.LocationConstraint), nil
	case statusOf(err) == http.StatusNotFound:
		return "", errNoBucket
	case statusOf(err) == http.StatusMovedPermanently && errors.As(err, &response) && response.Response.Header.Get("X-Amz-Bucket-Region") != "":
		return response.Response.Header.Get("X-Amz-Bucket-Region"), nil
	}
	return "", err
}

func statusOf(err error) int {
	var response *sdkhttp.ResponseError
	if errors.As(err, &response) {
		return response.HTTPStatusCode()
	}
	return 0
}

// writable tells by a small object, or else by a simulation of the caller's policies, whether the bucket can be written to.
func (e *examination) writable(ctx context.Context, client *s3.Client, f preflight.Finding) {
	const fix = "have s3:PutObject, s3:GetObject and s3:DeleteObject on the bucket's objects allowed (see docs/aws-setup.md)"
	where := fmt.Sprintf("s3://%s/%s", e.Bucket, e.Prefix)
	if e.TryWrite {
		key := e.Prefix + "doctor-" + rand.Text()
		_, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: &e.Bucket, Key: &key, Body: strings.NewReader("")})
		if err == nil {
			_, err = client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &e.Bucket, Key: &key})
		}
		if err != nil {
			e.add(failed(f, preflight.Fatal, where, account.Explain(err).Error(), "AccessDenied", fix))
		}
		return
	}
	arn := fmt.Sprintf("arn:%s:s3:::%s/%sdisk", e.partition, e.Bucket, e.Prefix)
	l, err := simulate(ctx, iam.NewFromConfig(e.cfg), e.callerARN, []want{{[]string{"s3:PutObject", "s3:GetObject", "s3:DeleteObject"}, []string{arn}}}, e.context(e.callerARN))
	switch {
	case err != nil:
		f.Status, f.Level, f.Where, f.Reason = preflight.Unknown, preflight.Fatal, where, "cannot check without writing: the credentials' policies cannot be simulated"
		f.Fix = "allow a small object to be written and deleted: ingot doctor --aws --try-write"
		e.add(f)
	case len(l.missing) > 0:
		e.add(failed(f, preflight.Fatal, where, "the credentials do not allow "+listed(l.missing), "AccessDenied", fix))
	case len(l.conditional) > 0:
		f.Status, f.Level, f.Where, f.Reason = preflight.Unknown, preflight.Fatal, where, "cannot check without writing: "+l.uncertain()
		f.Fix = "allow a small object to be written and deleted: ingot doctor --aws --try-write"
		e.add(f)
	}
}

// leftovers warns where what is left of uploads would stay and cost.
func (e *examination) leftovers(ctx context.Context, client *s3.Client, f preflight.Finding) {
	where := "s3://" + e.Bucket
	rules, err := lifecycleRules(ctx, client, e.Bucket)
	if err != nil {
		return // a hint only
	}
	if !slices.ContainsFunc(rules, func(r s3types.LifecycleRule) bool {
		return applies(r, e.Prefix) && r.AbortIncompleteMultipartUpload != nil
	}) {
		e.add(failed(f, preflight.Warning, where, "no lifecycle rule ends uploads that were given up, whose parts cost until then", "", fmt.Sprintf("add one: ingot aws setup --bucket %s", e.Bucket)))
	}
	versioning, err := client.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: &e.Bucket})
	if err == nil && versioning.Status == s3types.BucketVersioningStatusEnabled &&
		!slices.ContainsFunc(rules, func(r s3types.LifecycleRule) bool {
			return applies(r, e.Prefix) && r.NoncurrentVersionExpiration != nil
		}) {
		e.add(failed(f, preflight.Warning, where, "the bucket keeps versions: temporary files that are deleted stay as such, and cost", "",
			"add a lifecycle rule with NoncurrentVersionExpiration for "+e.Prefix+", or use a bucket without versions"))
	}
}

// lifecycleRules are those of a bucket, none if it has no configuration of them.
func lifecycleRules(ctx context.Context, client *s3.Client, bucket string) ([]s3types.LifecycleRule, error) {
	out, err := client.GetBucketLifecycleConfiguration(ctx, &s3.GetBucketLifecycleConfigurationInput{Bucket: &bucket})
	if account.Code(err) == "NoSuchLifecycleConfiguration" {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return out.Rules, nil
}

// applies tells whether a rule is in force for all objects below a prefix.
func applies(r s3types.LifecycleRule, prefix string) bool {
	if r.Status != s3types.ExpirationStatusEnabled {
		return false
	}
	of := value(r.Prefix)
	if r.Filter != nil {
		if r.Filter.And != nil || r.Filter.Tag != nil || r.Filter.ObjectSizeGreaterThan != nil || r.Filter.ObjectSizeLessThan != nil {
			return false
		}
		of = value(r.Filter.Prefix)
	}
	return strings.HasPrefix(prefix, of)
}
