package recipe

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
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

var (
	yamlLine   = regexp.MustCompile(`^line ([0-9]+): `)
	yamlAnchor = regexp.MustCompile(`^unknown anchor '(.*)' referenced$`)
	// The library counts lines from 0 in what its parser reports, and from 1 in what its scanner reports.
	yamlParser = regexp.MustCompile(`^did not find expected (key|node content|'-' indicator|',' or ']'|',' or '}'|<document start>)$`)
)

// syntaxError takes the line out of the YAML library's message, "yaml: line 3: …". The library gives no column.
func syntaxError(err error, data []byte) (line int, message, hint string) {
	message = strings.TrimPrefix(err.Error(), "yaml: ")
	if m := yamlLine.FindStringSubmatch(message); m != nil {
		line, _ = strconv.Atoi(m[1])
		message = message[len(m[0]):]
		if yamlParser.MatchString(message) {
			line++
		}
	}
	if m := yamlAnchor.FindStringSubmatch(message); m != nil {
		before, _, _ := bytes.Cut(data, []byte("*"+m[1]))
		line = bytes.Count(before, []byte("\n")) + 1
	}
	if strings.Contains(message, "cannot start any token") {
		hint = "indent with spaces, not tabs, and put text that begins with a special character in quotes"
	}
	return max(line, 1), "invalid YAML: " + clip(message), hint
}
