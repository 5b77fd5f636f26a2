package recipe

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/ingot-image/ingot/builder/component"
)

// checkText reports the first place where data is no text in UTF-8, which the YAML library reports without a line.
// The message is "" if there is none.
func checkText(data []byte) (line int, message string) {
	line = 1
	for rest := data; len(rest) > 0; {
		c, size := utf8.DecodeRune(rest)
		switch {
		case c == utf8.RuneError && size == 1:
			return line, "the file is not text in UTF-8"
		case c == '\n':
			line++
		case c < ' ' && c != '\t' && c != '\r', c == 0x7f:
			return line, fmt.Sprintf("the file has the control character %U", c)
		}
		rest = rest[size:]
	}
	return 0, ""
}

// syntaxError takes the line out of the YAML library's message. The library gives no column.
func syntaxError(err error, data []byte) (line int, message, hint string) {
	line, message = component.YAMLError(err, data)
	if strings.Contains(message, "cannot start any token") {
		hint = "indent with spaces, not tabs, and put text that begins with a special character in quotes"
	}
	return line, "invalid YAML: " + clip(message), hint
}
