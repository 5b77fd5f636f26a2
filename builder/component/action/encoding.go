package action

import (
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Encoding is how a file's text is encoded: utf8, utf16, utf16-LE, utf16-BE, utf32, utf32-LE or utf32-BE, in any case, with or without a
// hyphen after utf. Without LE or BE it is little-endian. No byte order mark is written.
type Encoding struct {
	bits  int // 8, 16, 32; 0 is 8
	order byteOrder
}

type byteOrder interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (e *Encoding) UnmarshalText(text []byte) error {
	name := strings.Replace(strings.ToLower(strings.TrimSpace(string(text))), "utf-", "utf", 1)
	switch name {
	case "", "utf8":
		*e = Encoding{bits: 8}
	case "utf16", "utf16-le":
		*e = Encoding{16, binary.LittleEndian}
	case "utf16-be":
		*e = Encoding{16, binary.BigEndian}
	case "utf32", "utf32-le":
		*e = Encoding{32, binary.LittleEndian}
	case "utf32-be":
		*e = Encoding{32, binary.BigEndian}
	default:
		return fmt.Errorf("unknown encoding %q: known are utf8, utf16, utf16-LE, utf16-BE, utf32, utf32-LE, utf32-BE", text)
	}
	return nil
}

// width is the size of the encoding's unit, in bytes.
func (e Encoding) width() int { return max(1, e.bits/8) }

func (e Encoding) encode(text string) []byte {
	if e.width() == 1 {
		return []byte(text)
	}
	data := make([]byte, 0, e.width()*len(text))
	for _, r := range text {
		data = e.append(data, r)
	}
	return data
}

func (e Encoding) append(data []byte, r rune) []byte {
	switch e.bits {
	case 16:
		if r > 0xffff {
			high, low := utf16.EncodeRune(r)
			return e.order.AppendUint16(e.order.AppendUint16(data, uint16(high)), uint16(low))
		}
		return e.order.AppendUint16(data, uint16(r))
	case 32:
		return e.order.AppendUint32(data, uint32(r))
	}
	return utf8.AppendRune(data, r)
}

const (
	byteOrderMark = 0xfeff
	swappedMark16 = 0xfffe
	swappedMark32 = 0xfffe0000
)

// decode returns the text of data, without a byte order mark in front of it. What is no text is an error.
func (e Encoding) decode(data []byte) (string, error) {
	var text strings.Builder
	for at := 0; at < len(data); {
		r, size := e.next(data[at:])
		switch {
		case r < 0 && at == 0 && e.swapped(data):
			return "", fmt.Errorf("its byte order mark is that of the other byte order; use utf%d-%s", e.bits, e.otherOrder())
		case r < 0:
			return "", fmt.Errorf("it is no text in %s: byte %d fits nowhere", e, at)
		case r == 0:
			return "", fmt.Errorf("it is no text in %s: byte %d is a NUL", e, at)
		case r != byteOrderMark || at > 0:
			text.WriteRune(r)
		}
		at += size
	}
	return text.String(), nil
}

// next returns the first character of data and its size in bytes; the character is negative when there is none.
func (e Encoding) next(data []byte) (rune, int) {
	if len(data) < e.width() {
		return -1, 0
	}
	switch e.bits {
	case 16:
		if e.swapped(data) {
			return -1, 0 // U+FFFE is no character
		}
		r := rune(e.order.Uint16(data))
		if !utf16.IsSurrogate(r) {
			return r, 2
		}
		if len(data) >= 4 {
			if r = utf16.DecodeRune(r, rune(e.order.Uint16(data[2:]))); r != utf8.RuneError {
				return r, 4
			}
		}
		return -1, 0
	case 32:
		r := e.order.Uint32(data)
		if r > utf8.MaxRune || !utf8.ValidRune(rune(r)) {
			return -1, 0
		}
		return rune(r), 4
	}
	r, size := utf8.DecodeRune(data)
	if r == utf8.RuneError && size <= 1 {
		return -1, 0
	}
	return r, size
}

func (e Encoding) swapped(data []byte) bool {
	switch {
	case e.bits == 16 && len(data) >= 2:
		return e.order.Uint16(data) == swappedMark16
	case e.bits == 32 && len(data) >= 4:
		return e.order.Uint32(data) == swappedMark32
	}
	return false
}

func (e Encoding) otherOrder() string {
	if e.order == byteOrder(binary.LittleEndian) {
		return "BE"
	}
	return "LE"
}

// String returns the encoding's name.
func (e Encoding) String() string {
	switch {
	case e.width() == 1:
		return "UTF-8"
	case e.otherOrder() == "BE":
		return fmt.Sprintf("UTF-%d, little-endian", e.bits)
	}
	return fmt.Sprintf("UTF-%d, big-endian", e.bits)
}
