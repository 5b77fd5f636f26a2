package vmimport

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/ingot-image/ingot/export/account"
)

// lifecycleDays is how long what is temporary may stay: longer than the longest import, and than a command that is run again.
const lifecycleDays = 7

// bucketSetup plans the bucket.
type bucketSetup struct {
	client                      *s3.Client
	name, region, owner, prefix string
}

func (b *bucketSetup) plan(ctx context.Context) ([]Step, error) {
	s := Step{State: There, What: "bucket " + b.name, Detail: "it is in " + b.region}
	region, err := bucketRegion(ctx, b.client, b.name)
	switch {
	case errors.Is(err, errNoBucket):
		s.State, s.Detail, s.Action, s.apply = Create, "make it in "+b.region, "s3:CreateBucket", b.create
		return []Step{s, b.block(Create), b.encrypt(Create), b.expire(Create, nil)}, nil
	case statusOf(err) == http.StatusForbidden:
		s.State, s.Detail = Wrong, "it is another account's, or the credentials do not allow s3:ListBucket on it; give another name with --bucket"
		return []Step{s}, nil
	case err != nil:
		return nil, err
	case region != b.region:
		s.State, s.Detail = Wrong, fmt.Sprintf("it is in %s, and the bucket must be in %s, where images are imported; give another name with --bucket, or the region with --region", region, b.region)
		return []Step{s}, nil
	}
	if other, err := anothers(ctx, b.client, b.name, b.owner); err != nil {
		return nil, err
	} else if other {
		s.State, s.Detail = Wrong, "it is another account's, which lets this one in; give another name with --bucket"
		return []Step{s}, nil
	}
	steps := []Step{s}
	for _, look := range []func(context.Context) (Step, error){b.lookBlock, b.lookEncryption, b.lookLifecycle} {
		step, err := look(ctx)
		if err != nil {
			return nil, err
		}
		steps = append(steps, step)
	}
	return steps, nil
}

// anothers tells whether a bucket that can be seen belongs to another account: S3 refuses a request that expects the wrong owner.
func anothers(ctx context.Context, client *s3.Client, bucket, owner string) (bool, error) {
	_, err := client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &bucket, ExpectedBucketOwner: &owner})
	if statusOf(err) == http.StatusForbidden {
		return true, nil
	}
	return false, err
}

func (b *bucketSetup) create(ctx context.Context) error {
	in := &s3.CreateBucketInput{Bucket: &b.name}
	if b.region != "us-east-1" { // whose buckets have no constraint (API reference of CreateBucket)
		in.CreateBucketConfiguration = &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraint(b.region)}
	}
	_, err := b.client.CreateBucket(ctx, in)
	if account.Code(err) == "BucketAlreadyOwnedByYou" {
		return nil
	}
	return err
}

func (b *bucketSetup) lookBlock(ctx context.Context) (Step, error) {
	out, err := b.client.GetPublicAccessBlock(ctx, &s3.GetPublicAccessBlockInput{Bucket: &b.name, ExpectedBucketOwner: &b.owner})
	if account.Code(err) == "NoSuchPublicAccessBlockConfiguration" {
		return b.block(Mend), nil
	}
	if err != nil {
		return Step{}, err
	}
	c := out.PublicAccessBlockConfiguration
	for _, on := range []*bool{c.BlockPublicAcls, c.BlockPublicPolicy, c.IgnorePublicAcls, c.RestrictPublicBuckets} {
		if on == nil || !*on {
			return b.block(Mend), nil
		}
	}
	return Step{State: There, What: b.aspect("public access to"), Detail: "it is blocked"}, nil
}

func (b *bucketSetup) aspect(of string) string { return of + " bucket " + b.name }

