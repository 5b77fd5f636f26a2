package s3_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/ingot-image/ingot/export/account"
	"github.com/ingot-image/ingot/export/internal/moto"
	"github.com/ingot-image/ingot/export/internal/s3sim"
	"github.com/ingot-image/ingot/export/record"
	"github.com/ingot-image/ingot/export/s3"
)

const MiB = 1 << 20

var web = s3.Object{Bucket: "images", Key: "ingot/web 1.vmdk", Owner: s3sim.Owner}

// random makes bytes that no compression or hole explains.
func random(size int, seed byte) []byte {
	data := make([]byte, size)
	rand.NewChaCha8([32]byte{seed}).Read(data)
	return data
}

func newClient(t testing.TB) *sdk.Client {
	t.Helper()
	cfg, err := account.Load(t.Context(), account.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s3.NewClient(cfg)
}

// start starts a server with the bucket images.
func start(t testing.TB) (*s3sim.Server, *sdk.Client) {
	server := s3sim.Start(t)
	server.CreateBucket("images")
	server.Setenv(t)
	return server, newClient(t)
}

func book(t testing.TB) *record.Book {
	t.Helper()
	b, err := record.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func mustHold(t *testing.T, server *s3sim.Server, o s3.Object, want []byte) {
	t.Helper()
	reader := server.Object(o.Bucket, o.Key)
	if reader == nil {
		t.Fatalf("%s is not there", o)
	}
	if got, err := io.ReadAll(reader); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%s holds %d other bytes, want %d (%v)", o, len(got), len(want), err)
	}
}

// readsOf counts the bytes that are read of a source.
type readsOf struct {
	io.ReaderAt
	n atomic.Int64
}

func (r *readsOf) ReadAt(p []byte, at int64) (int, error) {
	n, err := r.ReaderAt.ReadAt(p, at)
	r.n.Add(int64(n))
	return n, err
}

func TestUpload(t *testing.T) {
	for _, test := range []struct {
		name        string
		size, parts int
	}{
		{"empty", 0, 1}, {"one byte", 1, 1}, {"as large as a part", 5 * MiB, 1}, {"one byte more", 5*MiB + 1, 2}, {"several parts", 23 * MiB, 5},
	} {
		t.Run(test.name, func(t *testing.T) {
			server, client := start(t)
			data := random(test.size, 1)
			source := &readsOf{ReaderAt: bytes.NewReader(data)}
			var done, total int64
			u := s3.Uploader{Client: client, PartSize: 5 * MiB, Parallel: 3, Progress: func(d, n int64) { done, total = d, n }}
			o := web
			o.Tags, o.ContentType, o.KMSKeyID = map[string]string{"ingot:image": "web & more"}, "application/x-vmdk", "alias/images"
			stored, err := u.Upload(t.Context(), o, source, int64(test.size), "sha256:1")
			if err != nil {
				t.Fatal(err)
			}
			if stored.Parts != test.parts || stored.SentParts != test.parts || stored.ETag == "" {
				t.Errorf("stored %+v, want %d parts", stored, test.parts)
			}
			mustHold(t, server, o, data)
			if done != int64(test.size) || test.size > 0 && total != int64(test.size) {
				t.Errorf("progress ended at %d of %d", done, total)
			}
			if n := source.n.Load(); n > 2*int64(test.size) {
				t.Errorf("read %d bytes of %d: more than once to hash and once to send", n, test.size)
			}
			h := server.Metadata(o.Bucket, o.Key)
			if h.Get("X-Amz-Tagging") != "ingot%3Aimage=web+%26+more" || h.Get("Content-Type") != o.ContentType || h.Get("X-Amz-Server-Side-Encryption") != "aws:kms" {
				t.Errorf("the object's headers are %v", h)
			}
			// What is there is not sent again, whoever asks.
			server.Forget()
			stored, err = s3.Uploader{Client: client, PartSize: 5 * MiB}.Upload(t.Context(), o, source, int64(test.size), "sha256:1")
			if err != nil || stored.SentParts != 0 || stored.Parts != test.parts || len(server.Requests()) != 1 {
				t.Errorf("a second time: %+v, %v, %v", stored, err, server.Requests())
			}
		})
	}
}

func TestPartSizes(t *testing.T) {
	// 5 TB would be 298,024 parts of 16 MiB: the size is chosen before a byte is read.
	_, client := start(t)
	const size = 5 << 40
	b := book(t)
	u := s3.Uploader{Client: client, Record: b}
	if _, err := u.Upload(t.Context(), web, unreadable{}, size, "sha256:1"); !errors.Is(err, errUnreadable) {
		t.Fatalf("Upload = %v", err)
	}
	var session struct{ PartSize int64 }
	if found, err := b.Get("s3/images/"+web.Key, &session); !found || err != nil {
		t.Fatal(found, err)
	}
	if parts := (size + session.PartSize - 1) / session.PartSize; parts > 10_000 || parts < 9_900 {
		t.Errorf("%d parts of %d bytes", parts, session.PartSize)
	}
}

var errUnreadable = errors.New("a bad sector")

type unreadable struct{}

func (unreadable) ReadAt([]byte, int64) (int, error) { return 0, errUnreadable }

func TestShortSource(t *testing.T) {
	server, client := start(t)
	u := s3.Uploader{Client: client, PartSize: 5 * MiB}
	if _, err := u.Upload(t.Context(), web, bytes.NewReader(make([]byte, 12*MiB)), 16*MiB, "sha256:1"); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Upload = %v", err)
	}
	if server.Object(web.Bucket, web.Key) != nil {
		t.Error("a source that ended early became an object")
	}
}

