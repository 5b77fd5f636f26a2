package s3sim

import (
	"encoding/xml"
	"io"
	"net/http"
	"strconv"
)

// route names the action and finds what carries it out.
func (c *call) route(s *Server) func(*call) *failure {
	q := c.URL.Query()
	on := func(action string, handle func(*call) *failure) func(*call) *failure {
		c.action = action
		return handle
	}
	switch {
	case c.bucket == "":
		return on("ListBuckets", s.listBuckets)
	case c.key == "" && c.Method == http.MethodPut:
		return on("CreateBucket", s.createBucket)
	case c.key == "" && c.Method == http.MethodHead:
		return on("HeadBucket", s.headBucket)
	case c.key == "" && q.Has("location"):
		return on("GetBucketLocation", s.getBucketLocation)
	case c.key == "" && q.Has("uploads"):
		return on("ListMultipartUploads", s.listUploads)
	case c.key == "" && q.Get("list-type") == "2":
		return on("ListObjectsV2", s.listObjects)
	case c.key == "":
	case c.Method == http.MethodPut && q.Has("uploadId"):
		c.part, _ = strconv.Atoi(q.Get("partNumber"))
		return on("UploadPart", s.uploadPart)
	case c.Method == http.MethodPost && q.Has("uploads"):
		return on("CreateMultipartUpload", s.createUpload)
	case c.Method == http.MethodPost && q.Has("uploadId"):
		return on("CompleteMultipartUpload", s.completeUpload)
	case c.Method == http.MethodGet && q.Has("uploadId"):
		return on("ListParts", s.listParts)
	case c.Method == http.MethodDelete && q.Has("uploadId"):
		return on("AbortMultipartUpload", s.abortUpload)
	case c.Method == http.MethodPut && c.Header.Get("X-Amz-Copy-Source") == "":
		return on("PutObject", s.putObject)
	case c.Method == http.MethodGet:
		return on("GetObject", s.getObject)
	case c.Method == http.MethodHead:
		return on("HeadObject", s.getObject)
	case c.Method == http.MethodDelete:
		return on("DeleteObject", s.deleteObject)
	}
	return on("Unknown", func(*call) *failure {
		return fail(http.StatusNotImplemented, "NotImplemented", "A header or query you provided implies functionality that is not implemented")
	})
}

func (f *failure) write(c *call) {
	if f.header[0] != "" {
		c.w.Header().Set(f.header[0], f.header[1])
	}
	type xmlError struct {
		XMLName       xml.Name `xml:"Error"`
		Code, Message string
		RequestID     string `xml:"RequestId"`
	}
	c.answer(f.status, xmlError{Code: f.code, Message: f.message, RequestID: "S3SIM"})
}

// answer writes a value as XML.
func (c *call) answer(status int, v any) *failure {
	data, err := xml.Marshal(v)
	if err != nil {
		panic(err)
	}
	c.w.Header().Set("Content-Type", "application/xml")
	c.w.WriteHeader(status)
	if c.Method != http.MethodHead {
		io.WriteString(c.w, xml.Header)
		c.w.Write(data)
	}
	return nil
}
