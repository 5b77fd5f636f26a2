package ebs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ebs/types"
	"github.com/aws/smithy-go"

	"github.com/ingot-image/ingot/disk/image"
)

func newServer(t *testing.T, o Options) (*Store, *sdk.Client) {
	o.Dir = t.TempDir()
	s := New(o)
	server := httptest.NewServer(s)
	t.Cleanup(func() {
		server.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, sdk.New(sdk.Options{Region: "eu-west-1", BaseEndpoint: aws.String(server.URL), RetryMaxAttempts: 1,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "a", SecretAccessKey: "b"}, nil
		})})
}

// fill is a block of one letter, and its checksum.
func fill(letter string) ([]byte, string) {
	data := []byte(strings.Repeat(letter, BlockSize))
	sum := sha256.Sum256(data)
	return data, base64.StdEncoding.EncodeToString(sum[:])
}

func start(t *testing.T, c *sdk.Client, in sdk.StartSnapshotInput) string {
	t.Helper()
	if in.VolumeSize == nil {
		in.VolumeSize = aws.Int64(1)
	}
	out, err := c.StartSnapshot(t.Context(), &in)
	if err != nil {
		t.Fatal(err)
	}
	return *out.SnapshotId
}

func putInput(id string, index int32, letter string) *sdk.PutSnapshotBlockInput {
	data, sum := fill(letter)
	return &sdk.PutSnapshotBlockInput{SnapshotId: &id, BlockIndex: &index, BlockData: bytes.NewReader(data), DataLength: aws.Int32(BlockSize),
		Checksum: &sum, ChecksumAlgorithm: types.ChecksumAlgorithmChecksumAlgorithmSha256}
}

func put(t *testing.T, c *sdk.Client, id string, index int32, letter string) {
	t.Helper()
	if _, err := c.PutSnapshotBlock(t.Context(), putInput(id, index, letter)); err != nil {
		t.Fatal(err)
	}
}

func complete(t *testing.T, c *sdk.Client, id string, count int32) {
	t.Helper()
	if _, err := c.CompleteSnapshot(t.Context(), &sdk.CompleteSnapshotInput{SnapshotId: &id, ChangedBlocksCount: &count}); err != nil {
		t.Fatal(err)
	}
}

// code is what the API answers.
func code(err error) string {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return ""
	}
	var v *types.ValidationException
	if errors.As(err, &v) {
		return api.ErrorCode() + " " + string(v.Reason)
	}
	return api.ErrorCode()
}

func TestWriteAndRead(t *testing.T) {
	s, c := newServer(t, Options{PageSize: 2})
	first := start(t, c, sdk.StartSnapshotInput{Description: aws.String("one"), Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}})
	for i, letter := range map[int32]string{0: "a", 3: "b", 2047: "c"} {
		put(t, c, first, i, letter)
	}
	put(t, c, first, 3, "d")
	if got, _ := s.Snapshot(first); got.State != Pending || got.Written != 3 || got.Tags["a"] != "b" || got.Description != "one" {
		t.Errorf("snapshot %+v", got)
	}
	complete(t, c, first, 3)
	second := start(t, c, sdk.StartSnapshotInput{ParentSnapshotId: &first})
	put(t, c, second, 3, "e")
	put(t, c, second, 4, "f")
	complete(t, c, second, 2)
	s.Delete(first)

	var indexes []int32
	var text []byte
	pages := sdk.NewListSnapshotBlocksPaginator(c, &sdk.ListSnapshotBlocksInput{SnapshotId: &second})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range page.Blocks {
			indexes = append(indexes, *b.BlockIndex)
			out, err := c.GetSnapshotBlock(t.Context(), &sdk.GetSnapshotBlockInput{SnapshotId: &second, BlockIndex: b.BlockIndex, BlockToken: b.BlockToken})
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(out.BlockData)
			if sum := sha256.Sum256(data); err != nil || len(data) != BlockSize || *out.Checksum != base64.StdEncoding.EncodeToString(sum[:]) {
				t.Fatalf("block %d: %d bytes, checksum %s, %v", *b.BlockIndex, len(data), *out.Checksum, err)
			}
			text = append(text, data[77])
		}
	}
	if string(text) != "aefc" || len(indexes) != 4 || indexes[3] != 2047 {
		t.Errorf("blocks %v with %q", indexes, text)
	}
	disk, err := s.Bytes(second)
	if err != nil || disk.Size() != 1<<30 {
		t.Fatal(disk, err)
	}
	var held int64
	err = disk.Extents(t.Context(), func(e image.Extent) error { held += e.Size; return nil })
	b := make([]byte, 2*BlockSize)
	if n, readErr := disk.ReadAt(b, 2*BlockSize+BlockSize/2); n != len(b) || b[0] != 0 || b[BlockSize/2] != 'e' || b[len(b)-1] != 'f' || readErr != nil || err != nil || held != 4*BlockSize {
		t.Errorf("%d bytes read, %v, %v; %d held", n, readErr, err, held)
	}
}

