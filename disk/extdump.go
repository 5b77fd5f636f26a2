package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// Dump copies a file out of the image into a new file at hostPath, which appears only when it is complete. A file longer than
// limit bytes is refused.
func (e *Ext) Dump(ctx context.Context, name, hostPath string, limit int64) error {
	out, err := Create(hostPath)
	if err != nil {
		return err
	}
	defer out.Close()
	if err := e.copyTo(ctx, out, name, limit); err != nil {
		return err
	}
	return out.Commit()
}

func (e *Ext) copyTo(ctx context.Context, w io.Writer, name string, limit int64) error {
	f, err := e.Open(name)
	if err != nil {
		return err
	}
	x, ok := f.(*extFile)
	if !ok {
		return &fs.PathError{Op: "read", Path: name, Err: errors.New("is a folder")}
	}
	if x.Size() > limit {
		return &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("%d bytes long, the limit is %d", x.Size(), limit)}
	}
	buf := make([]byte, 256<<10)
	for off := int64(0); off < x.Size(); {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		n, err := x.ReadAt(buf[:min(int64(len(buf)), x.Size()-off)], off)
		if err != nil && !(errors.Is(err, io.EOF) && off+int64(n) == x.Size()) {
			return &fs.PathError{Op: "read", Path: name, Err: err}
		}
		if _, err := w.Write(buf[:n]); err != nil {
			return err
		}
		off += int64(n)
	}
	return nil
}
