package agent

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"io"
	"sync"
)

// Frames carry both directions of a Shell, and what a run says: one byte of kind, four bytes of length, big endian, and the content.
type frameKind byte

const (
	frameStdin  frameKind = 'i' // to the guest; empty at the end of the input
	frameSize   frameKind = 'w' // to the guest: rows and columns, two bytes each
	frameStdout frameKind = 'o'
	frameStderr frameKind = 'e'
	frameAnswer frameKind = 'j' // a response, as JSON
	frameText   frameKind = 't' // see eventWriter

	// maxFrame bounds the content of a frame of output or input.
	maxFrame = 512 << 10
)

const frameHead = 5

func appendFrame(b []byte, kind frameKind, content ...[]byte) []byte {
	n := 0
	for _, c := range content {
		n += len(c)
	}
	b = append(b, byte(kind))
	b = binary.BigEndian.AppendUint32(b, uint32(n))
	for _, c := range content {
		b = append(b, c...)
	}
	return b
}

// frameReader reads frames.
type frameReader struct {
	r   *bufio.Reader
	buf []byte
}

// next gives the next frame; its content is good until the next call.
func (f *frameReader) next() (frameKind, []byte, error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(f.r, head[:]); err != nil {
		return 0, nil, err
	}
	kind, n := frameKind(head[0]), int(binary.BigEndian.Uint32(head[1:]))
	limit := maxFrame
	if kind == frameAnswer {
		limit = maxLine
	}
	if n > limit {
		return 0, nil, errLineTooLong
	}
	// Grown as the content comes: a length alone costs nothing.
	content := f.buf[:0]
	for len(content) < n {
		old := len(content)
		content = append(content, make([]byte, min(n-old, 64<<10))...)
		if _, err := io.ReadFull(f.r, content[old:]); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return 0, nil, err
		}
	}
	if f.buf = content; cap(f.buf) > maxFrame {
		f.buf = nil
	}
	return kind, content, nil
}

// frameWriter writes frames from several goroutines.
type frameWriter struct {
	mu  sync.Mutex
	w   io.Writer
	buf []byte
}

func (f *frameWriter) write(kind frameKind, content []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.buf = appendFrame(f.buf[:0], kind, content)
	_, err := f.w.Write(f.buf)
	return err
}

func (f *frameWriter) answer(r response) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return f.write(frameAnswer, data)
}
