package s3sim_test

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/ingot-image/ingot/export/internal/s3sim"
)

// The server refuses what S3 refuses, with S3's codes.
func TestStrict(t *testing.T) {
	digest := func(s string) string { d := sha256.Sum256([]byte(s)); return hex.EncodeToString(d[:]) }
	good := aws.Credentials{AccessKeyID: s3sim.AccessKey, SecretAccessKey: s3sim.SecretKey}
	for _, test := range []struct {
		name, method, path, body, hash string
		header                         map[string]string
		credentials                    aws.Credentials
		want                           string // code, "" for success
	}{
		{name: "sound", method: "PUT", path: "/images/a", body: "abc", hash: digest("abc"), credentials: good},
		{name: "not signed", method: "PUT", path: "/images/a", body: "abc", want: "AccessDenied"},
		{name: "another secret", method: "PUT", path: "/images/a", body: "abc", hash: digest("abc"), credentials: aws.Credentials{AccessKeyID: s3sim.AccessKey, SecretAccessKey: "x"}, want: "SignatureDoesNotMatch"},
		{name: "another key", method: "PUT", path: "/images/a", body: "abc", hash: digest("abc"), credentials: aws.Credentials{AccessKeyID: "x", SecretAccessKey: "x"}, want: "InvalidAccessKeyId"},
		{name: "another body", method: "PUT", path: "/images/a", body: "abd", hash: digest("abc"), credentials: good, want: "XAmzContentSHA256Mismatch"},
		{name: "unsigned payload over http", method: "PUT", path: "/images/a", body: "abc", hash: "UNSIGNED-PAYLOAD", credentials: good, want: "InvalidRequest"},
		{name: "wrong MD5", method: "PUT", path: "/images/a", body: "abc", hash: digest("abc"), header: map[string]string{"Content-Md5": "AAAAAAAAAAAAAAAAAAAAAA=="}, credentials: good, want: "BadDigest"},
		{name: "wrong checksum", method: "PUT", path: "/images/a", body: "abc", hash: digest("abc"), header: map[string]string{"X-Amz-Checksum-Crc32": "AAAAAA=="}, credentials: good, want: "BadDigest"},
		{name: "no bucket", method: "PUT", path: "/other/a", body: "abc", hash: digest("abc"), credentials: good, want: "NoSuchBucket"},
		{name: "another owner", method: "PUT", path: "/images/a", body: "abc", hash: digest("abc"), header: map[string]string{"X-Amz-Expected-Bucket-Owner": "1"}, credentials: good, want: "AccessDenied"},
		{name: "no upload", method: "PUT", path: "/images/a?partNumber=1&uploadId=x", body: "abc", hash: digest("abc"), credentials: good, want: "NoSuchUpload"},
		{name: "part 0", method: "PUT", path: "/images/a?partNumber=0&uploadId=x", body: "abc", hash: digest("abc"), credentials: good, want: "InvalidArgument"},
		{name: "no object", method: "GET", path: "/images/none", hash: digest(""), credentials: good, want: "NoSuchKey"},
		{name: "not implemented", method: "POST", path: "/images/a?restore", hash: digest(""), credentials: good, want: "NotImplemented"},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := s3sim.Start(t)
			server.CreateBucket("images")
			r, err := http.NewRequestWithContext(t.Context(), test.method, server.URL+test.path, strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			for name, value := range test.header {
				r.Header.Set(name, value)
			}
			if test.hash != "" {
				r.Header.Set("X-Amz-Content-Sha256", test.hash)
				if err := v4.NewSigner().SignHTTP(t.Context(), test.credentials, r, test.hash, "s3", s3sim.Region, time.Now()); err != nil {
					t.Fatal(err)
				}
			}
			answer, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			body, err := io.ReadAll(answer.Body)
			if err != nil {
				t.Fatal(err)
			}
			if test.want == "" && answer.StatusCode != http.StatusOK || test.want != "" && !strings.Contains(string(body), "<Code>"+test.want+"</Code>") {
				t.Errorf("%s %s, want %q", answer.Status, body, test.want)
			}
		})
	}
}
