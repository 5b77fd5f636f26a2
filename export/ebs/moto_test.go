package ebs

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdkhttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/ingot-image/ingot/export/internal/moto"
)

// Moto takes checksums and counts at their word, so what it was given is read back.
func TestMoto(t *testing.T) {
	server := moto.Start(t)
	cfg := aws.Config{Region: "eu-west-1", BaseEndpoint: &server.URL, HTTPClient: sdkhttp.NewBuildableClient(), Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")}
	client := NewClient(cfg)
	src := &fake{size: 100*BlockSize - 4096, blocks: map[int64]byte{0: 1, 1: 2, 50: 3, 60: 0, 99: 4}}
	made, err := Upload(t.Context(), client, src, Options{Describe: ec2.NewFromConfig(cfg), Description: "a disk", Tags: map[string]string{"a": "b"}, Poll: 10 * time.Millisecond, Limit: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if made.SentBlocks != 4 || made.VolumeSizeGiB != 1 {
		t.Errorf("made %+v", made)
	}
	opened, err := Open(t.Context(), client, made.ID)
	if err != nil {
		t.Fatal(err)
	}
	same(t, opened, src)
}
