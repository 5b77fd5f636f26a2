package s3sim

import (
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"net/http"
	"sort"
	"strconv"
	"strings"
	"time"
)

// upload is a multipart upload.
type upload struct {
	bucket, key, id string
	algorithm       string // of the parts' checksums, "" for none
	initiated       time.Time
	header          http.Header
	parts           map[int]blob
}

func (s *Server) createUpload(c *call) *failure {
	algorithm := c.Header.Get("X-Amz-Checksum-Algorithm")
	if algorithm != "" && checksums(algorithm) == nil {
		return fail(http.StatusNotImplemented, "NotImplemented", "checksum %s is not implemented", algorithm)
	}
	s.mu.Lock()
	s.ids++
	u := &upload{bucket: c.bucket, key: c.key, id: fmt.Sprintf("upload-%d", s.ids), algorithm: algorithm, initiated: time.Now(), header: said(c.Header), parts: map[int]blob{}}
	s.uploads[u.id] = u
	s.mu.Unlock()
	if algorithm != "" {
		c.w.Header().Set("X-Amz-Checksum-Algorithm", algorithm)
	}
	type result struct {
		XMLName               xml.Name `xml:"InitiateMultipartUploadResult"`
		Bucket, Key, UploadId string
	}
	return c.answer(http.StatusOK, result{Bucket: c.bucket, Key: c.key, UploadId: u.id})
}

// upload finds the one that a request is of. The server's lock is held by the caller.
func (s *Server) upload(c *call) (*upload, *failure) {
	u := s.uploads[c.URL.Query().Get("uploadId")]
	if u == nil || u.bucket != c.bucket || u.key != c.key {
		return nil, fail(http.StatusNotFound, "NoSuchUpload", "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.")
	}
	return u, nil
}

