package s3sim

import (
	"encoding/xml"
	"net/http"
	"sort"
	"strings"
	"time"
)

// object is what a key holds.
type object struct {
	content  content
	etag     string
	checksum [2]string // header and value, of the whole
	modified time.Time
	header   http.Header
}

// said picks the headers of a request that stay with the object.
func said(h http.Header) http.Header {
	kept := http.Header{}
	for name, values := range h {
		if strings.HasPrefix(name, "X-Amz-Meta-") || strings.HasPrefix(name, "X-Amz-Server-Side-Encryption") || name == "X-Amz-Tagging" || name == "Content-Type" {
			kept[name] = values
		}
	}
	return kept
}

// put makes an object of a key, in place of one that is there.
func (s *Server) put(c *call, o *object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := c.in.objects[c.key]; old != nil {
		old.content.remove()
	}
	o.modified = time.Now()
	c.in.objects[c.key] = o
}

func (s *Server) putObject(c *call) *failure {
	b, failed := s.receive(c)
	if failed != nil {
		return failed
	}
	o := &object{content: content{b}, etag: b.etag, checksum: [2]string{b.digest, b.checksum}, header: said(c.Header)}
	s.put(c, o)
	o.describe(c, true)
	return nil
}

// describe sets the headers that tell of an object.
func (o *object) describe(c *call, checksum bool) {
	h := c.w.Header()
	h.Set("ETag", o.etag)
	if checksum && o.checksum[0] != "" {
		h.Set(o.checksum[0], o.checksum[1])
	}
	for name, values := range o.header {
		if strings.HasPrefix(name, "X-Amz-Server-Side-Encryption") {
			h[name] = values
		}
	}
}

// getObject answers HeadObject too.
func (s *Server) getObject(c *call) *failure {
	s.mu.Lock()
	o := c.in.objects[c.key]
	s.mu.Unlock()
	if o == nil {
		return fail(http.StatusNotFound, "NoSuchKey", "The specified key does not exist.")
	}
	o.describe(c, c.Header.Get("X-Amz-Checksum-Mode") == "ENABLED")
	for name, values := range o.header {
		if name != "X-Amz-Tagging" {
			c.w.Header()[name] = values
		}
	}
	// Ranges, conditions and HEAD are those of HTTP.
	http.ServeContent(c.w, c.Request, "", o.modified, s.Object(c.bucket, c.key))
	return nil
}

func (s *Server) deleteObject(c *call) *failure {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := c.in.objects[c.key]; o != nil {
		o.content.remove()
		delete(c.in.objects, c.key)
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) listBuckets(c *call) *failure {
	type entry struct{ Name, CreationDate string }
	var result struct {
		XMLName xml.Name `xml:"ListAllMyBucketsResult"`
		Buckets struct{ Bucket []entry }
	}
	s.mu.Lock()
	for name := range s.buckets {
		result.Buckets.Bucket = append(result.Buckets.Bucket, entry{name, stamp(time.Now())})
	}
	s.mu.Unlock()
	return c.answer(http.StatusOK, result)
}

func (s *Server) createBucket(c *call) *failure {
	var asked struct{ LocationConstraint string }
	if err := xml.NewDecoder(&c.body).Decode(&asked); err != nil && c.ContentLength > 0 {
		return fail(http.StatusBadRequest, "MalformedXML", "%v", err)
	}
	if asked.LocationConstraint == "" {
		asked.LocationConstraint = Region
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.buckets[c.bucket] != nil {
		return fail(http.StatusConflict, "BucketAlreadyOwnedByYou", "Your previous request to create the named bucket succeeded and you already own it.")
	}
	s.buckets[c.bucket] = &bucket{region: asked.LocationConstraint, objects: map[string]*object{}}
	c.w.Header().Set("Location", "/"+c.bucket)
	return nil
}

func (s *Server) headBucket(c *call) *failure {
	c.w.Header().Set("X-Amz-Bucket-Region", c.in.region)
	return nil
}

func (s *Server) getBucketLocation(c *call) *failure {
	type constraint struct {
		XMLName xml.Name `xml:"LocationConstraint"`
		Region  string   `xml:",chardata"`
	}
	return c.answer(http.StatusOK, constraint{Region: c.in.region})
}

func (s *Server) listObjects(c *call) *failure {
	type entry struct {
		Key, LastModified, ETag string
		Size                    int64
	}
	result := struct {
		XMLName      xml.Name `xml:"ListBucketResult"`
		Name, Prefix string
		KeyCount     int
		IsTruncated  bool
		Contents     []entry
	}{Name: c.bucket, Prefix: c.URL.Query().Get("prefix")}
	s.mu.Lock()
	for key, o := range c.in.objects {
		if strings.HasPrefix(key, result.Prefix) {
			result.Contents = append(result.Contents, entry{key, stamp(o.modified), o.etag, o.content.size()})
		}
	}
	s.mu.Unlock()
	sort.Slice(result.Contents, func(i, j int) bool { return result.Contents[i].Key < result.Contents[j].Key })
	if result.KeyCount = len(result.Contents); result.KeyCount > 1000 {
		return fail(http.StatusNotImplemented, "NotImplemented", "pages of listings are not implemented")
	}
	return c.answer(http.StatusOK, result)
}
