package action

import (
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf16"
)

// Encoding is how a file's text is encoded: utf8, utf16, utf16-LE, utf16-BE, utf32, utf32-LE or utf32-BE, in any case, with or without a
// hyphen after utf. Without LE or BE it is little-endian. No byte order mark is written.
type Encoding struct {
	bits  int // 8, 16, 32; 0 is 8
	order binary.AppendByteOrder
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

func (e Encoding) encode(text string) []byte {
	var data []byte
	switch e.bits {
	case 16:
		for _, unit := range utf16.Encode([]rune(text)) {
			data = e.order.AppendUint16(data, unit)
		}
	case 32:
		for _, r := range text {
			data = e.order.AppendUint32(data, uint32(r))
		}
	default:
		data = []byte(text)
	}
	return data
}
