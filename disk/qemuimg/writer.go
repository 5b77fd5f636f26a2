package qemuimg

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/ingot-image/ingot/disk/image"
	"github.com/ingot-image/ingot/disk/nbd"
	"github.com/ingot-image/ingot/disk/tool"
)

// clusterSize is that of the qcow2 images, in bytes; in VHDX it is only the unit in which zeros are left out.
const clusterSize = 64 << 10

// depth is how many writes may be on their way. QEMU works on 16 of a connection at once.
const depth = 16

// Writer is an [image.Writer] that hands the disk over to QEMU. Close it after use.
type Writer struct {
	ctx     context.Context
	cancel  context.CancelFunc
	file    *os.File
	format  image.Format
	size    int64 // of the disk
	made    int64 // what QEMU makes of it: whole clusters, if it compresses
	process *tool.Process
	client  *nbd.Client
	content [2]xxhash.Digest // of what is written, for VHDX's identifiers
	closing sync.Once
}

// kind is how QEMU makes an image of some format and opens it.
type kind struct {
	driver, options string
	compress        bool
}

func kindOf(f image.Format) (kind, error) {
	switch f {
	case image.Qcow2:
		return kind{"qcow2", "compat=1.1,lazy_refcounts=off,cluster_size=64k", false}, nil
	case image.Qcow2Zstd:
		return kind{"qcow2", "compat=1.1,lazy_refcounts=off,cluster_size=64k,compression_type=zstd", true}, nil
	case image.VHDX:
		return kind{"vhdx", "subformat=dynamic", false}, nil
	}
	return kind{}, fmt.Errorf("QEMU is not used to write %s", f)
}

// NewWriter makes an image of a disk of size bytes, a multiple of 512, in an empty file that is open for reading and writing. Its
// name is never used. QEMU has no levels of compression, so the level changes nothing.
//
// Errors, also those of the methods: [tool.MissingError], [tool.Error], [nbd.ServerError], which is a [syscall.Errno], or ctx's cause. When ctx ends so
// does QEMU, at any time until Finish has returned.
func NewWriter(ctx context.Context, f *os.File, format image.Format, size int64, _ image.Level) (*Writer, error) {
	w, err := newWriter(ctx, f, format, size)
	if err != nil {
		return nil, fmt.Errorf("write %s image: %w", format, err)
	}
	return w, nil
}

func newWriter(ctx context.Context, f *os.File, format image.Format, size int64) (*Writer, error) {
	k, err := kindOf(format)
	if err != nil {
		return nil, err
	}
	if size < 0 || size%image.SectorSize != 0 {
		return nil, fmt.Errorf("the disk has %d bytes, which is not a multiple of %d", size, image.SectorSize)
	}
	w := &Writer{file: f, format: format, size: size, made: size}
	if k.compress {
		w.made = (size + clusterSize - 1) / clusterSize * clusterSize // compress takes no others
	}
	err = tool.Run(ctx, tool.Command{Tool: qemuImg, Files: []*os.File{f},
		Args: []string{"create", "-q", "-f", k.driver, "-o", k.options, tool.FilePath(0), strconv.FormatInt(w.made, 10)}})
	if err != nil {
		return nil, err
	}
	for i := range w.content {
		w.content[i].Reset()
	}
	w.ctx, w.cancel = context.WithCancel(ctx)
	if err := w.connect(k); err != nil {
		w.Close()
		return nil, err
	}
	if w.client.Size() != w.made {
		w.Close()
		return nil, fmt.Errorf("QEMU made a disk of %d bytes instead of %d", w.client.Size(), w.made)
	}
	return w, nil
}

// connect starts QEMU on the image and connects to it.
func (w *Writer) connect(k kind) error {
	listener, conn, err := privateSocket()
	if err != nil {
		return fmt.Errorf("make a socket for QEMU: %w", err)
	}
	defer listener.Close()
	// Nothing waits for the disk: flushing is for who finishes the file, once.
	args := []string{"--blockdev", "driver=file,node-name=file,cache.no-flush=on,filename=" + tool.FilePath(0),
		"--blockdev", "driver=" + k.driver + ",node-name=disk,cache.no-flush=on,file=file"}
	node, inFlight := "disk", depth
	if k.compress {
		args = append(args, "--blockdev", "driver=compress,node-name=compress,cache.no-flush=on,file=disk")
		node, inFlight = "compress", 1
	}
	args = append(args, "--nbd-server", "addr.type=fd,addr.str=4,max-connections=1", "--export", "type=nbd,id=export,name=,writable=on,node-name="+node)
	w.process, err = tool.Start(w.ctx, tool.Command{Tool: daemon, Args: args, Files: []*os.File{w.file, listener}})
	if err != nil {
		conn.Close()
		return err
	}
	listener.Close() // with QEMU's own goes the connection, if it ends before it has taken it
	w.client, err = nbd.Connect(w.ctx, conn, "", inFlight)
	if err != nil {
		return w.explain(err)
	}
	return nil
}