// Nothing that a network does may reach the user, and nothing is sent twice that arrived.
func TestFaults(t *testing.T) {
	for _, test := range []struct {
		name   string
		faults []s3sim.Fault
		parts  int // that arrive
	}{
		{"throttled", []s3sim.Fault{{Action: "UploadPart", Nth: 1, Status: 503, Code: "SlowDown"}, {Action: "CompleteMultipartUpload", Nth: 1, Status: 503, Code: "SlowDown"}}, 4},
		{"server errors", []s3sim.Fault{{Action: "CreateMultipartUpload", Nth: 1, Status: 500, Code: "InternalError"}, {Action: "UploadPart", Nth: 2, Status: 502, Code: "BadGateway"}}, 4},
		{"connections cut in the middle of parts", []s3sim.Fault{{Action: "UploadPart", Nth: 1, CutAfter: 1 * MiB}, {Action: "UploadPart", Nth: 3, CutAfter: 4 * MiB}}, 4},
		{"the answer to a part is lost", []s3sim.Fault{{Action: "UploadPart", Nth: 2, LoseAnswer: true}}, 4},
		{"slow", []s3sim.Fault{{Action: "UploadPart", Wait: 200 * time.Millisecond}}, 4},
		{"the answer to the end is lost", []s3sim.Fault{{Action: "CompleteMultipartUpload", Nth: 1, LoseAnswer: true}}, 4},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := s3sim.Start(t)
			server.CreateBucket("images")
			client := s3.NewClient(server.Config())
			for _, f := range test.faults {
				server.Break(f)
			}
			data := random(18*MiB, 2)
			var most int64
			u := s3.Uploader{Client: client, Record: book(t), PartSize: 5 * MiB, Parallel: 2, Progress: func(done, _ int64) { most = max(most, done) }}
			if _, err := u.Upload(t.Context(), web, bytes.NewReader(data), int64(len(data)), "sha256:1"); err != nil {
				t.Fatal(err)
			}
			mustHold(t, server, web, data)
			if n := server.Count("UploadPart"); n != test.parts {
				t.Errorf("%d parts arrived, want %d", n, test.parts)
			}
			if most != int64(len(data)) {
				t.Errorf("progress went up to %d of %d", most, len(data))
			}
			if n := server.Uploads(); n != 0 {
				t.Errorf("%d uploads are unfinished", n)
			}
		})
	}
}

// interrupted uploads until so many parts are there, one after another.
func interrupted(t *testing.T, server *s3sim.Server, u s3.Uploader, data []byte, identity string, after int) {
	t.Helper()
	server.Break(s3sim.Fault{Action: "UploadPart", Nth: after + 1, Wait: time.Hour})
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	stop := errors.New("interrupted")
	u.Parallel = 1
	ended := make(chan error, 1)
	go func() {
		_, err := u.Upload(ctx, web, bytes.NewReader(data), int64(len(data)), identity)
		ended <- err
	}()
	for deadline := time.Now().Add(time.Minute); server.Count("UploadPart") < after && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
	}
	cancel(stop)
	if err := <-ended; !errors.Is(err, stop) {
		t.Fatalf("Upload = %v", err)
	}
	server.Mend()
	if n := server.Count("UploadPart"); n != after {
		t.Fatalf("%d parts had arrived, want %d", n, after)
	}
	server.Forget()
}

func TestResume(t *testing.T) {
	data := random(28*MiB, 3)
	for _, test := range []struct {
		name     string
		meantime func(*s3sim.Server, *sdk.Client) error
		identity string
		sent     int
		aborted  int
	}{
		{"the rest", nil, "sha256:1", 3, 0},
		{"a part is damaged", func(s *s3sim.Server, _ *sdk.Client) error { s.Corrupt(web.Key, 2); return nil }, "sha256:1", 4, 0},
		{"another image now", nil, "sha256:2", 6, 1},
		{"the upload has expired", func(s *s3sim.Server, c *sdk.Client) error {
			_, err := s3.AbortStale(t.Context(), c, nil, s3.Object{Bucket: "images"}, time.Now().Add(time.Hour))
			s.Forget()
			return err
		}, "sha256:1", 6, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			server, client := start(t)
			u := s3.Uploader{Client: client, Record: book(t), PartSize: 5 * MiB}
			interrupted(t, server, u, data, "sha256:1", 3)
			if test.meantime != nil {
				if err := test.meantime(server, client); err != nil {
					t.Fatal(err)
				}
			}
			stored, err := u.Upload(t.Context(), web, bytes.NewReader(data), int64(len(data)), test.identity)
			if err != nil {
				t.Fatal(err)
			}
			mustHold(t, server, web, data)
			if n := server.Count("UploadPart"); n != test.sent || stored.SentParts != test.sent || stored.Parts != 6 {
				t.Errorf("%d parts were sent, want %d (%+v)", n, test.sent, stored)
			}
			if n := server.Count("AbortMultipartUpload"); n != test.aborted || server.Uploads() != 0 {
				t.Errorf("%d uploads were aborted, want %d; %d are unfinished", n, test.aborted, server.Uploads())
			}
		})
	}
}