func (s *Server) uploadPart(c *call) *failure {
	if c.part < 1 || c.part > 10_000 {
		return fail(http.StatusBadRequest, "InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive")
	}
	s.mu.Lock()
	u, failed := s.upload(c)
	s.mu.Unlock()
	if failed != nil {
		return failed
	}
	if u.algorithm != "" && c.Header.Get(checksumHeader+u.algorithm) == "" {
		return fail(http.StatusBadRequest, "InvalidRequest", "Checksum Type mismatch occurred, expected checksum Type: %s, actual checksum Type: null", strings.ToLower(u.algorithm))
	}
	b, failed := s.receive(c)
	if failed != nil {
		return failed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	content{u.parts[c.part]}.remove()
	u.parts[c.part] = b
	c.w.Header().Set("ETag", b.etag)
	if b.digest != "" {
		c.w.Header().Set(b.digest, b.checksum)
	}
	return nil
}

func (s *Server) listParts(c *call) *failure {
	type entry struct {
		PartNumber     int
		ETag           string
		Size           int64
		LastModified   string
		ChecksumSHA256 string `xml:",omitempty"`
	}
	var result struct {
		XMLName               xml.Name `xml:"ListPartsResult"`
		Bucket, Key, UploadId string
		NextPartNumberMarker  int
		IsTruncated           bool
		Part                  []entry
	}
	q := c.URL.Query()
	after, _ := strconv.Atoi(q.Get("part-number-marker"))
	s.mu.Lock()
	defer s.mu.Unlock()
	u, failed := s.upload(c)
	if failed != nil {
		return failed
	}
	for n, b := range u.parts {
		if n > after {
			e := entry{PartNumber: n, ETag: b.etag, Size: b.size, LastModified: stamp(u.initiated)}
			if b.digest == checksumHeader+"Sha256" {
				e.ChecksumSHA256 = b.checksum
			}
			result.Part = append(result.Part, e)
		}
	}
	sort.Slice(result.Part, func(i, j int) bool { return result.Part[i].PartNumber < result.Part[j].PartNumber })
	const page = 1000
	if len(result.Part) > page {
		result.Part, result.IsTruncated = result.Part[:page], true
		result.NextPartNumberMarker = result.Part[page-1].PartNumber
	}
	result.Bucket, result.Key, result.UploadId = u.bucket, u.key, u.id
	return c.answer(http.StatusOK, result)
}

func (s *Server) completeUpload(c *call) *failure {
	var asked struct {
		Part []struct {
			PartNumber           int
			ETag, ChecksumSHA256 string
		}
	}
	if err := xml.NewDecoder(&c.body).Decode(&asked); err != nil || len(asked.Part) == 0 {
		return fail(http.StatusBadRequest, "MalformedXML", "The XML you provided was not well-formed (%v)", err)
	}
	s.mu.Lock()
	u, failed := s.upload(c)
	s.mu.Unlock()
	if failed != nil {
		return failed
	}
	o := &object{header: u.header}
	sums, digests := md5.New(), checksums(u.algorithm)
	for i, p := range asked.Part {
		b, there := u.parts[p.PartNumber]
		switch {
		case i > 0 && p.PartNumber <= asked.Part[i-1].PartNumber:
			return fail(http.StatusBadRequest, "InvalidPartOrder", "The list of parts was not in ascending order. Parts must be ordered by part number.")
		case !there, strings.Trim(p.ETag, `"`) != strings.Trim(b.etag, `"`), p.ChecksumSHA256 != "" && p.ChecksumSHA256 != b.checksum:
			return fail(http.StatusBadRequest, "InvalidPart", "One or more of the specified parts could not be found.")
		case u.algorithm == "SHA256" && p.ChecksumSHA256 == "":
			return fail(http.StatusBadRequest, "InvalidRequest", "The upload was created using a sha256 checksum. The complete request must include the checksum for each part.")
		case i < len(asked.Part)-1 && b.size < 5<<20:
			return fail(http.StatusBadRequest, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size")
		}
		sum, _ := hex.DecodeString(strings.Trim(b.etag, `"`))
		sums.Write(sum)
		if digests != nil {
			sum, _ := base64.StdEncoding.DecodeString(b.checksum)
			digests.Write(sum)
		}
		o.content = append(o.content, b)
	}
	o.etag = fmt.Sprintf(`"%x-%d"`, sums.Sum(nil), len(asked.Part))
	var result struct {
		XMLName           xml.Name `xml:"CompleteMultipartUploadResult"`
		Bucket, Key, ETag string
		ChecksumSHA256    string `xml:",omitempty"`
	}
	result.Bucket, result.Key, result.ETag = u.bucket, u.key, o.etag
	if digests != nil {
		whole := fmt.Sprintf("%s-%d", base64.StdEncoding.EncodeToString(digests.Sum(nil)), len(asked.Part))
		o.checksum = [2]string{checksumHeader + u.algorithm, whole}
		if u.algorithm == "SHA256" {
			result.ChecksumSHA256 = whole
		}
	}
	s.put(c, o)
	s.mu.Lock()
	delete(s.uploads, u.id)
	s.mu.Unlock()
	return c.answer(http.StatusOK, result)
}

func (s *Server) abortUpload(c *call) *failure {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, failed := s.upload(c)
	if failed != nil {
		return failed
	}
	for _, b := range u.parts {
		content{b}.remove()
	}
	delete(s.uploads, u.id)
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) listUploads(c *call) *failure {
	type entry struct{ Key, UploadId, Initiated string }
	var result struct {
		XMLName     xml.Name `xml:"ListMultipartUploadsResult"`
		Bucket      string
		IsTruncated bool
		Upload      []entry
	}
	result.Bucket = c.bucket
	s.mu.Lock()
	for _, u := range s.uploads {
		if u.bucket == c.bucket && strings.HasPrefix(u.key, c.URL.Query().Get("prefix")) {
			result.Upload = append(result.Upload, entry{u.key, u.id, stamp(u.initiated)})
		}
	}
	s.mu.Unlock()
	sort.Slice(result.Upload, func(i, j int) bool { return result.Upload[i].UploadId < result.Upload[j].UploadId })
	return c.answer(http.StatusOK, result)
}