// privateSocket makes a listening socket that nobody else can connect to, and a connection to it. It has a path only until both are there.
func privateSocket() (*os.File, net.Conn, error) {
	dir, err := os.MkdirTemp("", "ingot-nbd-") // of mode 0700
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(dir)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dir + "/s", Net: "unix"})
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	conn, err := net.Dial("unix", dir+"/s") // which waits in the queue for QEMU
	if err != nil {
		return nil, nil, err
	}
	f, err := l.File()
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return f, conn, nil
}

// endLimit is how long QEMU may take to end once it has nothing left to do, and to be found dead once the connection is.
const endLimit = 30 * time.Second

// explain finds out why QEMU does not do what it should: when it has ended, its own words say it best.
func (w *Writer) explain(err error) error {
	var answered *nbd.ServerError
	if w.process == nil || errors.As(err, &answered) || w.ctx.Err() != nil {
		return err
	}
	select {
	case <-w.process.Done():
		if ended := w.process.Wait(); ended != nil {
			return ended
		}
	case <-time.After(endLimit):
	}
	return err
}

// Encode finds what is not zero. What it returns sends that to QEMU; its error may be that of an earlier piece.
func (w *Writer) Encode(p image.Piece) (func() error, error) {
	type run struct{ start, end int }
	var runs []run
	for start := 0; start < len(p.Data); start += clusterSize {
		end := min(start+clusterSize, len(p.Data))
		if image.IsZero(p.Data[start:end]) {
			continue
		}
		if n := len(runs); n > 0 && runs[n-1].end == start && w.format != image.Qcow2Zstd {
			runs[n-1].end = end
		} else {
			runs = append(runs, run{start, end})
		}
	}
	if len(runs) == 0 {
		return nil, nil
	}
	return func() error {
		for _, r := range runs {
			data, at := p.Data[r.start:r.end], p.Start+int64(r.start)
			if at+int64(len(data)) == w.size && w.made > w.size {
				data = append(bytes.Clone(data), make([]byte, w.made-w.size)...)
			}
			if w.format == image.VHDX {
				w.remember(data, at)
			}
			if err := w.client.Write(data, at); err != nil {
				return fmt.Errorf("write %s image: %w", w.format, w.explain(err))
			}
		}
		return nil
	}, nil
}

// remember adds to the digest of the content. The two halves start with different bytes.
func (w *Writer) remember(data []byte, at int64) {
	head := binary.LittleEndian.AppendUint64(nil, uint64(at))
	for i := range w.content {
		w.content[i].Write(append(head, byte(i)))
		w.content[i].Write(data)
	}
}

// Finish waits until QEMU has written everything and has ended. The file is then complete, but not flushed to disk: that is left to the caller
// (os.File.Sync), as with qemu-img.
func (w *Writer) Finish() error {
	if err := w.finish(); err != nil {
		w.Close()
		return fmt.Errorf("write %s image: %w", w.format, err)
	}
	return nil
}

func (w *Writer) finish() error {
	if err := w.client.Flush(); err != nil {
		return w.explain(err)
	}
	w.client.Close()
	if err := w.process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-w.process.Done():
	case <-time.After(endLimit):
		return fmt.Errorf("QEMU did not end within %v though everything was written", endLimit)
	}
	if err := w.process.Wait(); err != nil {
		return err
	}
	if w.made != w.size {
		err := tool.Run(w.ctx, tool.Command{Tool: qemuImg, Files: []*os.File{w.file},
			Args: []string{"resize", "-q", "--shrink", "-f", "qcow2", tool.FilePath(0), strconv.FormatInt(w.size, 10)}})
		if err != nil {
			return err
		}
	}
	if w.format == image.VHDX {
		var id [16]byte
		binary.LittleEndian.PutUint64(id[:], w.content[0].Sum64())
		binary.LittleEndian.PutUint64(id[8:], w.content[1].Sum64())
		if err := settleVHDX(w.file, id, w.size); err != nil {
			return err
		}
	}
	w.Close()
	return nil
}

// Close ends QEMU if it still runs; without Finish before, the file is worth nothing. It may be called more than once.
func (w *Writer) Close() error {
	w.closing.Do(func() {
		w.cancel() // which kills it
		if w.process != nil {
			w.process.Wait()
		}
		if w.client != nil {
			w.client.Close()
		}
	})
	return nil
}
