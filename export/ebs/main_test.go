package ebs

import (
	"context"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdkhttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	sdk "github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	"github.com/ingot-image/ingot/disk/image"
	store "github.com/ingot-image/ingot/export/internal/ec2sim/ebs"
	"github.com/ingot-image/ingot/export/record"
)

// service is a server of the EBS direct APIs, and the part of EC2 that Upload asks.
type service struct {
	*store.Store
	url    string
	client *sdk.Client

	mu         sync.Mutex
	unknown    int // how many looks at snapshots find nothing yet
	looks      int
	byDefault  bool
	defaultErr error
}

func serve(t testing.TB, o store.Options) *service {
	o.Dir = t.TempDir()
	s := &service{}
	o.EncryptionByDefault = func() (bool, string) { return s.byDefault, "" }
	s.Store = store.New(o)
	server := httptest.NewServer(s.Store)
	t.Cleanup(func() {
		server.Close()
		s.Close()
	})
	s.url, s.client = server.URL, clientOf(server.URL)
	return s
}

// clientOf is the client as programs have it.
func clientOf(url string) *sdk.Client {
	return NewClient(aws.Config{Region: "eu-west-1", BaseEndpoint: &url, HTTPClient: sdkhttp.NewBuildableClient(),
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "a", SecretAccessKey: "b"}, nil
		})})
}

func (s *service) DescribeSnapshots(_ context.Context, in *ec2.DescribeSnapshotsInput, _ ...func(*ec2.Options)) (*ec2.DescribeSnapshotsOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looks++
	n, ok := s.Snapshot(in.SnapshotIds[0])
	if !ok || s.unknown > 0 {
		s.unknown--
		return nil, &smithy.GenericAPIError{Code: "InvalidSnapshot.NotFound", Message: "The snapshot does not exist."}
	}
	out := ec2types.Snapshot{SnapshotId: &n.ID, State: ec2types.SnapshotState(n.State), StateMessage: &n.Message, Progress: aws.String("7%"),
		VolumeSize: aws.Int32(int32(n.VolumeSizeGiB)), Encrypted: &n.Encrypted, KmsKeyId: &n.KMSKeyARN}
	return &ec2.DescribeSnapshotsOutput{Snapshots: []ec2types.Snapshot{out}}, nil
}

func (s *service) GetEbsEncryptionByDefault(context.Context, *ec2.GetEbsEncryptionByDefaultInput, ...func(*ec2.Options)) (*ec2.GetEbsEncryptionByDefaultOutput, error) {
	return &ec2.GetEbsEncryptionByDefaultOutput{EbsEncryptionByDefault: &s.byDefault}, s.defaultErr
}

// upload uploads with short waits.
func (s *service) upload(t testing.TB, src image.Source, o Options) *Snapshot {
	t.Helper()
	made, err := s.try(t, src, o)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func (s *service) try(t testing.TB, src image.Source, o Options) (*Snapshot, error) {
	o.Describe, o.Poll = s, time.Millisecond
	if o.Limit == 0 {
		o.Limit = 5 * time.Second
	}
	return Upload(t.Context(), s.client, src, o)
}

// book opens a record that is closed at the end.
func book(t testing.TB, dir string) *record.Book {
	t.Helper()
	b, err := record.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// completed is EC2 to which every snapshot is completed.
type completed struct{ service }

func (*completed) DescribeSnapshots(context.Context, *ec2.DescribeSnapshotsInput, ...func(*ec2.Options)) (*ec2.DescribeSnapshotsOutput, error) {
	return &ec2.DescribeSnapshotsOutput{Snapshots: []ec2types.Snapshot{{State: ec2types.SnapshotStateCompleted}}}, nil
}
