package builder

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ingot-image/ingot/builder/agent"
	"github.com/ingot-image/ingot/builder/copyout"
)

// TestCopyFromSilentGuest wants a copy to end when the guest gives no sign of life, whether it sends nothing or ever a little more.
func TestCopyFromSilentGuest(t *testing.T) {
	silent := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	lives := func(context.Context) error { return nil }
	header := &tar.Header{Typeflag: tar.TypeReg, Name: ".", Mode: 0o644, Size: 1 << 20}
	type send = func(context.Context, io.Writer, func(agent.Skipped)) error
	var hangs send = func(ctx context.Context, w io.Writer, _ func(agent.Skipped)) error {
		tar.NewWriter(w).WriteHeader(header)
		return silent(ctx)
	}
	var trickles send = func(ctx context.Context, w io.Writer, _ func(agent.Skipped)) error {
		tar.NewWriter(w).WriteHeader(header)
		for ctx.Err() == nil {
			if _, err := w.Write([]byte{0}); err != nil {
				return err
			}
			time.Sleep(time.Millisecond)
		}
		return ctx.Err()
	}
	refused := errors.New("no such file")
	var refuses send = func(context.Context, io.Writer, func(agent.Skipped)) error { return refused }
	var slow send = func(_ context.Context, w io.Writer, skipped func(agent.Skipped)) error {
		archive := tar.NewWriter(w)
		skipped(agent.Skipped{Path: "/dev/null", Reason: "a device"})
		err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: ".", Mode: 0o644, Size: 3})
		time.Sleep(200 * time.Millisecond) // longer than the limit of a sign of life
		_, writeErr := io.WriteString(archive, "abc")
		return errors.Join(err, writeErr, archive.Close())
	}
	for _, c := range []struct {
		name  string
		tar   send
		alive func(context.Context) error
		want  error
	}{
		{"hangs", hangs, silent, errNoAnswer},
		{"trickles", trickles, silent, errNoAnswer},
		{"refuses", refuses, lives, refused},
		{"is slow", slow, lives, nil},
	} {
		dir := t.TempDir()
		to, err := copyout.To(filepath.Join(dir, "copy"), "/file")
		if err != nil {
			t.Fatal(err)
		}
		copied := guestCopy{tar: c.tar, alive: c.alive, every: 5 * time.Millisecond, limit: 50 * time.Millisecond, to: to}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		err = copied.run(ctx)
		cancel()
		if !errors.Is(err, c.want) || c.want == nil && err != nil {
			t.Errorf("a guest that %s: the error is %v, want %v", c.name, err, c.want)
		}
		data, _ := os.ReadFile(filepath.Join(dir, "copy"))
		left, err := os.ReadDir(dir)
		switch {
		case err != nil:
			t.Error(err)
		case c.want != nil && len(left) > 0:
			t.Errorf("a guest that %s leaves %v", c.name, left)
		case c.want == nil && (string(data) != "abc" || copied.summary.Files != 1 || len(copied.skipped.Skipped) != 1):
			t.Errorf("copied %q, %+v, %+v", data, copied.summary, copied.skipped)
		}
	}
}
