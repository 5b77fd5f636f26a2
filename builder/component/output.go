package component

import (
	"bytes"
	"fmt"
	"sync"
	"unicode/utf8"
)

// Bounds of what a step prints.
const (
	// MaxOutputText is the size of the text of an output event, in bytes.
	MaxOutputText = 16 << 10
	// MaxCaptured is how much of its stdout a step may hand on to later steps, in bytes.
	MaxCaptured = 1 << 20
	// DefaultOutputLimit is how much of the output of an attempt is sent as events, in bytes.
	DefaultOutputLimit = 64 << 20

	maxTailBytes = 4 << 10
	maxTailLines = 20
)

// output takes what one attempt of a step prints: it sends it on as events, keeps the start of stdout and the end of both streams.
// What it keeps in memory is bounded, however much is printed.
type output struct {
	send  func(stream, text string)
	limit int64 // of bytes sent; negative means none

	mu             sync.Mutex
	sent           int64
	cut            bool // nothing more is sent
	closed         bool // the attempt is over; what comes now is from a process left in the background
	captured       []byte
	capturedCut    bool
	stdout, stderr *outputStream
}

type outputStream struct {
	*output
	name    string
	pending []byte // an unfinished line
	tail    []byte
}

func newOutput(limit int64, send func(stream, text string)) *output {
	o := &output{send: send, limit: limit}
	o.stdout = &outputStream{output: o, name: StreamStdout}
	o.stderr = &outputStream{output: o, name: StreamStderr}
	return o
}

// Write implements [io.Writer]; it never fails, and blocks as long as the events are not taken.
func (s *outputStream) Write(data []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return len(data), nil
	}
	s.keepTail(data)
	if s == s.stdout {
		s.capture(data)
	}
	for rest := data; len(rest) > 0 && !s.cut; {
		n := min(len(rest), MaxOutputText-len(s.pending))
		s.pending = append(s.pending, rest[:n]...)
		rest = rest[n:]
		if full := len(s.pending) == MaxOutputText; full || len(rest) == 0 {
			s.flushLines(full)
		}
	}
	return len(data), nil
}

// flushLines sends the complete lines; when there is none and the buffer is full, it sends all but a character that has only begun.
func (s *outputStream) flushLines(full bool) {
	end := bytes.LastIndexByte(s.pending, '\n') + 1
	if end == 0 && full {
		end = len(s.pending) - unfinishedRune(s.pending)
	}
	if end == 0 {
		return
	}
	s.forward(s.pending[:end])
	s.pending = append(s.pending[:0], s.pending[end:]...)
}

// unfinishedRune returns the number of bytes at the end that start a character without ending it.
func unfinishedRune(data []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(data); n++ {
		if c := data[len(data)-n]; utf8.RuneStart(c) {
			if !utf8.FullRune(data[len(data)-n:]) {
				return n
			}
			break
		}
	}
	return 0
}

func (s *outputStream) forward(data []byte) {
	if s.cut {
		return
	}
	if s.limit >= 0 && s.sent+int64(len(data)) > s.limit {
		s.cut = true
		s.send(StreamNotice, fmt.Sprintf("the step has printed more than %s; the rest is not shown\n", size(s.limit)))
		return
	}
	s.sent += int64(len(data))
	s.send(s.name, string(bytes.ToValidUTF8(data, []byte("?"))))
}

func (s *outputStream) keepTail(data []byte) {
	if len(data) > maxTailBytes {
		s.tail, data = s.tail[:0], data[len(data)-maxTailBytes:]
	}
	if over := len(s.tail) + len(data) - maxTailBytes; over > 0 {
		s.tail = append(s.tail[:0], s.tail[over:]...)
	}
	s.tail = append(s.tail, data...)
}

// lastLines returns the last lines of the stream.
func (s *outputStream) lastLines() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	tail := bytes.TrimRight(bytes.ToValidUTF8(s.tail, []byte("?")), "\r\n")
	lines := bytes.Split(tail, []byte("\n"))
	lines = lines[max(0, len(lines)-maxTailLines):]
	return string(bytes.Join(lines, []byte("\n")))
}

func (o *output) capture(data []byte) {
	room := MaxCaptured - len(o.captured)
	if len(data) > room {
		data = data[:room]
		if !o.capturedCut {
			o.capturedCut = true
			o.send(StreamNotice, fmt.Sprintf("the output stdout of the step ends after %s\n", size(MaxCaptured)))
		}
	}
	o.captured = append(o.captured, data...)
}

func (o *output) text() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.captured)
}

func (o *output) notice(text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.send(StreamNotice, text+"\n")
}

// close sends what is left of unfinished lines.
func (o *output) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range []*outputStream{o.stdout, o.stderr} {
		if len(s.pending) > 0 {
			s.forward(s.pending)
			s.pending = nil
		}
	}
	o.closed = true
}

func size(bytes int64) string {
	if bytes >= 1<<20 {
		return fmt.Sprintf("%d MiB", bytes>>20)
	}
	return fmt.Sprintf("%d KiB", bytes>>10)
}
