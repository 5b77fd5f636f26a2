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
	MaxOutputText = 256 << 10
	// MaxCaptured is how much of its stdout a step may hand on to later steps, in bytes.
	MaxCaptured = 1 << 20
	// DefaultOutputLimit is how much of the output of an attempt is sent as events, in bytes.
	DefaultOutputLimit = 64 << 20

	maxTailBytes = 4 << 10
	maxTailLines = 20
)

// output takes what one attempt of a step prints: it sends it on as events without secrets, keeps the start of stdout and the end of both
// streams. What it keeps in memory is bounded, however much is printed.
type output struct {
	send  func(stream string, text []byte) // which is good only during the call
	limit int64                            // of bytes sent; negative means none

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
	cleaner cleaner
	pending []byte // an unfinished line, without secrets
	tail    []byte // likewise without secrets
}

func newOutput(limit int64, s *secrets, send func(stream string, text []byte)) *output {
	o := &output{send: send, limit: limit}
	o.stdout = &outputStream{output: o, name: StreamStdout, cleaner: cleaner{secrets: s}}
	o.stderr = &outputStream{output: o, name: StreamStderr, cleaner: cleaner{secrets: s}}
	return o
}

// Write implements [io.Writer]; it never fails, and blocks as long as the events are not taken.
func (s *outputStream) Write(data []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return len(data), nil
	}
	if s == s.stdout {
		s.capture(data)
	}
	s.tell(s.cleaner.write(data))
	return len(data), nil
}

// tell takes text without secrets. Only what cannot be sent yet is copied, and what it needs to become a line.
func (s *outputStream) tell(data []byte) {
	s.keepTail(data)
	for len(data) > 0 && !s.cut {
		if len(s.pending) > 0 {
			n := bytes.IndexByte(data, '\n') + 1
			if n == 0 {
				n = len(data)
			}
			n = min(n, MaxOutputText-len(s.pending))
			s.pending = append(s.pending, data[:n]...)
			end := linesEnd(s.pending, len(s.pending) == MaxOutputText)
			s.forward(s.pending[:end])
			s.pending = append(s.pending[:0], s.pending[end:]...)
			data = data[n:]
			continue
		}
		piece := data[:min(len(data), MaxOutputText)]
		end := linesEnd(piece, len(piece) == MaxOutputText)
		if end == 0 {
			s.pending = append(s.pending, piece...)
			return
		}
		s.forward(piece[:end])
		data = data[end:]
	}
}

// linesEnd returns where the complete lines end; when there is none in a full buffer, it is all but a character that has only begun.
func linesEnd(data []byte, full bool) int {
	end := bytes.LastIndexByte(data, '\n') + 1
	if end == 0 && full {
		end = len(data) - unfinishedRune(data)
	}
	return end
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
	if s.cut || len(data) == 0 {
		return
	}
	if s.limit >= 0 && s.sent+int64(len(data)) > s.limit {
		s.cut = true
		s.say(fmt.Sprintf("the step has printed more than %s; the rest is not shown\n", size(s.limit)))
		return
	}
	s.sent += int64(len(data))
	if !utf8.Valid(data) { // ToValidUTF8 looks at every character, which is many times slower
		data = bytes.ToValidUTF8(data, []byte("?"))
	}
	s.send(s.name, data)
}

// say sends a notice.
func (o *output) say(text string) { o.send(StreamNotice, []byte(text)) }

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
	if o.capturedCut {
		return
	}
	room := MaxCaptured - len(o.captured)
	if len(data) <= room {
		o.captured = append(o.captured, data...)
		return
	}
	o.captured = append(o.captured, data[:room]...)
	o.captured = o.captured[:o.stdout.cleaner.secrets.cut(o.captured)]
	o.capturedCut = true
	o.say(fmt.Sprintf("the output stdout of the step ends after %s\n", size(MaxCaptured)))
}

func (o *output) text() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.captured)
}

func (o *output) notice(text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		o.say(text + "\n")
	}
}

// next begins the next iteration of a loop: unfinished lines are sent, and what was kept of the iteration before is dropped.
func (o *output) next() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.flush()
	o.captured, o.capturedCut = nil, false
	o.stdout.tail, o.stderr.tail = nil, nil
}

// close sends what is left of unfinished lines.
func (o *output) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.flush()
	o.closed = true
}

func (o *output) flush() {
	for _, s := range []*outputStream{o.stdout, o.stderr} {
		s.tell(s.cleaner.flush())
		if len(s.pending) > 0 {
			s.forward(s.pending)
			s.pending = nil
		}
	}
}

func size(bytes int64) string {
	if bytes >= 1<<20 {
		return fmt.Sprintf("%d MiB", bytes>>20)
	}
	return fmt.Sprintf("%d KiB", bytes>>10)
}
