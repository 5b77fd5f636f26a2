package compress

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestExpandCancelled cancels the expansion of files that are read in one piece, and hold much.
func TestExpandCancelled(t *testing.T) {
	why := errors.New("enough")
	for format, list := range packers {
		t.Run(string(format), func(t *testing.T) {
			file := pack(t, list[0], make([]byte, 64*mib))
			out, err := os.Create(filepath.Join(t.TempDir(), "out"))
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			ctx, cancel := context.WithCancelCause(t.Context())
			_, err = Expand(ctx, bytes.NewReader(file), format, out, 1<<30, func(done int64) {
				if done > 4*mib {
					t.Fatalf("%d bytes were expanded", done)
				}
				cancel(why)
			})
			if !errors.Is(err, why) {
				t.Errorf("cancelled: %v", err)
			}
		})
	}
}
