package layer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

const (
	plainMemory      = "memory"
	compressedMemory = "memory.zst"
	sampleSize       = 8 << 20  // bytes that are looked at before the decision
	checkEvery       = 32 << 20 // bytes between two looks at the free space
	decoderWindow    = 64 << 20 // bytes; the encoder's is smaller
)

// price is what space in the store is worth, to decide whether memory is worth being compressed.
type price struct {
	used, budget int64         // bytes; used includes the layer to come
	saves        time.Duration // the sum of the layers' own costs
	bytes        int64         // what the layers take
}

// compress is the rule by which memory is compressed. Both sides are times:
//
// Compressing costs the guest's standstill now and the decompression at each resume. Both are measured on the first megabytes (sample).
//
// Writing it plain costs space. While the store is less than half full, space is free: nothing is removed for it. Above that, every byte
// brings the day closer on which another layer is removed, and its steps have to run again: a byte is worth what the layers save a
// byte, on average, from nothing at half the budget to all of that when it is full.
//
// So a machine with a big disk resumes at full speed, and one with a full store keeps as many layers as it can.
func (p price) compress(sample measure) bool {
	return float64(sample.in-sample.out)*p.worth() > sample.took.Seconds()
}

// worth is that of a byte, in seconds.
func (p price) worth() float64 {
	if p.budget <= 0 || p.bytes <= 0 {
		return 0
	}
	pressure := min(max(float64(p.used)/float64(p.budget)*2-1, 0), 1)
	return p.saves.Seconds() / float64(p.bytes) * pressure
}

// measure is what compressing and decompressing a sample gave.
type measure struct {
	in, out int // bytes
	took    time.Duration
}

func measureSample(sample []byte) measure {
	begin := time.Now()
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(false))
	if err != nil {
		return measure{}
	}
	defer enc.Close()
	packed := enc.EncodeAll(sample, make([]byte, 0, len(sample)))
	dec, err := zstd.NewReader(nil)
	if err != nil {
		return measure{}
	}
	defer dec.Close()
	if _, err := dec.DecodeAll(packed, make([]byte, 0, len(sample))); err != nil {
		return measure{}
	}
	return measure{in: len(sample), out: len(packed), took: time.Since(begin)}
}

// memoryWriter writes the file of a guest's memory, and hashes it on the way.
type memoryWriter struct {
	store *Store
	dir   string
	price price

	sample     bytes.Buffer // until it is decided
	file       *os.File
	hash       *xxhash.Digest
	zstd       *zstd.Encoder // nil: plain
	name       string
	compressed bool
	unchecked  int64 // bytes since the last look at the free space
	closed     bool
	err        error
}

func (m *memoryWriter) Write(p []byte) (int, error) {
	if m.closed {
		return 0, os.ErrClosed
	}
	if m.err != nil {
		return 0, m.err
	}
	if m.err = m.write(p); m.err != nil {
		m.err = fmt.Errorf("save memory: %w", noRoom(m.err, m.dir, 0))
		return 0, m.err
	}
	return len(p), nil
}

func (m *memoryWriter) write(p []byte) error {
	if m.file == nil {
		m.sample.Write(p)
		if m.sample.Len() < sampleSize {
			return nil
		}
		return m.decide()
	}
	if m.zstd != nil {
		_, err := m.zstd.Write(p)
		return err
	}
	_, err := (*memoryFile)(m).Write(p)
	return err
}

