package inspect

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/ingot-image/ingot/disk/compress"
	"github.com/ingot-image/ingot/disk/image"
)

// Bounds of what is read of initial RAM disks.
const (
	maxInitrd      = 1 << 30 // bytes of one, as a file
	maxInitrdTotal = 1 << 30 // bytes of all, expanded
	maxInitrdFiles = 200000
	maxInitrdName  = 4096
)

var errBudget = errors.New("it is too large")

// readInitrd lists the modules in an initial RAM disk: cpio archives one behind the other, each compressed or not, with zeros between them
// (Linux Documentation/driver-api/early-userspace/buffer-format.rst). budget is how many bytes may still be expanded.
func (r *Root) readInitrd(name string, budget *int64) (*Initrd, map[string]bool) {
	i := &Initrd{Path: "/" + name}
	inside := map[string]bool{}
	f, err := r.Open(name)
	if err != nil {
		i.Problem = cause(err).Error()
		return i, inside
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil {
		i.Size = st.Size()
	}
	if i.Size > maxInitrd {
		i.Problem = errBudget.Error()
		return i, inside
	}
	in := &counted{r: bufio.NewReaderSize(f, 256<<10)}
	files := 0
	err = func() error {
		for part := 0; part < 16; part++ {
			if err := in.skipZeros(); err != nil {
				if errors.Is(err, io.EOF) && part > 0 {
					return nil
				}
				return err
			}
			magic, _ := in.r.Peek(6)
			if bytes.HasPrefix(magic, []byte("07070")) {
				if err := readCPIO(&limited{in, budget, r.take}, &files, func(name string) {
					i.module(name, inside)
				}); err != nil {
					return err
				}
				if i.Compression == "" {
					i.Compression = "none"
				}
				continue
			}
			kind, expanded, err := expandInitrd(in.r, magic)
			if kind != "" {
				i.Compression = kind
			}
			if err != nil {
				return err
			}
			defer expanded.Close()
			// What is behind a compressed archive is not looked for: the kernel allows it, and nobody does it.
			return readCPIO(&limited{expanded, budget, r.take}, &files, func(name string) { i.module(name, inside) })
		}
		return errors.New("more than 16 archives")
	}()
	if err != nil {
		i.Problem = err.Error()
	}
	return i, inside
}

func (i *Initrd) module(name string, inside map[string]bool) {
	if m := moduleName(name); m != "" {
		i.Modules++
		if len(inside) < 1<<16 {
			inside[m] = true
		}
	}
}

// expandInitrd expands what comes next.
func expandInitrd(r io.Reader, magic []byte) (kind string, out io.ReadCloser, err error) {
	has := func(m string) bool { return bytes.HasPrefix(magic, []byte(m)) }
	for m, format := range map[string]image.Format{"\x1f\x8b": image.Gzip, "\x28\xb5\x2f\xfd": image.Zstd, "BZh": image.Bzip2, "\xfd7zXZ\x00": image.XZ} {
		if has(m) {
			out, err := compress.NewReader(r, format)
			return string(format), out, err
		}
	}
	switch {
	case has("\x02\x21\x4c\x18"), has("\x04\x22\x4d\x18"):
		out, err := newLZ4(r)
		return "lz4", out, err
	case has("\x5d\x00\x00"):
		kind = "lzma"
	case has("\x89LZO"):
		kind = "lzo"
	default:
		return "", nil, fmt.Errorf("it begins with %x, which is no archive of a kind that is known", magic)
	}
	return kind, nil, fmt.Errorf("it is compressed by %s, which is not expanded here", kind)
}

// readCPIO calls f for the name of each file in an archive of the kind "newc": Linux Documentation/driver-api/early-userspace/buffer-format.rst.
func readCPIO(r io.Reader, files *int, f func(name string)) error {
	header := make([]byte, 110)
	for {
		if _, err := io.ReadFull(r, header); err != nil {
			return ended(err)
		}
		if !bytes.HasPrefix(header, []byte("070701")) && !bytes.HasPrefix(header, []byte("070702")) {
			return errors.New("a header of the archive is damaged")
		}
		field := func(i int) (int64, error) {
			n, err := strconv.ParseUint(string(header[6+8*i:14+8*i]), 16, 32)
			return int64(n), err
		}
		size, err1 := field(6)
		length, err2 := field(11)
		if err1 != nil || err2 != nil || length < 1 || length > maxInitrdName {
			return errors.New("a header of the archive is damaged")
		}
		name := make([]byte, length+pad(110+length))
		if _, err := io.ReadFull(r, name); err != nil {
			return ended(err)
		}
		text := string(bytes.TrimRight(name[:length], "\x00"))
		if _, err := io.CopyN(io.Discard, r, size+pad(size)); err != nil {
			return ended(err)
		}
		if text == "TRAILER!!!" {
			return nil
		}
		if *files++; *files > maxInitrdFiles {
			return errors.New("it holds too many files")
		}
		f(text)
	}
}

// ended tells an early end from what is wrong with what is compressed.
func ended(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the archive is cut off")
	}
	return err
}

func pad(n int64) int64 { return -n & 3 }

// counted is a reader of a file that can be looked ahead in.
type counted struct{ r *bufio.Reader }

func (c *counted) Read(p []byte) (int, error) { return c.r.Read(p) }

func (c *counted) skipZeros() error {
	for {
		b, err := c.r.Peek(4096)
		if len(b) == 0 {
			return err
		}
		n := len(b) - len(bytes.TrimLeft(b, "\x00"))
		if _, err := c.r.Discard(n); err != nil {
			return err
		}
		if n < len(b) {
			return nil
		}
	}
}

// limited ends with an error when all that may be expanded was.
type limited struct {
	r      io.Reader
	budget *int64
	take   func(int) error
}

func (l *limited) Read(p []byte) (int, error) {
	if *l.budget <= 0 {
		return 0, errBudget
	}
	if err := l.take(len(p)); err != nil {
		return 0, err
	}
	n, err := l.r.Read(p[:min(int64(len(p)), *l.budget)])
	*l.budget -= int64(n)
	return n, err
}
