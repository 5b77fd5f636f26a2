package agent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// PutFile is a file or folder to make in the guest.
type PutFile struct {
	Path   string      `json:"path"` // absolute; folders above it are made with mode 0755
	Mode   fs.FileMode `json:"mode"` // permission bits only
	Folder bool        `json:"folder,omitempty"`
	Size   int64       `json:"size,omitempty"` // of the file, in bytes
}

// MaxPut bounds the size of a file given to Put, in bytes.
const MaxPut = 64 << 30

// Put makes a file in the guest with file.Size bytes of content, replacing one that is there, or a folder, which may exist. The file
// appears whole or not at all. Content that ends early is an error.
func (c *Client) Put(ctx context.Context, file PutFile, content io.Reader) error {
	if err := c.put(ctx, file, content); err != nil {
		return fmt.Errorf("put %s into the guest: %w", file.Path, err)
	}
	return nil
}

func (c *Client) put(ctx context.Context, file PutFile, content io.Reader) error {
	if file.Size < 0 || file.Size > MaxPut {
		return fmt.Errorf("%d bytes, more than the limit of %d", file.Size, int64(MaxPut))
	}
	stream, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer stream.Close()
	defer endWith(ctx, stream)()
	if err := writeLine(stream, request{Put: &file}); err != nil {
		return cutOff(ctx, err)
	}
	source := &sourceErrors{r: content}
	if _, err := io.CopyN(stream, source, file.Size); err != nil {
		if source.err != nil {
			return source.err
		}
		return cutOff(ctx, err)
	}
	var resp response
	if err := readLine(bufio.NewReader(stream), &resp); err != nil {
		return cutOff(ctx, err)
	}
	if resp.Error != "" {
		return errors.New(resp.Error)
	}
	return nil
}

// sourceErrors tells the errors of what is read from those of what is written to.
type sourceErrors struct {
	r   io.Reader
	err error
}

func (s *sourceErrors) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err == io.EOF {
		s.err = io.ErrUnexpectedEOF // asked for more than there was
	} else {
		s.err = err
	}
	return n, err
}

// receiveFile is the guest's side of Put.
func receiveFile(file PutFile, r io.Reader, out *answers) error {
	err := func() error {
		if !filepath.IsAbs(file.Path) {
			return fmt.Errorf("%s is not an absolute path", file.Path)
		}
		if err := os.MkdirAll(filepath.Dir(file.Path), 0o755); err != nil {
			return err
		}
		if file.Folder {
			if err := os.MkdirAll(file.Path, 0o755); err != nil {
				return err
			}
			return os.Chmod(file.Path, file.Mode.Perm())
		}
		return writeFile(file, r)
	}()
	if err != nil {
		out.send(response{Error: err.Error()})
		// What the host still sends must have somewhere to go, or it would never come to read the answer.
		io.Copy(io.Discard, r)
		return nil
	}
	return out.send(response{Done: true})
}

func writeFile(file PutFile, r io.Reader) error {
	f, err := os.CreateTemp(filepath.Dir(file.Path), ".ingot-put-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := io.CopyN(f, r, file.Size); err != nil {
		return err
	}
	if err := errors.Join(f.Chmod(file.Mode.Perm()), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file.Path)
}