// decide opens the file, and writes the sample.
func (m *memoryWriter) decide() (err error) {
	sample := m.sample.Bytes()
	m.name, m.compressed = plainMemory, false
	if m.price.worth() > 0 && m.price.compress(measureSample(sample[:min(len(sample), sampleSize)])) {
		m.name, m.compressed = compressedMemory, true
	}
	if m.file, err = os.OpenFile(filepath.Join(m.dir, m.name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
		return err
	}
	m.hash = xxhash.New()
	if m.compressed {
		// The file's own hash covers it.
		m.zstd, err = zstd.NewWriter((*memoryFile)(m), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(false))
		if err != nil {
			return err
		}
	}
	err = m.write(sample)
	m.sample = bytes.Buffer{}
	return err
}

// Close finishes the file. It may be called again.
func (m *memoryWriter) Close() error {
	if m.closed {
		return m.err
	}
	if m.err == nil && m.file == nil {
		m.err = m.decide()
	}
	if m.err == nil && m.zstd != nil {
		m.err = m.zstd.Close()
	}
	if m.err == nil {
		m.err = m.file.Close()
	}
	if m.err != nil && !errors.Is(m.err, ErrNoRoom) {
		m.err = fmt.Errorf("save memory: %w", noRoom(m.err, m.dir, 0))
	}
	m.closed = true
	return m.err
}

// abort ends the writing; the file is left to whoever removes the folder.
func (m *memoryWriter) abort() {
	if m.file != nil {
		m.file.Close() // what the encoder still writes fails
	}
	if m.zstd != nil {
		m.zstd.Close()
	}
	m.closed = true
}

func (m *memoryWriter) sum() string { return sumText(m.hash) }

// memoryFile is the memoryWriter's file as its encoder sees it.
type memoryFile memoryWriter

func (f *memoryFile) Write(p []byte) (int, error) {
	if f.unchecked += int64(len(p)); f.unchecked >= checkEvery {
		f.unchecked = 0
		// Half of the reserve is for layers that got bigger than was thought.
		if left, err := f.store.o.Free(f.dir); err == nil && left < f.store.o.Reserve/2 {
			return 0, fmt.Errorf("%w: %d MiB are left on the disk", ErrNoRoom, left>>20)
		}
	}
	n, err := f.file.Write(p)
	f.hash.Write(p[:n])
	return n, err
}

// OpenMemory gives the memory in a file as it was when it was saved, see [Chain.OpenMemory].
func (l *Layer) OpenMemory(path string) (io.ReadCloser, error) {
	want, ok := l.Files[l.Memory]
	if l.Memory == "" || !ok {
		return nil, fmt.Errorf("open the memory of layer %s: it has none", l.ID)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("open the memory of layer %s: %w", l.ID, err)
	}
	r := &memoryReader{path: path, file: f, hash: xxhash.New(), want: want}
	if l.MemoryCompressed {
		r.zstd, err = zstd.NewReader(io.TeeReader(f, r), zstd.WithDecoderMaxWindow(decoderWindow))
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("open the memory of layer %s: %w", l.ID, err)
		}
	}
	return r, nil
}

// memoryReader reads a file of memory, and compares its hash at the end.
type memoryReader struct {
	path string
	file *os.File
	zstd *zstd.Decoder // nil: plain
	hash *xxhash.Digest
	size int64
	want File
}

// Write takes what is read from the file.
func (r *memoryReader) Write(p []byte) (int, error) {
	r.size += int64(len(p))
	return r.hash.Write(p)
}

func (r *memoryReader) Read(p []byte) (n int, err error) {
	if r.zstd != nil {
		n, err = r.zstd.Read(p)
	} else {
		n, err = r.file.Read(p)
		r.Write(p[:n])
	}
	if err == nil {
		return n, nil
	}
	if r.zstd != nil && !errors.Is(err, io.EOF) {
		return n, fmt.Errorf("%s: %w: %w", r.path, ErrDamaged, err)
	}
	if errors.Is(err, io.EOF) && (r.size != r.want.Size || sumText(r.hash) != r.want.XXH64) {
		return n, fmt.Errorf("%s: %w: it is not what was saved", r.path, ErrDamaged)
	}
	return n, err
}

func (r *memoryReader) Close() error {
	if r.zstd != nil {
		r.zstd.Close()
	}
	return r.file.Close()
}
