package base

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ingot-image/ingot/disk"
)

const (
	defaultDownloadLimit = 64 << 30
	// stallLimit ends a download that delivers nothing.
	stallLimit = 2 * time.Minute
)

// urlRecipe plans a base from an https address. Nothing is fetched: the digest is given.
func (s *Store) urlRecipe(src Source) (*recipe, error) {
	u, err := url.Parse(src.URL)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("parent image %q: give an https address", redact(src.URL))
	}
	if src.SHA256 == "" {
		return nil, fmt.Errorf("parent image %s: an address needs the file's sha256", redact(src.URL))
	}
	format := src.Format
	if format == "" {
		f, ok := disk.FormatOfName(u.Path)
		if !ok {
			return nil, fmt.Errorf("parent image %s: the address does not end in .raw, .img, .qcow2, .vmdk or .vhd: declare the format", redact(src.URL))
		}
		format = f
	}
	r := &recipe{name: src.Name, digest: fileDigest(src.SHA256, format),
		inputs: map[string]string{"url": redact(src.URL), "sha256": src.SHA256, "format": string(format)}}
	if r.name == "" {
		r.name = urlName(u)
	}
	r.make = func(ctx context.Context, dir string, progress Progress) (*Base, error) {
		private := disk.Image{Path: filepath.Join(dir, "source"), Format: format}
		if format == disk.Raw {
			private.Path = filepath.Join(dir, "disk.raw")
		}
		if err := s.download(ctx, u, src.SHA256, private.Path, progress); err != nil {
			return nil, fmt.Errorf("download %s: %w", redact(src.URL), disk.ExplainSpace(err, dir, 0))
		}
		if _, err := disk.CheckSafe(private.Path, format, s.Limits); err != nil {
			return nil, fmt.Errorf("parent image %s: %w", redact(src.URL), err)
		}
		return convertAndInspect(ctx, private, dir, progress)
	}
	return r, nil
}

// download fetches a file of bounded length, and fails unless its digest is the expected one.
func (s *Store) download(ctx context.Context, u *url.URL, want, dst string, progress Progress) error {
	limit := s.DownloadLimit
	if limit == 0 {
		limit = defaultDownloadLimit
	}
	client := s.Client
	if client == nil {
		client = defaultClient()
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := time.AfterFunc(stallLimit, func() { cancel(fmt.Errorf("nothing received for %s", stallLimit)) })
	defer stall.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return errors.New("bad address")
	}
	resp, err := client.Do(req)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		var ue *url.Error // its text has the address, with what may be secret in it
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the server answers %s", resp.Status)
	}
	if resp.ContentLength > limit {
		return fmt.Errorf("%d bytes long, the limit is %d", resp.ContentLength, limit)
	}
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	h := sha256.New()
	w := &sparseWriter{f: out}
	buf := make([]byte, 1<<20)
	for total := int64(0); ; {
		n, err := resp.Body.Read(buf)
		if n > 0 {
			stall.Reset(stallLimit)
			if total += int64(n); total > limit {
				return fmt.Errorf("longer than the limit of %d bytes", limit)
			}
			h.Write(buf[:n])
			if _, err := w.Write(buf[:n]); err != nil {
				return err
			}
			progress("download", total, max(resp.ContentLength, 0))
		}
		// First: a cancelled request may look like one that ended.
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		return &DigestError{"the file", want, got}
	}
	return errors.Join(w.finish(), out.Close())
}

// defaultClient never leaves https, gives up on servers that do not answer, and sends no body-transforming headers.
func defaultClient() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DialContext = (&net.Dialer{Timeout: 30 * time.Second}).DialContext
	t.ResponseHeaderTimeout = time.Minute
	t.DisableCompression = true
	return &http.Client{Transport: t, CheckRedirect: func(req *http.Request, via []*http.Request) error {
		if req.URL.Scheme != "https" {
			return errors.New("redirected to an address that is not https")
		}
		if len(via) >= 10 {
			return errors.New("too many redirections")
		}
		return nil
	}}
}

// redact leaves out what may be secret in an address: user, password and query (signed addresses).
func redact(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		before, _, _ := strings.Cut(address, "?")
		if i := strings.LastIndex(before, "@"); i >= 0 {
			before = before[i+1:]
		}
		return before
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

// sparseWriter writes sequentially and leaves holes for blocks of zeros.
type sparseWriter struct {
	f   *os.File
	off int64
}

func (w *sparseWriter) Write(p []byte) (int, error) {
	for done := 0; done < len(p); {
		// Up to the next boundary of 64 KiB, so that holes are aligned.
		n := min(len(p)-done, int(64<<10-w.off%(64<<10)))
		if part := p[done : done+n]; !allZero(part) {
			if _, err := w.f.WriteAt(part, w.off); err != nil {
				return done, err
			}
		}
		done += n
		w.off += int64(n)
	}
	return len(p), nil
}

// finish gives the file its length when it ends in a hole.
func (w *sparseWriter) finish() error { return w.f.Truncate(w.off) }

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
