package s3

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/middleware"
)

// part is a stretch of what is uploaded.
type part struct {
	number       int32 // from 1
	body         io.ReaderAt
	offset, size int64
	sha256       [sha256.Size]byte // after hash
}

func (p *part) reader() *io.SectionReader { return io.NewSectionReader(p.body, p.offset, p.size) }

// hash reads the part. One that is shorter than it should be is io.ErrUnexpectedEOF.
func (p *part) hash() error {
	h := sha256.New()
	n, err := io.CopyBuffer(h, onlyReader{p.reader()}, make([]byte, hashBuffer))
	if err == nil && n < p.size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("read part %d: %w", p.number, err)
	}
	h.Sum(p.sha256[:0])
	return nil
}

const hashBuffer = 256 << 10

// onlyReader hides a section reader's WriteTo, which would take a buffer of its own.
type onlyReader struct{ io.Reader }

// encoded is the part's SHA-256 as S3's API writes it.
func (p *part) encoded() *string {
	s := base64.StdEncoding.EncodeToString(p.sha256[:])
	return &s
}

// confirmed compares the part with what the server says it has: with its SHA-256, or, from a server that knows none, with the MD5 that an ETag is unless the
// object is encrypted with a key of KMS. An ETag of another kind says nothing; then the server has checked the SHA-256 that the request was signed with.
func (p *part) confirmed(sha, etag *string, e types.ServerSideEncryption) error {
	if sha != nil {
		if *sha != *p.encoded() {
			return fmt.Errorf("part %d: the server has stored other bytes: their SHA-256 is %s, not %s", p.number, *sha, *p.encoded())
		}
		return nil
	}
	sum, isMD5 := md5Of(value(etag))
	if !isMD5 || e == types.ServerSideEncryptionAwsKms || e == types.ServerSideEncryptionAwsKmsDsse {
		return nil
	}
	own, err := p.md5()
	if err == nil && own != sum {
		err = fmt.Errorf("part %d: the server has stored other bytes: their MD5 is %s, not %s", p.number, sum, own)
	}
	return err
}

// same tells whether a part that the server lists is this one.
func (p *part) same(listed types.Part) bool {
	if value(listed.Size) != p.size {
		return false
	}
	if listed.ChecksumSHA256 != nil {
		return *listed.ChecksumSHA256 == *p.encoded()
	}
	sum, isMD5 := md5Of(value(listed.ETag))
	own, err := p.md5()
	return isMD5 && err == nil && own == sum
}

func (p *part) md5() (string, error) {
	h := md5.New()
	if _, err := io.CopyBuffer(h, onlyReader{p.reader()}, make([]byte, hashBuffer)); err != nil {
		return "", fmt.Errorf("read part %d: %w", p.number, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// md5Of gives the MD5 that an ETag is, in hexadecimal, if it looks like one.
func md5Of(etag string) (sum string, ok bool) {
	sum = strings.Trim(etag, `"`)
	raw, err := hex.DecodeString(sum)
	return strings.ToLower(sum), err == nil && len(raw) == md5.Size
}

// signedWith makes the SDK sign a request with the hash that is known instead of reading the body once more.
func signedWith(p part) func(*sdk.Options) {
	sum := hex.EncodeToString(p.sha256[:])
	return sdk.WithAPIOptions(func(s *middleware.Stack) error {
		return s.Initialize.Add(middleware.InitializeMiddlewareFunc("IngotPayloadHash",
			func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
				return next.HandleInitialize(v4.SetPayloadHash(ctx, sum), in)
			}), middleware.Before)
	})
}
