package s3sim

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"net/http"
	"os"
	"strings"
)

// blob is a stretch of data in a file.
type blob struct {
	path     string
	size     int64
	etag     string // in quotation marks
	checksum string // base64, of the algorithm that came with it
	digest   string // header's name of that: "X-Amz-Checksum-Sha256"
}

const checksumHeader = "X-Amz-Checksum-"

// checksums are the algorithms that the server knows. SDKs ask for others, too; then it says so.
func checksums(name string) hash.Hash {
	switch strings.ToUpper(name) {
	case "SHA256":
		return sha256.New()
	case "SHA1":
		return sha1.New()
	case "CRC32":
		return crc32.NewIEEE()
	case "CRC32C":
		return crc32.New(crc32.MakeTable(crc32.Castagnoli))
	}
	return nil
}

// receive stores a request's body and verifies all that the request says of it.
func (s *Server) receive(c *call) (b blob, failed *failure) {
	payload := c.Header.Get("X-Amz-Content-Sha256")
	switch {
	case strings.HasPrefix(payload, "STREAMING-"):
		return b, fail(http.StatusNotImplemented, "NotImplemented", "aws-chunked is not implemented")
	case payload == "UNSIGNED-PAYLOAD" && c.TLS == nil, len(payload) != 2*sha256.Size && payload != "UNSIGNED-PAYLOAD":
		return b, fail(http.StatusBadRequest, "InvalidRequest", "x-amz-content-sha256 must be the payload's hash")
	case c.ContentLength < 0:
		return b, fail(http.StatusLengthRequired, "MissingContentLength", "You must provide the Content-Length HTTP header.")
	case c.ContentLength > 5<<30:
		return b, fail(http.StatusBadRequest, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")
	}
	sum, signed := md5.New(), sha256.New()
	writers := []io.Writer{sum, signed}
	var check hash.Hash
	for name := range c.Header {
		if algorithm, ok := strings.CutPrefix(name, checksumHeader); ok && algorithm != "Algorithm" && algorithm != "Type" {
			if check = checksums(algorithm); check == nil {
				return b, fail(http.StatusNotImplemented, "NotImplemented", "checksum %s is not implemented", algorithm)
			}
			b.digest, b.checksum = name, c.Header.Get(name)
			if strings.EqualFold(algorithm, "SHA256") {
				check = signed // of the same bytes
			} else {
				writers = append(writers, check)
			}
		}
	}
	file, err := os.CreateTemp(s.dir, "blob-")
	if err != nil {
		return b, internal(err)
	}
	b.path = file.Name()
	b.size, err = writeSparse(file, io.TeeReader(&c.body, io.MultiWriter(writers...)))
	err = errors.Join(err, file.Close())
	if err == nil && b.size != c.ContentLength {
		err = io.ErrUnexpectedEOF
	}
	base := func(h hash.Hash) string { return base64.StdEncoding.EncodeToString(h.Sum(nil)) }
	switch given := c.Header.Get("Content-Md5"); {
	case err != nil:
		failed = fail(http.StatusBadRequest, "IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header")
	case payload != "UNSIGNED-PAYLOAD" && payload != hex.EncodeToString(signed.Sum(nil)):
		failed = fail(http.StatusBadRequest, "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed.")
	case given != "" && given != base(sum):
		failed = fail(http.StatusBadRequest, "BadDigest", "The Content-MD5 you specified did not match what we received.")
	case check != nil && b.checksum != base(check):
		failed = fail(http.StatusBadRequest, "BadDigest", "The checksum you specified did not match the calculated checksum.")
	}
	if failed != nil {
		os.Remove(b.path)
	}
	b.etag = fmt.Sprintf(`"%x"`, sum.Sum(nil))
	return b, failed
}

func internal(err error) *failure {
	return fail(http.StatusInternalServerError, "InternalError", "%v", err)
}

// writeSparse copies to a file and leaves holes for zeros.
func writeSparse(f *os.File, r io.Reader) (size int64, err error) {
	buf := make([]byte, 128<<10)
	zeros := make([]byte, len(buf))
	for {
		n, err := io.ReadFull(r, buf)
		if !bytes.Equal(buf[:n], zeros[:n]) {
			if _, err := f.WriteAt(buf[:n], size); err != nil {
				return size, err
			}
		}
		size += int64(n)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return size, f.Truncate(size)
		}
		if err != nil {
			return size, err
		}
	}
}

// content is an object's data: its parts.
type content []blob

func (c content) size() (n int64) {
	for _, b := range c {
		n += b.size
	}
	return n
}

// ReadAt reads across parts.
func (c content) ReadAt(p []byte, offset int64) (done int, err error) {
	for _, b := range c {
		if offset >= b.size {
			offset -= b.size
			continue
		}
		f, err := os.Open(b.path)
		if err != nil {
			return done, err
		}
		n, err := f.ReadAt(p[:min(int64(len(p)), b.size-offset)], offset)
		f.Close()
		done, p, offset = done+n, p[n:], 0
		if err != nil && err != io.EOF {
			return done, err
		}
		if len(p) == 0 {
			return done, nil
		}
	}
	return done, io.EOF
}

func (c content) remove() {
	for _, b := range c {
		os.Remove(b.path)
	}
}
