package export

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/ingot-image/ingot/export/distribution"
	"github.com/ingot-image/ingot/export/internal/stall"
)

// webFolder is a folder of a web server that takes PUT (RFC 9110, 9.3.4): nginx and Apache with WebDAV, Artifactory, Nexus, GitLab's packages.
type webFolder struct {
	url    *url.URL
	header http.Header // with secrets: it is never printed
	client *http.Client
	record Record
	delay  time.Duration // before the second try
}

// putAttempts is how often a file is tried.
const putAttempts = 6

func newWebFolder(c distribution.HTTP, o PlaceOptions) (*webFolder, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("the place's URL is not one of http or https")
	}
	w := &webFolder{url: u, header: http.Header{}, record: o.Record, delay: time.Second}
	for name, variable := range c.HeaderEnv {
		value, set := os.LookupEnv(variable)
		if !set {
			return nil, fmt.Errorf("%s: the environment variable %s is not set, which the header %s is sent with", u.Redacted(), variable, name)
		}
		w.header.Set(name, value)
	}
	w.client = &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: 30 * time.Second, Control: stall.GiveUp}).DialContext,
			TLSHandshakeTimeout: 30 * time.Second, ExpectContinueTimeout: 5 * time.Second, ResponseHeaderTimeout: stall.AnswerLimit, WriteBufferSize: 128 << 10,
		},
		// Headers with secrets go to the server that was named, and to no other.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return w, nil
}

// Deliver puts what is missing: what the record says was put with the same digest and is still there with the same length, is not.
func (w *webFolder) Deliver(ctx context.Context, d Delivery, progress func(done, total int64)) (*Delivered, error) {
	items, err := d.items()
	if err != nil {
		return nil, err
	}
	delivered, err := deliver(ctx, items, progress, func(ctx context.Context, i item, progress func(int64)) (string, bool, error) {
		at := w.url.JoinPath(i.Name)
		missing, err := w.missing(ctx, at, i)
		if err == nil && missing {
			err = w.bring(ctx, at, i, progress)
		}
		return at.Redacted(), missing, err
	})
	w.client.CloseIdleConnections()
	return delivered, err
}

func recordKey(at *url.URL) string { return "http/" + at.Redacted() }

func (w *webFolder) missing(ctx context.Context, at *url.URL, i item) (bool, error) {
	var digest string
	if w.record == nil {
		return true, nil
	}
	if found, err := w.record.Get(recordKey(at), &digest); err != nil || !found || digest != i.SHA256 {
		return true, err
	}
	length, err := w.length(ctx, at)
	return length != i.Size, err
}

// bring puts an item, again if need be, and sees that it is there.
func (w *webFolder) bring(ctx context.Context, at *url.URL, i item, progress func(int64)) error {
	err := w.retry(ctx, func() error { return w.put(ctx, at, i, progress) })
	if err != nil {
		return err
	}
	length, err := w.length(ctx, at)
	switch {
	case err != nil:
		return err
	case length == absent:
		return fmt.Errorf("%s: the server took the file, and does not have it", at.Redacted())
	case length != unknown && length != i.Size:
		return fmt.Errorf("%s: the server has %d bytes of %d", at.Redacted(), length, i.Size)
	case w.record != nil:
		return w.record.Put(recordKey(at), i.SHA256)
	}
	return nil
}

func (w *webFolder) put(ctx context.Context, at *url.URL, i item, progress func(int64)) error {
	in, err := i.open()
	if err != nil {
		return err
	}
	defer in.Close()
	body := &sentBody{Reader: in, hash: sha256.New(), progress: progress, closed: make(chan struct{})}
	r, err := w.request(ctx, http.MethodPut, at, body)
	if err != nil {
		return err
	}
	if r.ContentLength = i.Size; i.Size == 0 {
		r.Body = http.NoBody
		body.Close()
	}
	r.Header.Set("Content-Type", "application/octet-stream")
	r.Header.Set("Expect", "100-continue") // a refusal comes before gigabytes of body
	digest, err := hex.DecodeString(i.SHA256)
	if err != nil {
		return err
	}
	r.Header.Set("Content-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(digest)+":") // RFC 9530
	answer, err := w.client.Do(r)
	<-body.closed // an answer may come before the body's end
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if err := accepted(at, answer); err != nil {
		return err
	}
	if sent := hex.EncodeToString(body.hash.Sum(nil)); sent != i.SHA256 {
		return i.changed(sent)
	}
	return nil
}

// sentBody hashes what is sent.
type sentBody struct {
	io.Reader
	hash     hash.Hash
	progress func(int64)
	done     int64
	once     sync.Once
	closed   chan struct{}
}

func (b *sentBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	b.hash.Write(p[:n])
	b.done += int64(n)
	b.progress(b.done)
	return n, err
}

// Close is called by the transport when it reads no more.
func (b *sentBody) Close() error {
	b.once.Do(func() { close(b.closed) })
	return nil
}

func (w *webFolder) request(ctx context.Context, method string, at *url.URL, body io.Reader) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, method, at.String(), body)
	if err != nil {
		return nil, err
	}
	for name, values := range w.header {
		r.Header[name] = values
	}
	return r, nil
}

// What length gives besides a length.
const (
	absent  = -1
	unknown = -2
)

// length asks how long a file is. Servers that answer PUT need not answer HEAD, nor say a length.
func (w *webFolder) length(ctx context.Context, at *url.URL) (length int64, err error) {
	err = w.retry(ctx, func() error {
		r, err := w.request(ctx, http.MethodHead, at, nil)
		if err != nil {
			return err
		}
		answer, err := w.client.Do(r)
		if err != nil {
			return err
		}
		answer.Body.Close()
		switch {
		case answer.StatusCode == http.StatusNotFound, answer.StatusCode == http.StatusGone:
			length = absent
		case answer.StatusCode != http.StatusOK || answer.ContentLength < 0:
			length = unknown
		default:
			length = answer.ContentLength
		}
		return nil
	})
	return length, err
}

// refusal is an answer that is no success.
type refusal struct {
	at     string
	status int
	hint   string
}

func (e *refusal) Error() string {
	return fmt.Sprintf("%s: the server answers %d %s%s", e.at, e.status, http.StatusText(e.status), e.hint)
}

func accepted(at *url.URL, answer *http.Response) error {
	if answer.StatusCode/100 == 2 {
		return nil
	}
	e := &refusal{at: at.Redacted(), status: answer.StatusCode}
	switch to, err := answer.Location(); {
	case e.status/100 == 3 && err == nil:
		e.hint = fmt.Sprintf(" and points to %s, which is not followed; name that server in url if it is the right one", to.Redacted())
	case e.status == http.StatusUnauthorized, e.status == http.StatusForbidden:
		e.hint = "; give the credentials that it wants with headerEnv"
	case e.status == http.StatusMethodNotAllowed:
		e.hint = "; it takes no PUT there"
	}
	return e
}

// retry tries again what a server or network in trouble may do the next time, with growing delays.
func (w *webFolder) retry(ctx context.Context, try func() error) error {
	delay := w.delay
	for attempt := 1; ; attempt++ {
		err := try()
		var refused *refusal
		var network *url.Error
		again := errors.As(err, &refused) && (refused.status >= 500 && refused.status != http.StatusNotImplemented || refused.status == http.StatusTooManyRequests || refused.status == http.StatusRequestTimeout) ||
			errors.As(err, &network)
		if !again || attempt == putAttempts || ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(delay/2 + rand.N(delay)):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		delay *= 2
	}
}
