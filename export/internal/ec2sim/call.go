package ec2sim

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
)

// Request is a request that the simulator took, its body not included.
type Request struct {
	Service string // of the signature's scope: ec2, s3, ebs, iam, sts, …; "" if it is not signed
	Action  string // as the API calls it: ImportSnapshot, UploadPart, PutSnapshotBlock, …
	Region  string
	Account string
	Method  string
	Path    string // with its query
	Bytes   int64  // of the body that were read
	Status  int    // of the answer; 0 if the connection was cut
}

// Requests are all that were answered so far, in the order of their answers.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.requests...)
}

// Count tells how often an action was asked for, whatever was answered.
func (s *Server) Count(service, action string) int {
	n := 0
	for _, r := range s.Requests() {
		if r.Service == service && r.Action == action {
			n++
		}
	}
	return n
}

// call is a request on its way.
type call struct {
	Request
	http  *http.Request
	key   string // the access key, "" if it is not signed
	form  form   // of the query protocol
	read  atomic.Int64
	wrong *Fault // what is to go wrong with the task that it starts, or nil
}

// scope is the credential of a signature: KEY/DATE/REGION/SERVICE/aws4_request.
var scope = regexp.MustCompile(`Credential=([^/,\s]+)/\d{8}/([^/]+)/([^/]+)/aws4_request`)

// maxForm is how long a request of the query protocol may be.
const maxForm = 1 << 20

// newCall tells what a request is for. From here on its body is counted as it is read.
func newCall(r *http.Request) (*call, error) {
	c := &call{http: r, Request: Request{Method: r.Method, Path: r.URL.RequestURI()}}
	r.Body = &counter{r.Body, &c.read}
	signature := r.Header.Get("Authorization")
	if presigned := r.URL.Query().Get("X-Amz-Credential"); signature == "" && presigned != "" {
		signature = "Credential=" + presigned
	}
	if m := scope.FindStringSubmatch(signature); m != nil {
		c.key, c.Region, c.Service = m[1], m[2], m[3]
	}
	switch target := r.Header.Get("X-Amz-Target"); {
	case target != "":
		c.Action = target[strings.LastIndexByte(target, '.')+1:]
	case strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded"):
		body, err := io.ReadAll(io.LimitReader(r.Body, maxForm))
		if err != nil {
			return c, err
		}
		values, err := url.ParseQuery(string(body))
		if err != nil {
			return c, err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		c.form, c.Action = form{values: values}, values.Get("Action")
	case c.Service == "ebs":
		c.Action = ebsAction(r)
	case c.Service == "s3":
		c.Action = s3Action(r)
	}
	return c, nil
}

// counter counts what is read of a body.
type counter struct {
	io.ReadCloser
	n *atomic.Int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// ebsAction names a request of EBS direct (its API reference, "Request Syntax" of each action).
func ebsAction(r *http.Request) string {
	part := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case r.Method == http.MethodPost && len(part) == 1:
		return "StartSnapshot"
	case r.Method == http.MethodPost:
		return "CompleteSnapshot"
	case r.Method == http.MethodPut:
		return "PutSnapshotBlock"
	case len(part) == 4:
		return "GetSnapshotBlock"
	case part[len(part)-1] == "changedblocks":
		return "ListChangedBlocks"
	}
	return "ListSnapshotBlocks"
}

// s3Action names a request of S3 by its method, by whether it is for a bucket or an object, and by the first of its query's keys that makes a
// difference (S3's API reference).
func s3Action(r *http.Request) string {
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	has := r.URL.Query().Has
	for _, a := range s3Actions {
		if a.method == r.Method && a.object == (key != "") && (a.query == "" || has(a.query)) && (a.header == "" || r.Header.Get(a.header) != "") {
			return a.name
		}
	}
	return ""
}

// s3Actions are those of S3 that Ingot and the command line use, the particular ones first.
var s3Actions = []struct {
	name, method  string
	object        bool
	query, header string
}{
	{"UploadPart", "PUT", true, "partNumber", ""},
	{"PutObjectTagging", "PUT", true, "tagging", ""},
	{"CopyObject", "PUT", true, "", "X-Amz-Copy-Source"},
	{"PutObject", "PUT", true, "", ""},
	{"CreateMultipartUpload", "POST", true, "uploads", ""},
	{"CompleteMultipartUpload", "POST", true, "uploadId", ""},
	{"AbortMultipartUpload", "DELETE", true, "uploadId", ""},
	{"DeleteObject", "DELETE", true, "", ""},
	{"ListParts", "GET", true, "uploadId", ""},
	{"GetObjectAttributes", "GET", true, "attributes", ""},
	{"GetObjectTagging", "GET", true, "tagging", ""},
	{"GetObject", "GET", true, "", ""},
	{"HeadObject", "HEAD", true, "", ""},
	{"DeleteObjects", "POST", false, "delete", ""},
	{"GetBucketLocation", "GET", false, "location", ""},
	{"ListMultipartUploads", "GET", false, "uploads", ""},
	{"GetBucketEncryption", "GET", false, "encryption", ""},
	{"GetBucketAcl", "GET", false, "acl", ""},
	{"GetBucketVersioning", "GET", false, "versioning", ""},
	{"GetBucketPolicy", "GET", false, "policy", ""},
	{"ListObjectsV2", "GET", false, "list-type", ""},
	{"ListObjects", "GET", false, "", ""},
	{"HeadBucket", "HEAD", false, "", ""},
	{"PutBucketEncryption", "PUT", false, "encryption", ""},
	{"PutBucketPolicy", "PUT", false, "policy", ""},
	{"PutPublicAccessBlock", "PUT", false, "publicAccessBlock", ""},
	{"PutBucketLifecycleConfiguration", "PUT", false, "lifecycle", ""},
	{"PutBucketTagging", "PUT", false, "tagging", ""},
	{"PutBucketOwnershipControls", "PUT", false, "ownershipControls", ""},
	{"CreateBucket", "PUT", false, "", ""},
	{"DeleteBucket", "DELETE", false, "", ""},
}
