// Package s3sim is an S3 server for tests and benchmarks, small and strict: it verifies signatures, payload hashes, Content-MD5 and x-amz-checksum-*, the sizes,
// order, ETags and checksums of parts, and answers with S3's codes. Buckets are addressed in path style. It counts requests by action, and breaks down where a
// test's script says so.
//
//	server := s3sim.Start(t)
//	server.Setenv(t)
//	server.CreateBucket("images")
//	server.Break(s3sim.Fault{Action: "UploadPart", Nth: 3, CutAfter: 1 << 20})
//	…
//	if n := server.Count("UploadPart"); n != 5 { … }
//
// Data is in sparse temporary files. Signed chunks and trailing checksums (aws-chunked) are answered with NotImplemented.
package s3sim

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// The one account that the server knows.
const (
	AccessKey = "AKIAS3SIM"
	SecretKey = "s3sim-secret"
	Owner     = "123456789012"
	Region    = "eu-west-1"
)

// Server is an S3 server.
type Server struct {
	URL string
	dir string // of the data

	mu       sync.Mutex
	buckets  map[string]*bucket
	uploads  map[string]*upload
	ids      int
	faults   []*Fault
	mended   chan struct{} // closed by Mend
	requests []Request
}

// Request is a request that was answered, or cut off.
type Request struct {
	Action, Bucket, Key string
	Part                int   // of UploadPart
	Bytes               int64 // of the body that arrived
	Status              int   // 0: the connection was cut
}

type bucket struct {
	region  string
	objects map[string]*object
}

// Start starts a server that lives as long as the test.
func Start(tb testing.TB) *Server {
	s := &Server{dir: tb.TempDir(), buckets: map[string]*bucket{}, uploads: map[string]*upload{}, mended: make(chan struct{})}
	web := httptest.NewServer(s)
	tb.Cleanup(func() { s.Mend(); web.Close() })
	s.URL = web.URL
	return s
}

// Environ is what of the environment leads the SDK and the aws command line to the server.
func (s *Server) Environ() []string {
	return []string{
		"AWS_ENDPOINT_URL=" + s.URL, "AWS_REGION=" + Region, "AWS_DEFAULT_REGION=" + Region, "AWS_ACCESS_KEY_ID=" + AccessKey, "AWS_SECRET_ACCESS_KEY=" + SecretKey,
		"AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_EC2_METADATA_DISABLED=true", "AWS_SESSION_TOKEN=",
	}
}

// Setenv sets Environ for a test.
func (s *Server) Setenv(tb testing.TB) {
	for _, v := range s.Environ() {
		name, value, _ := strings.Cut(v, "=")
		tb.Setenv(name, value)
	}
	tb.Setenv("AWS_PROFILE", "") // it is back after the test
	os.Unsetenv("AWS_PROFILE")   // an empty one is the name of a profile for the aws command line
}

// Config leads the SDK to the server without the environment, for tests that run beside each other.
func (s *Server) Config() aws.Config {
	return aws.Config{
		BaseEndpoint: &s.URL, Region: Region,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: AccessKey, SecretAccessKey: SecretKey}, nil
		}),
	}
}

// CreateBucket makes a bucket.
func (s *Server) CreateBucket(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buckets[name] = &bucket{region: Region, objects: map[string]*object{}}
}

// Requests gives all requests so far, and Forget forgets them.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.requests...)
}

// Forget forgets the requests so far.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = nil
}

// Count counts the requests of an action that were answered with success.
func (s *Server) Count(action string) (n int) {
	for _, r := range s.Requests() {
		if r.Action == action && r.Status/100 == 2 {
			n++
		}
	}
	return n
}

// Object gives an object's content, nil if it is not there.
func (s *Server) Object(bucketName, key string) *io.SectionReader {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.buckets[bucketName]; b != nil && b.objects[key] != nil {
		return io.NewSectionReader(b.objects[key].content, 0, b.objects[key].content.size())
	}
	return nil
}

// Metadata gives what was said of an object when it was put: x-amz-meta-, x-amz-tagging, Content-Type and encryption.
func (s *Server) Metadata(bucketName, key string) http.Header {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.buckets[bucketName]; b != nil && b.objects[key] != nil {
		return b.objects[key].header
	}
	return nil
}

// Corrupt changes a byte of a part that was uploaded and whose upload is not finished, as a bad disk of the server's would.
func (s *Server) Corrupt(key string, part int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.uploads {
		if p, ok := u.parts[part]; ok && u.key == key {
			p.etag, p.checksum = `"00000000000000000000000000000000"`, "AAAA"
			u.parts[part] = p
		}
	}
}

// Uploads counts the multipart uploads that are neither completed nor aborted.
func (s *Server) Uploads() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.uploads)
}

// failure is an answer that is an error.
type failure struct {
	status        int
	code, message string
	header        [2]string
}

func fail(status int, code, format string, args ...any) *failure {
	return &failure{status: status, code: code, message: fmt.Sprintf(format, args...)}
}

// call is a request at work.
type call struct {
	*http.Request
	w                   *statusWriter
	action, bucket, key string
	in                  *bucket
	part                int
	body                counted
}

type counted struct {
	io.Reader
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += int64(n)
	return n, err
}

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{Request: r, body: counted{Reader: r.Body}}
	c.bucket, c.key, _ = strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	handle := c.route(s)
	c.w = &statusWriter{ResponseWriter: w}
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.requests = append(s.requests, Request{Action: c.action, Bucket: c.bucket, Key: c.key, Part: c.part, Bytes: c.body.n, Status: c.w.status})
	}()
	fault := s.fault(c)
	if fault.breaks(c) {
		return
	}
	failed := s.authorised(c)
	if failed == nil {
		failed = handle(c)
	}
	if fault.LoseAnswer {
		c.w.status = 0
		panic(http.ErrAbortHandler)
	}
	if failed != nil {
		failed.write(c)
	} else {
		c.w.flush()
	}
}

// statusWriter holds the header back until the action is done, so that a lost answer is lost entirely.
type statusWriter struct {
	http.ResponseWriter
	status  int
	flushed bool
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

func (w *statusWriter) Write(p []byte) (int, error) {
	w.flush()
	return w.ResponseWriter.Write(p)
}

func (w *statusWriter) flush() {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	if !w.flushed {
		w.flushed = true
		w.ResponseWriter.WriteHeader(w.status)
	}
}

// stamp writes a time as listings have it.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