func TestChangedBlocks(t *testing.T) {
	s, c := newServer(t, Options{})
	first := start(t, c, sdk.StartSnapshotInput{})
	put(t, c, first, 1, "a")
	put(t, c, first, 2, "b")
	complete(t, c, first, 2)
	second := start(t, c, sdk.StartSnapshotInput{ParentSnapshotId: &first})
	put(t, c, second, 2, "c")
	put(t, c, second, 9, "d")
	complete(t, c, second, 2)
	out, err := c.ListChangedBlocks(t.Context(), &sdk.ListChangedBlocksInput{FirstSnapshotId: &first, SecondSnapshotId: &second})
	if err != nil || len(out.ChangedBlocks) != 2 || *out.ChangedBlocks[0].BlockIndex != 2 || out.ChangedBlocks[0].FirstBlockToken == nil ||
		*out.ChangedBlocks[1].BlockIndex != 9 || out.ChangedBlocks[1].FirstBlockToken != nil || out.ChangedBlocks[1].SecondBlockToken == nil {
		t.Fatalf("%+v, %v", out, err)
	}
	if err := s.Adopt(Snapshot{ID: "snap-1", VolumeSizeGiB: 1}, must(s.Bytes(first))); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ListChangedBlocks(t.Context(), &sdk.ListChangedBlocksInput{FirstSnapshotId: aws.String("snap-1"), SecondSnapshotId: &second}); code(err) != "ValidationException UNRELATED_SNAPSHOTS" {
		t.Error(err)
	}
	adopted := must(s.Bytes("snap-1"))
	b := make([]byte, 1)
	if _, err := adopted.ReadAt(b, 2*BlockSize); err != nil || b[0] != 'b' {
		t.Error(b, err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestRefusals(t *testing.T) {
	on := false
	s, c := newServer(t, Options{EncryptionByDefault: func() (bool, string) { return on, "" }})
	done := start(t, c, sdk.StartSnapshotInput{})
	put(t, c, done, 0, "a")
	complete(t, c, done, 1)
	pending := start(t, c, sdk.StartSnapshotInput{ClientToken: aws.String("token")})
	put(t, c, pending, 0, "a")
	put(t, c, pending, 1, "b")
	if again := start(t, c, sdk.StartSnapshotInput{ClientToken: aws.String("token")}); again != pending {
		t.Errorf("the same token gave %s and %s", pending, again)
	}
	begin := func(in sdk.StartSnapshotInput) func() error {
		return func() error {
			if in.VolumeSize == nil {
				in.VolumeSize = aws.Int64(1)
			}
			_, err := c.StartSnapshot(t.Context(), &in)
			return err
		}
	}
	write := func(id string, index int32, change func(*sdk.PutSnapshotBlockInput)) func() error {
		return func() error {
			in := putInput(id, index, "a")
			change(in)
			_, err := c.PutSnapshotBlock(t.Context(), in)
			return err
		}
	}
	finish := func(id string, count int32, sum, method string) func() error {
		return func() error {
			in := &sdk.CompleteSnapshotInput{SnapshotId: &id, ChangedBlocksCount: &count}
			if sum != "" {
				in.Checksum, in.ChecksumAlgorithm, in.ChecksumAggregationMethod = &sum, "SHA256", types.ChecksumAggregationMethod(method)
			}
			_, err := c.CompleteSnapshot(t.Context(), in)
			return err
		}
	}
	same := func(*sdk.PutSnapshotBlockInput) {}
	_, other := fill("z")
	var linear []byte
	for _, letter := range []string{"a", "b"} {
		_, sum := fill(letter)
		raw, _ := base64.StdEncoding.DecodeString(sum)
		linear = append(linear, raw...)
	}
	sum := sha256.Sum256(linear)
	right := base64.StdEncoding.EncodeToString(sum[:])
	for _, test := range []struct {
		name, want string
		call       func() error
	}{
		{"no size", "ValidationException INVALID_VOLUME_SIZE", begin(sdk.StartSnapshotInput{VolumeSize: aws.Int64(0)})},
		{"over 64 TiB", "ValidationException INVALID_VOLUME_SIZE", begin(sdk.StartSnapshotInput{VolumeSize: aws.Int64(65537)})},
		{"parent with encrypted", "ValidationException INVALID_PARAMETER_VALUE", begin(sdk.StartSnapshotInput{ParentSnapshotId: &done, Encrypted: aws.Bool(true)})},
		{"parent pending", "ValidationException INVALID_SNAPSHOT_ID", begin(sdk.StartSnapshotInput{ParentSnapshotId: &pending})},
		{"parent gone", "ResourceNotFoundException", begin(sdk.StartSnapshotInput{ParentSnapshotId: aws.String("snap-2")})},
		{"key without encrypted", "ValidationException INVALID_PARAMETER_VALUE", begin(sdk.StartSnapshotInput{KmsKeyArn: aws.String("arn:aws:kms:eu-west-1:123456789012:key/k")})},
		{"key is an alias", "ValidationException INVALID_CUSTOMER_KEY", begin(sdk.StartSnapshotInput{Encrypted: aws.Bool(true), KmsKeyArn: aws.String("alias/a")})},
		{"timeout", "ValidationException INVALID_PARAMETER_VALUE", begin(sdk.StartSnapshotInput{Timeout: aws.Int32(9)})},
		{"aws tag", "ValidationException INVALID_TAG", begin(sdk.StartSnapshotInput{Tags: []types.Tag{{Key: aws.String("aws:a"), Value: aws.String("b")}}})},
		{"token of another", "ConflictException", begin(sdk.StartSnapshotInput{ClientToken: aws.String("token"), VolumeSize: aws.Int64(2)})},
		{"put: wrong checksum", "ValidationException INVALID_BLOCK", write(pending, 5, func(in *sdk.PutSnapshotBlockInput) { in.Checksum = &other })},
		{"put: short", "ValidationException INVALID_BLOCK", write(pending, 5, func(in *sdk.PutSnapshotBlockInput) { in.BlockData = strings.NewReader("short") })},
		{"put: other length", "ValidationException INVALID_BLOCK", write(pending, 5, func(in *sdk.PutSnapshotBlockInput) { in.DataLength = aws.Int32(512) })},
		{"put: beyond", "ValidationException INVALID_BLOCK", write(pending, 2048, same)},
		{"put: completed", "ValidationException INVALID_SNAPSHOT_ID", write(done, 1, same)},
		{"put: no snapshot", "ResourceNotFoundException", write("snap-2", 1, same)},
		{"list pending", "ValidationException INVALID_SNAPSHOT_ID", func() error {
			_, err := c.ListSnapshotBlocks(t.Context(), &sdk.ListSnapshotBlocksInput{SnapshotId: &pending})
			return err
		}},
		{"get without its token", "ValidationException INVALID_BLOCK_TOKEN", func() error {
			_, err := c.GetSnapshotBlock(t.Context(), &sdk.GetSnapshotBlockInput{SnapshotId: &done, BlockIndex: aws.Int32(0), BlockToken: aws.String("guess")})
			return err
		}},
		{"complete: one short", "ValidationException INVALID_PARAMETER_VALUE", finish(pending, 1, "", "")},
		{"complete: one over", "ValidationException INVALID_PARAMETER_VALUE", finish(pending, 3, "", "")},
		{"complete: wrong sum", "ValidationException INVALID_PARAMETER_VALUE", finish(pending, 2, other, "LINEAR")},
		{"complete: no method", "ValidationException INVALID_PARAMETER_VALUE", finish(pending, 2, right, "")},
		{"complete", "", finish(pending, 2, right, "LINEAR")},
		{"complete twice", "ValidationException INVALID_SNAPSHOT_ID", finish(pending, 2, right, "LINEAR")},
		{"default encryption with a plain parent", "ValidationException INVALID_PARAMETER_VALUE", func() error {
			on = true
			return begin(sdk.StartSnapshotInput{ParentSnapshotId: &done})()
		}},
		{"default encryption and not encrypted", "ValidationException INVALID_PARAMETER_VALUE", begin(sdk.StartSnapshotInput{Encrypted: aws.Bool(false)})},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := test.call(); code(err) != test.want || (err == nil) != (test.want == "") {
				t.Errorf("got %q, want %q (%v)", code(err), test.want, err)
			}
		})
	}
	encrypted := start(t, c, sdk.StartSnapshotInput{})
	if n, _ := s.Snapshot(encrypted); !n.Encrypted || n.KMSKeyARN == "" {
		t.Errorf("under default encryption: %+v", n)
	}
}

func TestFaults(t *testing.T) {
	s, c := newServer(t, Options{Fault: func(call Call) *Fault {
		switch {
		case call.Action == "PutSnapshotBlock" && call.Nth == 1:
			return &Fault{Status: 400, Code: "ThrottlingException", Message: "slow down"}
		case call.Action == "PutSnapshotBlock" && call.Nth == 2:
			return &Fault{Cut: true, After: true}
		}
		return nil
	}})
	id := start(t, c, sdk.StartSnapshotInput{})
	if _, err := c.PutSnapshotBlock(t.Context(), putInput(id, 1, "a")); code(err) != "ThrottlingException" {
		t.Error(err)
	}
	if n, _ := s.Snapshot(id); n.Written != 0 {
		t.Error("a throttled block was written")
	}
	if _, err := c.PutSnapshotBlock(t.Context(), putInput(id, 1, "a")); err == nil || code(err) != "" {
		t.Error(err)
	}
	if n, _ := s.Snapshot(id); n.Written != 1 || s.Calls("PutSnapshotBlock") != 2 {
		t.Error("a block whose answer was lost was not written")
	}
	s.Fail(id, "because")
	if n, _ := s.Snapshot(id); n.State != Failed || n.Message != "because" {
		t.Errorf("%+v", n)
	}
}

func TestFilesHaveNoNames(t *testing.T) {
	dir := t.TempDir()
	s := New(Options{Dir: dir})
	defer s.Close()
	s.mu.Lock()
	s.snapshots["snap-1"] = &snapshot{Snapshot: Snapshot{ID: "snap-1", State: Pending, VolumeSizeGiB: 1}}
	s.mu.Unlock()
	if _, f := s.writable("snap-1", 0); f != nil {
		t.Fatal(f)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Error(left, err)
	}
}
