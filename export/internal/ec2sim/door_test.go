package ec2sim

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
)

// s3Client is a client of S3 that addresses buckets by path.
func s3Client(c aws.Config) *s3.Client {
	return s3.NewFromConfig(c, func(o *s3.Options) { o.UsePathStyle = true })
}

func newBucket(t *testing.T, client *s3.Client, name, region string) {
	t.Helper()
	if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &name,
		CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraint(region)}}); err != nil {
		t.Fatal(err)
	}
}

func putObject(t *testing.T, client *s3.Client, bucket, key string, body []byte) {
	t.Helper()
	if _, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(body)}); err != nil {
		t.Fatal(err)
	}
}

// code is AWS's code of an error.
func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

func TestRequestsReachTheirServiceAndAreLogged(t *testing.T) {
	s := Start(t, Options{})
	client := s3Client(s.Config(t, Region))
	newBucket(t, client, "images", Region)
	putObject(t, client, "images", "disk.raw", []byte("eight by"))
	got, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("images"), Key: aws.String("disk.raw")})
	if err != nil {
		t.Fatal(err)
	}
	if data, err := io.ReadAll(got.Body); err != nil || string(data) != "eight by" {
		t.Fatalf("read %q, %v", data, err)
	}
	var names []string
	for _, r := range s.Requests() {
		names = append(names, r.Service+":"+r.Action)
		if r.Region != Region || r.Account != Account || r.Status != http.StatusOK {
			t.Errorf("logged %+v", r)
		}
	}
	if got := strings.Join(names, " "); got != "s3:CreateBucket s3:PutObject s3:GetObject" {
		t.Errorf("logged %s", got)
	}
	if put := s.Requests()[1]; put.Bytes < 8 {
		t.Errorf("%d bytes of the object are logged", put.Bytes)
	}
}

func TestRolesReachOtherAccounts(t *testing.T) {
	s := Start(t, Options{})
	const other = "210987654321"
	mine := sts.NewFromConfig(s.Config(t, Region))
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::` + Account + `:root"},"Action":"sts:AssumeRole"}]}`
	if _, err := iam.NewFromConfig(s.AccountConfig(t, Region, other)).CreateRole(t.Context(), &iam.CreateRoleInput{
		RoleName: aws.String("Distribution"), AssumeRolePolicyDocument: &trust}); err != nil {
		t.Fatal(err)
	}
	assumed, err := mine.AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::" + other + ":role/Distribution"), RoleSessionName: aws.String("test")})
	if err != nil {
		t.Fatal(err)
	}
	there := s.Config(t, Region)
	there.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: *assumed.Credentials.AccessKeyId, SecretAccessKey: *assumed.Credentials.SecretAccessKey, SessionToken: *assumed.Credentials.SessionToken}, nil
	})
	for want, config := range map[string]aws.Config{Account: s.Config(t, Region), other: there} {
		who, err := sts.NewFromConfig(config).GetCallerIdentity(t.Context(), nil)
		if err != nil || *who.Account != want {
			t.Errorf("account %v, %v; want %s", who, err, want)
		}
	}
}

func TestUnknownCredentialsAreRefused(t *testing.T) {
	s := Start(t, Options{})
	config := s.Config(t, Region)
	config.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: "AKIANOBODY", SecretAccessKey: "x"}, nil
	})
	if _, err := sts.NewFromConfig(config).GetCallerIdentity(t.Context(), nil); code(err) != "InvalidClientTokenId" {
		t.Errorf("STS: %v", err)
	}
	if _, err := ec2.NewFromConfig(config).DescribeRegions(t.Context(), nil); code(err) != "AuthFailure" {
		t.Errorf("EC2: %v", err)
	}
}

func TestFaults(t *testing.T) {
	s := Start(t, Options{})
	once := s.Config(t, Region)
	once.Retryer = func() aws.Retryer { return aws.NopRetryer{} }
	compute, store := ec2.NewFromConfig(once), s3Client(once)
	newBucket(t, store, "images", Region)
	describe := func() error {
		_, err := compute.DescribeRegions(t.Context(), nil)
		return err
	}

	s.Faults.Add(After(1, Times(2, Throttle("ec2", "DescribeRegions"))))
	for i, want := range []string{"", "RequestLimitExceeded", "RequestLimitExceeded", ""} {
		if err := describe(); code(err) != want || (want == "") != (err == nil) {
			t.Errorf("request %d: %v, want %q", i, err, want)
		}
	}
	s.Faults.Add(Broken("ec2", ""))
	if err := describe(); code(err) != "InternalError" {
		t.Errorf("broken: %v", err)
	}
	s.Faults.Add(Slow("ec2", "DescribeRegions", 50*time.Millisecond))
	if start := time.Now(); describe() != nil || time.Since(start) < 50*time.Millisecond {
		t.Error("not slow")
	}

	put := func() error {
		_, err := store.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("images"), Key: aws.String("k"), Body: bytes.NewReader(make([]byte, 1<<20))})
		return err
	}
	there := func() bool {
		_, err := store.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String("images"), Key: aws.String("k")})
		return err == nil
	}
	s.Faults.Add(Cut("s3", "PutObject", 1000))
	if err := put(); err == nil || code(err) != "" || there() {
		t.Errorf("cut: %v, object there: %v", err, there())
	}
	s.Faults.Add(Lost("s3", "PutObject"))
	if err := put(); err == nil || code(err) != "" || !there() {
		t.Errorf("lost: %v, object there: %v", err, there())
	}
	s.Faults.Add(Times(-1, Throttle("s3", "PutObject")))
	for range 3 {
		if err := put(); code(err) != "SlowDown" {
			t.Errorf("throttled: %v", err)
		}
	}
	s.Faults.Clear()
	if err := put(); err != nil {
		t.Error(err)
	}
}