func (b *bucketSetup) block(state State) Step {
	on := true
	return Step{State: state, What: b.aspect("public access to"), Detail: "block it", Action: "s3:PutBucketPublicAccessBlock", apply: func(ctx context.Context) error {
		_, err := b.client.PutPublicAccessBlock(ctx, &s3.PutPublicAccessBlockInput{Bucket: &b.name, ExpectedBucketOwner: &b.owner, PublicAccessBlockConfiguration: &types.PublicAccessBlockConfiguration{
			BlockPublicAcls: &on, BlockPublicPolicy: &on, IgnorePublicAcls: &on, RestrictPublicBuckets: &on,
		}})
		return err
	}}
}

func (b *bucketSetup) lookEncryption(ctx context.Context) (Step, error) {
	_, err := b.client.GetBucketEncryption(ctx, &s3.GetBucketEncryptionInput{Bucket: &b.name, ExpectedBucketOwner: &b.owner})
	if account.Code(err) == "ServerSideEncryptionConfigurationNotFoundError" {
		return b.encrypt(Mend), nil
	}
	return Step{State: There, What: b.aspect("encryption of"), Detail: "it is on"}, err
}

func (b *bucketSetup) encrypt(state State) Step {
	return Step{State: state, What: b.aspect("encryption of"), Detail: "turn it on, with keys of S3", Action: "s3:PutEncryptionConfiguration", apply: func(ctx context.Context) error {
		_, err := b.client.PutBucketEncryption(ctx, &s3.PutBucketEncryptionInput{Bucket: &b.name, ExpectedBucketOwner: &b.owner, ServerSideEncryptionConfiguration: &types.ServerSideEncryptionConfiguration{
			Rules: []types.ServerSideEncryptionRule{{ApplyServerSideEncryptionByDefault: &types.ServerSideEncryptionByDefault{SSEAlgorithm: types.ServerSideEncryptionAes256}}},
		}})
		return err
	}}
}

func (b *bucketSetup) lookLifecycle(ctx context.Context) (Step, error) {
	rules, err := lifecycleRules(ctx, b.client, b.name)
	if err != nil {
		return Step{}, err
	}
	expires := slices.ContainsFunc(rules, func(r types.LifecycleRule) bool { return applies(r, b.prefix) && r.Expiration != nil })
	aborts := slices.ContainsFunc(rules, func(r types.LifecycleRule) bool {
		return applies(r, b.prefix) && r.AbortIncompleteMultipartUpload != nil
	})
	if expires && aborts {
		return Step{State: There, What: b.aspect("lifecycle of"), Detail: "what is left of imports is deleted"}, nil
	}
	return b.expire(Mend, rules), nil
}

// ruleID is what the lifecycle rule is called.
const ruleID = "ingot-temporary-objects"

// expire puts the rule beside those that are there: S3 takes all of a bucket's rules at once.
func (b *bucketSetup) expire(state State, there []types.LifecycleRule) Step {
	id, days := ruleID, int32(lifecycleDays)
	there = slices.DeleteFunc(slices.Clone(there), func(r types.LifecycleRule) bool { return value(r.ID) == id })
	rules := append(there, types.LifecycleRule{
		ID: &id, Status: types.ExpirationStatusEnabled, Filter: &types.LifecycleRuleFilter{Prefix: &b.prefix},
		Expiration:                     &types.LifecycleExpiration{Days: &days},
		AbortIncompleteMultipartUpload: &types.AbortIncompleteMultipartUpload{DaysAfterInitiation: &days},
	})
	return Step{State: state, What: b.aspect("lifecycle of"), Action: "s3:PutLifecycleConfiguration",
		Detail: fmt.Sprintf("delete objects below %s, and end uploads that were given up there, after %d days", b.prefix, lifecycleDays),
		apply: func(ctx context.Context) error {
			_, err := b.client.PutBucketLifecycleConfiguration(ctx, &s3.PutBucketLifecycleConfigurationInput{Bucket: &b.name, ExpectedBucketOwner: &b.owner,
				LifecycleConfiguration: &types.BucketLifecycleConfiguration{Rules: rules}})
			return err
		}}
}
