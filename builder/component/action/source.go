package action

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"
)

// source is a file that an action reads. Some files have no end and block: /proc/kmsg, a trace pipe. They are opened without blocking, so
// that a read waits where a deadline ends it: when ctx ends, so does the read, with the cause of ctx.
type source struct {
	file *os.File
	ctx  context.Context
	stop func() bool
}

func openSource(ctx context.Context, path string) (*source, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|openNonblocking, 0)
	if err != nil {
		return nil, err
	}
	return newSource(ctx, file), nil
}

func openSourceIn(ctx context.Context, folder *os.Root, name string) (*source, error) {
	file, err := folder.OpenFile(name, os.O_RDONLY|openNonblocking, 0)
	if err != nil {
		return nil, err
	}
	return newSource(ctx, file), nil
}

func newSource(ctx context.Context, file *os.File) *source {
	stop := context.AfterFunc(ctx, func() {
		file.SetReadDeadline(time.Now()) // fails for files whose reads do not wait
	})
	return &source{file, ctx, stop}
}

// Read implements [io.Reader].
func (s *source) Read(p []byte) (int, error) {
	if s.ctx.Err() != nil {
		return 0, context.Cause(s.ctx)
	}
	n, err := s.file.Read(p)
	return n, s.cause(err)
}

// cause is why a read of the file failed.
func (s *source) cause(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return context.Cause(s.ctx)
	}
	return err
}

// Stat describes the file.
func (s *source) Stat() (fs.FileInfo, error) { return s.file.Stat() }

// Close closes the file.
func (s *source) Close() error {
	s.stop()
	return s.file.Close()
}
