package qemu

import (
	"strconv"
	"strings"
	"unicode"
)

// maxConsoleLine bounds one line of the console in bytes; longer ones are broken.
const maxConsoleLine = 4 << 10

// lastRow is the lowest row of the text screens of PC firmware, which scroll from there.
const lastRow = 24

// terminal turns the bytes a guest sends to a terminal into lines of plain text: escape sequences (ECMA-48) and
// control characters are dropped, and moving the cursor to another line ends a line.
type terminal struct {
	// line takes each line as it ends. overwritten tells that the guest went back to its start to print another
	// over it, as progress displays do.
	line func(text string, overwritten bool)

	buf      []byte
	state    escapeState
	returned bool   // a carriage return came last
	row      int    // of the cursor, from 0
	params   []byte // of the control sequence under way
}

type escapeState int

const (
	plain         escapeState = iota
	escape                    // after ESC
	intermediate              // after ESC and an intermediate byte: one more
	controlSeq                // after ESC [
	controlString             // within OSC, DCS, PM, APC, SOS, until BEL or ST
	stringEscape              // within that, after ESC
)

func (t *terminal) Write(p []byte) {
	for _, b := range p {
		t.byte(b)
	}
}

func (t *terminal) byte(b byte) {
	switch t.state {
	case plain:
		t.plain(b)
	case escape:
		switch {
		case b == '[':
			t.state = controlSeq
			t.params = t.params[:0]
		case strings.IndexByte("]PX^_", b) >= 0:
			t.state = controlString
		case b >= 0x20 && b <= 0x2f:
			t.state = intermediate
		default:
			t.state = plain
			if b == 'c' { // RIS, reset the terminal
				t.end(false)
				t.row = 0
			}
		}
	case intermediate:
		if b < 0x20 || b > 0x2f {
			t.state = plain
		}
	case controlSeq:
		if b >= 0x40 && b <= 0x7e {
			t.state = plain
			switch b {
			case 'H', 'f': // CUP, HVP
				t.moveTo()
			case 'J': // ED
				t.end(false)
			}
		} else if b == 0x1b {
			t.state = escape
		} else if len(t.params) < 16 {
			t.params = append(t.params, b)
		}
	case controlString:
		switch b {
		case 0x07:
			t.state = plain
		case 0x1b:
			t.state = stringEscape
		case '\n': // not closed: no reason to swallow all that follows
			t.state = plain
			t.plain(b)
		}
	case stringEscape:
		t.state = plain
		if b != '\\' {
			t.state = escape
			t.byte(b)
		}
	}
}

// moveTo moves the cursor. Firmware does so needlessly within a line, after a pause in what it prints; that must not
// break the line.
func (t *terminal) moveTo() {
	first, second, _ := strings.Cut(string(t.params), ";")
	row, _ := strconv.Atoi(first) // a missing one is 1
	column, _ := strconv.Atoi(second)
	row = max(row, 1) - 1
	switch {
	case row != t.row:
		t.end(false)
		t.row = row
	case column <= 1:
		t.returned = true
	}
}

func (t *terminal) plain(b byte) {
	switch {
	case b == '\n':
		t.end(false)
		t.row = min(t.row+1, lastRow)
	case b == '\r':
		t.returned = true
	case b == 0x1b:
		t.state = escape
	case b == '\b':
		if len(t.buf) > 0 {
			t.buf = t.buf[:len(t.buf)-1]
		}
	case b == '\t' || b >= 0x20 && b != 0x7f:
		if t.returned {
			t.end(true)
		}
		if len(t.buf) >= maxConsoleLine {
			t.end(false)
		}
		t.buf = append(t.buf, b)
	}
}

func (t *terminal) end(overwritten bool) {
	text := t.partial()
	t.buf = t.buf[:0]
	t.returned = false
	if text != "" || !overwritten {
		t.line(text, overwritten)
	}
}

// partial returns the line under way.
func (t *terminal) partial() string {
	s := strings.Map(func(r rune) rune {
		if r != '\t' && (unicode.IsControl(r) || r == unicode.ReplacementChar) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(string(t.buf), ""))
	return strings.TrimRight(s, " \t")
}
