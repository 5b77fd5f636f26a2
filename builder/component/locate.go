package component

import (
	"bytes"
	"sort"
	"unicode/utf8"
)

// locator finds where in a file a piece of a scalar stands. A scalar may be written over many lines, indented, folded or quoted, and the
// parsers of YAML and JSON only tell where it starts.
type locator struct {
	data  []byte
	lines []int // offset of the start of every line
}

func newLocator(data []byte) *locator {
	l := &locator{data: data, lines: []int{0}}
	for i, c := range data {
		if c == '\n' {
			l.lines = append(l.lines, i+1)
		}
	}
	return l
}

// locateWindow bounds the search for a piece that cannot be found because it is written with escapes.
const locateWindow = 64 << 10

// find returns the offset of the first occurrence of piece at or after an offset, or -1.
func (l *locator) find(piece string, from int) int {
	if from < 0 || from > len(l.data) {
		return -1
	}
	window := l.data[from:min(from+locateWindow, len(l.data))]
	if i := bytes.Index(window, []byte(piece)); i >= 0 {
		return from + i
	}
	return -1
}

// offset returns where a node starts. Columns count characters.
func (l *locator) offset(n *Node) int {
	if n.Line < 1 || n.Line > len(l.lines) {
		return -1
	}
	offset := l.lines[n.Line-1]
	for column := 1; column < n.Column && offset < len(l.data); column++ {
		_, size := utf8.DecodeRune(l.data[offset:])
		offset += size
	}
	return offset
}

// position is the reverse of offset.
func (l *locator) position(offset int) (line, column int) {
	line = sort.SearchInts(l.lines, offset+1)
	return line, utf8.RuneCount(l.data[l.lines[line-1]:offset]) + 1
}
