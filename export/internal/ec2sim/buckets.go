package ec2sim

import (
	"net/http"
	"strings"
)

// createBucket passes the request on, and keeps whose bucket it is: moto does not look at who is expected to own one.
func (s *Server) createBucket(w http.ResponseWriter, c *call) {
	answer := &statusWriter{ResponseWriter: w}
	s.proxy.ServeHTTP(answer, c.http)
	if answer.status == http.StatusOK {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.owners[bucketOf(c.http.URL.Path)] = c.Account
	}
}

// ownedAsExpected is false where a request expects another owner (S3 User Guide, "Verifying bucket ownership with bucket owner condition").
func (s *Server) ownedAsExpected(c *call) bool {
	expected := c.http.Header.Get("X-Amz-Expected-Bucket-Owner")
	s.mu.Lock()
	defer s.mu.Unlock()
	owner, known := s.owners[bucketOf(c.http.URL.Path)]
	return expected == "" || !known || expected == owner
}

func bucketOf(path string) string {
	bucket, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return bucket
}
