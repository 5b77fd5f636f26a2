package aws_test

import (
	"bytes"
	"crypto/rand"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/ingot-image/ingot/builder/aws"
	"github.com/ingot-image/ingot/builder/component"
)

// fakeS3 is a server of S3 with one bucket of one owner, as far as documents need it.
type fakeS3 struct {
	t *testing.T

	mu       sync.Mutex
	objects  map[string][]byte
	parts    map[string][]byte
	requests []string
	breaks   int // so many downloads are cut off half way
}

const (
	fakeBucket = "artifacts"
	fakeOwner  = "123456789012"
)

var signature = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=AKIDTEST/[0-9]{8}/eu-north-1/(s3|ssm)/aws4_request, SignedHeaders=.*host.*, Signature=[0-9a-f]{64}$`)

func (f *fakeS3) fail(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>the fake says no</Message></Error>", code)
}

func (f *fakeS3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		f.t.Error(err)
	}
	if !signature.MatchString(r.Header.Get("Authorization")) {
		f.t.Errorf("%s %s is signed %q", r.Method, r.URL, r.Header.Get("Authorization"))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	query := r.URL.Query()
	f.requests = append(f.requests, r.Method+" "+r.URL.Path)
	owner := r.Header.Get("X-Amz-Expected-Bucket-Owner")
	switch {
	case bucket != fakeBucket:
		f.fail(w, http.StatusNotFound, "NoSuchBucket")
	case owner != "" && owner != fakeOwner:
		f.fail(w, http.StatusForbidden, "AccessDenied")
	case r.Method == http.MethodHead:
	case r.Method == http.MethodGet && query.Get("list-type") == "2":
		f.list(w, query.Get("prefix"), query.Get("continuation-token"))
	case r.Method == http.MethodGet:
		f.get(w, r, key)
	case r.Method == http.MethodPost && query.Has("uploads"):
		fmt.Fprintf(w, "<InitiateMultipartUploadResult><Bucket>%s</Bucket><Key>%s</Key><UploadId>u1</UploadId></InitiateMultipartUploadResult>", bucket, key)
	case r.Method == http.MethodPut && query.Get("uploadId") == "u1":
		f.parts[query.Get("partNumber")] = body
		w.Header().Set("ETag", `"p`+query.Get("partNumber")+`"`)
	case r.Method == http.MethodPost && query.Get("uploadId") == "u1":
		var whole []byte
		for i := range len(f.parts) {
			whole = append(whole, f.parts[strconv.Itoa(i+1)]...)
		}
		f.objects[key] = whole
		fmt.Fprint(w, `<CompleteMultipartUploadResult><ETag>"e"</ETag></CompleteMultipartUploadResult>`)
	case r.Method == http.MethodDelete && query.Get("uploadId") == "u1":
		clear(f.parts)
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodPut:
		f.objects[key] = body
	default:
		f.fail(w, http.StatusMethodNotAllowed, "MethodNotAllowed")
	}
}

// list gives pages of two.
func (f *fakeS3) list(w io.Writer, prefix, token string) {
	type content struct {
		Key  string
		Size int
	}
	var page struct {
		XMLName               xml.Name `xml:"ListBucketResult"`
		IsTruncated           bool
		NextContinuationToken string `xml:",omitempty"`
		Contents              []content
	}
	var keys []string
	for key := range f.objects {
		if strings.HasPrefix(key, prefix) && key > token {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	if page.IsTruncated = len(keys) > 2; page.IsTruncated {
		keys = keys[:2]
		page.NextContinuationToken = keys[1]
	}
	for _, key := range keys {
		page.Contents = append(page.Contents, content{key, len(f.objects[key])})
	}
	xml.NewEncoder(w).Encode(page)
}

func (f *fakeS3) get(w http.ResponseWriter, r *http.Request, key string) {
	data, ok := f.objects[key]
	if !ok {
		f.fail(w, http.StatusNotFound, "NoSuchKey")
		return
	}
	w.Header().Set("ETag", `"etag"`)
	var from int
	if n, _ := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); n == 1 {
		if r.Header.Get("If-Match") != `"etag"` {
			f.t.Error("the rest of an object is asked for without If-Match")
		}
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(data)-1, len(data)))
		data = data[from:]
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	if from > 0 {
		w.WriteHeader(http.StatusPartialContent)
	}
	if f.breaks > 0 {
		f.breaks--
		w.Write(data[:len(data)/2])
		panic(http.ErrAbortHandler)
	}
	w.Write(data)
}

// isolated makes the SDK see nothing of the machine's own settings.
func isolated(t *testing.T) {
	t.Helper()
	for _, name := range []string{"AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_SSM",
		"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_DEFAULT_REGION"} {
		t.Setenv(name, "")
	}
	none := t.TempDir() + "/none"
	t.Setenv("AWS_CONFIG_FILE", none)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", none)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	t.Setenv("AWS_REGION", "eu-north-1")
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDTEST")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
}

func serveS3(t *testing.T, objects map[string][]byte) (*fakeS3, component.S3) {
	isolated(t)
	fake := &fakeS3{t: t, objects: objects, parts: map[string][]byte{}}
	server := httptest.NewServer(fake)
	t.Cleanup(server.Close)
	t.Setenv("AWS_ENDPOINT_URL", server.URL)
	services, err := aws.Open(t.Context(), aws.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return fake, services.S3
}

func at(key string) component.S3Place { return component.S3Place{Bucket: fakeBucket, Key: key} }

func TestS3(t *testing.T) {
	fake, s3 := serveS3(t, map[string][]byte{
		"app/a": []byte("one"), "app/b": []byte("two"), "app/c d&é": []byte("three"), "app/d": nil, "app/e": []byte("five"), "other": []byte("x"),
	})
	ctx := t.Context()

	objects, err := s3.List(ctx, at("app/"), 5)
	var listed []string
	for _, o := range objects {
		listed = append(listed, fmt.Sprintf("%s:%d", o.Key, o.Size))
	}
	if want := []string{"app/a:3", "app/b:3", "app/c d&é:5", "app/d:0", "app/e:4"}; err != nil || !slices.Equal(listed, want) {
		t.Errorf("List = %v, %v; want %v", listed, err, want)
	}
	if _, err := s3.List(ctx, at("app/"), 4); err == nil || !strings.Contains(err.Error(), "more than 4") {
		t.Errorf("List over the limit gave %v", err)
	}
	if objects, err := s3.List(ctx, at("nothing/"), 4); err != nil || len(objects) != 0 {
		t.Errorf("List of nothing gave %v, %v", objects, err)
	}

	var got bytes.Buffer
	if err := s3.Get(ctx, at("app/c d&é"), &got); err != nil || got.String() != "three" {
		t.Errorf("Get = %q, %v", got.String(), err)
	}
	mine := at("app/a")
	mine.ExpectedBucketOwner = fakeOwner
	if err := s3.Get(ctx, mine, io.Discard); err != nil {
		t.Errorf("Get with the right owner: %v", err)
	}
	mine.ExpectedBucketOwner = "999999999999"
	for name, err := range map[string]error{
		"Get":  s3.Get(ctx, mine, io.Discard),
		"Put":  s3.Put(ctx, mine, strings.NewReader("evil"), 4),
		"List": func() error { _, err := s3.List(ctx, mine, 9); return err }(),
	} {
		if err == nil || !strings.Contains(err.Error(), "AccessDenied") || !strings.Contains(err.Error(), "expected owner") {
			t.Errorf("%s with another owner gave %v", name, err)
		}
	}
	if string(fake.objects["app/a"]) != "one" {
		t.Error("another owner's bucket was written to")
	}
	for _, place := range []component.S3Place{at("missing"), {Bucket: "no-such-bucket", Key: "k"}} {
		if err := s3.Get(ctx, place, io.Discard); !errors.Is(err, component.ErrNotFound) {
			t.Errorf("Get of %v gave %v", place, err)
		}
	}

	for _, size := range []int{0, 5, 40 << 20} { // the last in parts
		data := make([]byte, size)
		rand.Read(data)
		clear(fake.parts)
		if err := s3.Put(ctx, at("new/object"), unseekable(data), int64(size)); err != nil {
			t.Errorf("Put of %d bytes: %v", size, err)
		}
		if !bytes.Equal(fake.objects["new/object"], data) {
			t.Errorf("Put of %d bytes made an object of %d", size, len(fake.objects["new/object"]))
		}
		if parts := len(fake.parts); (parts > 1) != (size > 16<<20) {
			t.Errorf("%d bytes were put in %d parts", size, parts)
		}
		delete(fake.objects, "new/object")
		if err := s3.Put(ctx, at("new/object"), unseekable(data), int64(size)+1); err == nil || fake.objects["new/object"] != nil {
			t.Errorf("Put of a source that is too short gave %v", err)
		}
	}
}

// unseekable is a source that can be read once.
func unseekable(data []byte) io.Reader { return io.MultiReader(bytes.NewReader(data)) }

// TestBrokenDownload is about connections that end in the middle.
func TestBrokenDownload(t *testing.T) {
	data := make([]byte, 1<<20)
	rand.Read(data)
	fake, s3 := serveS3(t, map[string][]byte{"big": data})
	fake.breaks = 3
	var got bytes.Buffer
	if err := s3.Get(t.Context(), at("big"), &got); err != nil || !bytes.Equal(got.Bytes(), data) {
		t.Errorf("Get = %d bytes, %v", got.Len(), err)
	}
	fake.breaks = 1000
	if err := s3.Get(t.Context(), at("big"), io.Discard); err == nil {
		t.Error("a download that always breaks off gave no error")
	}
	// The writer's errors are not the connection's.
	fake.breaks, fake.requests = 0, nil
	if err := s3.Get(t.Context(), at("big"), fullDisk{}); !errors.Is(err, errFull) || len(fake.requests) != 1 {
		t.Errorf("Get to a full disk gave %v after %d requests", err, len(fake.requests))
	}
}

var errFull = errors.New("no space left")

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

func TestOtherRegion(t *testing.T) {
	isolated(t)
	var regions []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		credential := strings.Split(r.Header.Get("Authorization"), "/")
		regions = append(regions, credential[2])
		w.Header().Set("X-Amz-Bucket-Region", "us-west-2")
		if credential[2] != "us-west-2" {
			w.WriteHeader(http.StatusMovedPermanently)
			fmt.Fprint(w, "<Error><Code>PermanentRedirect</Code></Error>")
			return
		}
		io.Copy(io.Discard, r.Body)
		if r.Method == http.MethodGet {
			fmt.Fprint(w, "here")
		}
	}))
	defer server.Close()
	t.Setenv("AWS_ENDPOINT_URL", server.URL)
	services, err := aws.Open(t.Context(), aws.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	if err := services.S3.Get(t.Context(), at("k"), &got); err != nil || got.String() != "here" {
		t.Errorf("Get = %q, %v", got.String(), err)
	}
	if want := []string{"eu-north-1", "us-west-2"}; !slices.Equal(regions, want) {
		t.Errorf("asked in %v, want %v", regions, want)
	}
	services, _ = aws.Open(t.Context(), aws.Options{})
	if err := services.S3.Put(t.Context(), at("k"), unseekable([]byte("x")), 1); err != nil {
		t.Errorf("Put: %v", err)
	}
}

func TestNoCredentials(t *testing.T) {
	isolated(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	services, err := aws.Open(t.Context(), aws.Options{})
	if err != nil {
		t.Fatalf("Open asks for credentials: %v", err)
	}
	_, parameterErr := services.Parameters.Parameter(t.Context(), "/x")
	for name, err := range map[string]error{"S3": services.S3.Get(t.Context(), at("k"), io.Discard), "SSM": parameterErr} {
		if err == nil || !strings.Contains(err.Error(), "no AWS credentials") || !strings.Contains(err.Error(), "--s3-map") || !strings.Contains(err.Error(), "--ssm-parameters") {
			t.Errorf("%s without credentials gave %v", name, err)
		}
	}
	t.Setenv("AWS_REGION", "")
	if err := services.S3.Get(t.Context(), at("k"), io.Discard); err == nil || !strings.Contains(err.Error(), "AWS_REGION") {
		t.Errorf("no region gave %v", err)
	}
	// Who logs in meanwhile may go on.
	fake := httptest.NewServer(&fakeS3{t: t, objects: map[string][]byte{"k": nil}})
	defer fake.Close()
	isolated(t)
	t.Setenv("AWS_ENDPOINT_URL_S3", fake.URL)
	if err := services.S3.Get(t.Context(), at("k"), io.Discard); err != nil {
		t.Errorf("after logging in: %v", err)
	}
}
