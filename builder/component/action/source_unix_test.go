//go:build unix

package action

import (
	"context"
	"errors"
	"io"
	"os"
	"testing"
	"time"
)

// A read that nothing comes for ends when the step does.
func TestSourceBlocks(t *testing.T) {
	why := errors.New("timed out")
	for name, read := range map[string]func(ctx context.Context, s *source) error{
		"read": func(_ context.Context, s *source) error {
			_, err := io.ReadAll(s)
			return err
		},
		"copy": func(ctx context.Context, s *source) error {
			to, err := os.Create(t.TempDir() + "/copy")
			if err != nil {
				return err
			}
			defer to.Close()
			return copyContent(ctx, to, s)
		},
	} {
		t.Run(name, func(t *testing.T) {
			from, to, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer to.Close()
			if _, err := to.WriteString("begin"); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			s := newSource(ctx, from)
			defer s.Close()
			time.AfterFunc(50*time.Millisecond, func() { cancel(why) })
			time.AfterFunc(10*time.Second, func() { to.Close() })
			if err := read(ctx, s); !errors.Is(err, why) {
				t.Errorf("error %v, want %v", err, why)
			}
			if err := read(ctx, s); !errors.Is(err, why) {
				t.Errorf("error %v of the next read, want %v", err, why)
			}
		})
	}
}
