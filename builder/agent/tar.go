package agent

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// tarRequest asks for a file or a folder.
type tarRequest struct {
	Path string `json:"path"`
}

// Skipped is something in a folder that Tar leaves out, or cannot give as it is.
type Skipped struct {
	Path   string `json:"path"` // relative to the folder
	Reason string `json:"reason"`
}

// Tar writes a file of the guest, or a folder with all that is in it, to w as a tar archive (POSIX.1-2001, pax). Names in it are relative to
// path, which must be absolute and is itself the first entry, with the name "."; a link at path is followed, links below are entries. The
// agent sends no device, FIFO or socket and nothing that a kernel makes up (/proc, /sys), of which it tells skipped; but what comes is the
// guest's word, and must be read as hostile. The guest needs no tar program.
func (c *Client) Tar(ctx context.Context, path string, w io.Writer, skipped func(Skipped)) error {
	if err := c.tar(ctx, path, w, skipped); err != nil {
		return fmt.Errorf("copy %s out of the guest: %w", path, err)
	}
	return nil
}

func (c *Client) tar(ctx context.Context, path string, w io.Writer, skipped func(Skipped)) error {
	stream, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer stream.Close()
	defer endWith(ctx, stream)()
	if err := writeLine(stream, request{Tar: &tarRequest{Path: path}}); err != nil {
		return cutOff(ctx, err)
	}
	in := &frameReader{r: bufio.NewReaderSize(stream, 64<<10)}
	for {
		kind, content, err := in.next()
		if err != nil {
			return cutOff(ctx, err)
		}
		switch kind {
		case frameStdout:
			if _, err := w.Write(content); err != nil {
				return err
			}
		case frameAnswer:
			var resp response
			if err := json.Unmarshal(content, &resp); err != nil {
				return cutOff(ctx, err)
			}
			switch {
			case resp.Error != "":
				return errors.New(resp.Error)
			case resp.Done:
				return nil
			case resp.Skipped != nil && skipped != nil:
				skipped(*resp.Skipped)
			}
		default:
			return errGuestFrame
		}
	}
}

// maxUnsized bounds a file given by its name that has content but no size, as those in /proc, in bytes.
const maxUnsized = 16 << 20

// sendTar is the guest's side of Tar.
func sendTar(ctx context.Context, req tarRequest, w io.Writer) error {
	frames := &frameWriter{w: w}
	buffered := bufio.NewWriterSize(outputFrames{frames, frameStdout}, 256<<10)
	a := &archive{tar: tar.NewWriter(buffered), frames: frames}
	err := a.path(ctx, req.Path)
	if err == nil {
		err = errors.Join(a.tar.Close(), buffered.Flush())
	}
	if err != nil {
		return frames.answer(response{Error: err.Error()})
	}
	return frames.answer(response{Done: true})
}

// archive writes the archive.
type archive struct {
	tar    *tar.Writer
	frames *frameWriter
}

func (a *archive) path(ctx context.Context, path string) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("%s is not an absolute path", path)
	}
	top, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	return filepath.WalkDir(top, func(path string, _ fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		below, relErr := filepath.Rel(top, path)
		if relErr != nil {
			return relErr
		}
		if err != nil {
			if path == top {
				return err
			}
			return a.skip(below, err.Error())
		}
		return a.entry(path, filepath.ToSlash(below))
	})
}

func (a *archive) skip(name, reason string) error {
	return a.frames.answer(response{Skipped: &Skipped{Path: name, Reason: reason}})
}

// entry writes one entry. What cannot be read is skipped, unless it is what was asked for.
func (a *archive) entry(path, name string) error {
	top := name == "."
	info, err := os.Lstat(path)
	if err != nil {
		if top {
			return err
		}
		return a.skip(name, err.Error())
	}
	header := &tar.Header{Name: name, Mode: int64(info.Mode().Perm()), ModTime: info.ModTime(), Format: tar.FormatPAX}
	switch mode := info.Mode(); {
	case mode.IsDir():
		if !top && madeUp(path) {
			if err := a.skip(name, "the kernel makes up what is in it"); err != nil {
				return err
			}
			return fs.SkipDir
		}
		header.Typeflag = tar.TypeDir
		return a.tar.WriteHeader(header)
	case mode.IsRegular():
		return a.file(path, header)
	case mode&fs.ModeSymlink != 0:
		header.Typeflag = tar.TypeSymlink
		if header.Linkname, err = os.Readlink(path); err != nil {
			return a.skip(name, err.Error())
		}
		return a.tar.WriteHeader(header)
	}
	if top {
		return errors.New("neither a file nor a folder")
	}
	return a.skip(name, "neither a file, a folder nor a link")
}

// file writes a regular file, as large as it is now: a log may grow meanwhile.
func (a *archive) file(path string, header *tar.Header) error {
	top := header.Name == "."
	f, err := os.Open(path)
	if err != nil {
		if top {
			return err
		}
		return a.skip(header.Name, err.Error())
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	var content io.Reader = f
	header.Typeflag, header.Size = tar.TypeReg, info.Size()
	if top && header.Size == 0 {
		data, err := io.ReadAll(io.LimitReader(f, maxUnsized))
		if err != nil {
			return err
		}
		content, header.Size = bytes.NewReader(data), int64(len(data))
	}
	if err := a.tar.WriteHeader(header); err != nil {
		return err
	}
	n, err := io.CopyN(a.tar, content, header.Size)
	if n == header.Size {
		return nil
	}
	if _, padErr := io.CopyN(a.tar, zeros{}, header.Size-n); padErr != nil {
		return padErr
	}
	reason := "it became shorter while it was read, and ends with zeros"
	if err != io.EOF {
		reason = fmt.Sprintf("it cannot be read from byte %d on, and has zeros there: %v", n, err)
	}
	return a.skip(header.Name, reason)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