func TestAbort(t *testing.T) {
	server, client := start(t)
	u := s3.Uploader{Client: client, Record: book(t), PartSize: 5 * MiB}
	interrupted(t, server, u, random(12*MiB, 4), "sha256:1", 1)
	// One that can be finished is left where it is, whatever its age.
	if stale, err := s3.AbortStale(t.Context(), client, u.Record, s3.Object{Bucket: "images", Key: "ingot/"}, time.Now().Add(time.Hour)); err != nil || len(stale) != 0 {
		t.Errorf("AbortStale = %v, %v", stale, err)
	}
	for range 2 {
		if err := u.Abort(t.Context(), web); err != nil {
			t.Fatal(err)
		}
	}
	if server.Uploads() != 0 || server.Count("AbortMultipartUpload") != 1 {
		t.Errorf("%d uploads are unfinished after %v", server.Uploads(), server.Requests())
	}
}

func TestDelete(t *testing.T) {
	server, client := start(t)
	if _, err := (s3.Uploader{Client: client}).Upload(t.Context(), web, strings.NewReader("web"), 3, ""); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s3.Delete(t.Context(), client, web); err != nil {
			t.Fatal(err)
		}
	}
	if server.Object(web.Bucket, web.Key) != nil {
		t.Error("it is still there")
	}
}

func TestRefused(t *testing.T) {
	_, client := start(t)
	o := web
	o.Bucket = "nobody's"
	_, err := s3.Uploader{Client: client}.Upload(t.Context(), o, strings.NewReader("web"), 3, "")
	if account.Code(err) != "NoSuchBucket" || !strings.Contains(err.Error(), o.String()) {
		t.Errorf("Upload = %v", err)
	}
	o = web
	o.Owner = "210987654321"
	if _, err = (s3.Uploader{Client: client}).Upload(t.Context(), o, strings.NewReader("web"), 3, ""); account.Code(err) != "AccessDenied" {
		t.Errorf("Upload to somebody else's bucket = %v", err)
	}
}

// moto is a server that tells no checksums of parts: they are recognised by their MD5.
func TestMoto(t *testing.T) {
	server := moto.Start(t)
	for name, value := range map[string]string{"AWS_ENDPOINT_URL": server.URL, "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "moto", "AWS_SECRET_ACCESS_KEY": "moto", "AWS_CONFIG_FILE": "/dev/null"} {
		t.Setenv(name, value)
	}
	client := newClient(t)
	if _, err := client.CreateBucket(t.Context(), &sdk.CreateBucketInput{Bucket: &web.Bucket}); err != nil {
		t.Fatal(err)
	}
	data := random(23*MiB, 5)
	o := s3.Object{Bucket: web.Bucket, Key: web.Key, Tags: map[string]string{"a": "b"}}
	u := s3.Uploader{Client: client, Record: book(t), PartSize: 5 * MiB, Parallel: 1}
	ctx, cancel := context.WithCancel(t.Context())
	u.Progress = func(done, _ int64) {
		if done > 12*MiB {
			cancel()
		}
	}
	if _, err := u.Upload(ctx, o, bytes.NewReader(data), int64(len(data)), "sha256:1"); !errors.Is(err, context.Canceled) {
		t.Fatalf("Upload = %v", err)
	}
	u.Progress = nil
	stored, err := u.Upload(t.Context(), o, bytes.NewReader(data), int64(len(data)), "sha256:1")
	if err != nil || stored.Parts != 5 || stored.SentParts != 3 {
		t.Fatalf("Upload = %+v, %v", stored, err)
	}
	got, err := client.GetObject(t.Context(), &sdk.GetObjectInput{Bucket: &o.Bucket, Key: &o.Key})
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	if back, err := io.ReadAll(got.Body); err != nil || !bytes.Equal(back, data) {
		t.Errorf("%d other bytes came back (%v)", len(back), err)
	}
	if stored, err = u.Upload(t.Context(), o, bytes.NewReader(data), int64(len(data)), "sha256:1"); err != nil || stored.SentParts != 0 {
		t.Errorf("again: %+v, %v", stored, err)
	}
}
