package s3sim

import (
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

var authorization = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=([^/]+)/\d{8}/([^/]+)/s3/aws4_request, ?SignedHeaders=([^,]+), ?Signature=[0-9a-f]{64}$`)

// authorised checks a request's signature (SigV4), its region and the owner that it expects, and finds its bucket.
func (s *Server) authorised(c *call) *failure {
	given := authorization.FindStringSubmatch(c.Header.Get("Authorization"))
	if given == nil {
		return fail(http.StatusForbidden, "AccessDenied", "Access Denied")
	}
	if given[1] != AccessKey {
		return fail(http.StatusForbidden, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.")
	}
	at, err := time.Parse("20060102T150405Z", c.Header.Get("X-Amz-Date"))
	if err != nil || time.Since(at).Abs() > 15*time.Minute {
		return fail(http.StatusForbidden, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large.")
	}
	if !s.signed(c, at, given[2], strings.Split(given[3], ";")) {
		return fail(http.StatusForbidden, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided.")
	}
	if owner := c.Header.Get("X-Amz-Expected-Bucket-Owner"); owner != "" && owner != Owner {
		return fail(http.StatusForbidden, "AccessDenied", "Access Denied")
	}
	if c.bucket == "" || c.action == "CreateBucket" {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.in = s.buckets[c.bucket]; c.in == nil {
		return fail(http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist")
	}
	if c.in.region != given[2] && c.action != "GetBucketLocation" {
		f := fail(http.StatusMovedPermanently, "PermanentRedirect", "The bucket you are attempting to access must be addressed using the specified endpoint.")
		f.header = [2]string{"X-Amz-Bucket-Region", c.in.region}
		return f
	}
	return nil
}

// signed makes the signature anew from the headers that it covers.
func (s *Server) signed(c *call, at time.Time, region string, headers []string) bool {
	again, err := http.NewRequest(c.Method, "http://"+c.Host+c.RequestURI, nil)
	if err != nil {
		return false
	}
	for _, name := range headers {
		switch name {
		case "host":
		case "content-length":
			again.ContentLength = c.ContentLength
		default:
			again.Header[http.CanonicalHeaderKey(name)] = c.Header.Values(name)
		}
	}
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	err = signer.SignHTTP(c.Context(), aws.Credentials{AccessKeyID: AccessKey, SecretAccessKey: SecretKey}, again, c.Header.Get("X-Amz-Content-Sha256"), "s3", region, at)
	signature := func(h http.Header) string {
		_, sum, _ := strings.Cut(h.Get("Authorization"), "Signature=")
		return sum
	}
	return err == nil && signature(again.Header) == signature(c.Header)
}
