package component

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// looksLikeJSON decides which of the two languages a document is written in. YAML in flow style starts with a brace, too, so only what
// is valid JSON counts, unless the file's name says what it was meant to be.
func looksLikeJSON(file string, data []byte) bool {
	if strings.HasSuffix(strings.ToLower(file), ".json") {
		return true
	}
	return bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) && json.Valid(data)
}

// jsonReader reads JSON token by token, because the positions of values and the literal text of numbers matter.
type jsonReader struct {
	*reader
	data    []byte
	decoder *json.Decoder
	// How far line feeds were counted.
	offset, line, lineStart int
}

// readJSON returns nil when there is nothing to go on with.
func (r *reader) readJSON(data []byte) *Node {
	j := &jsonReader{reader: r, data: data, decoder: json.NewDecoder(bytes.NewReader(data)), line: 1}
	j.decoder.UseNumber()
	var whole json.RawMessage
	if err := json.Unmarshal(data, &whole); err != nil { // it knows the exact place, which the decoder does not
		offset := len(data)
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			offset = int(syntax.Offset) - 1
		}
		line, column := j.at(offset)
		r.report(line, column, err.Error(), "this is not well-formed JSON")
		return nil
	}
	n, err := j.value(1)
	if err != nil {
		r.report(0, 0, err.Error(), "this is not well-formed JSON")
		return nil
	}
	return n
}

// position returns where the next token starts.
func (j *jsonReader) position() (line, column int) {
	offset := int(j.decoder.InputOffset())
	for offset < len(j.data) && strings.IndexByte(" \t\r\n,:", j.data[offset]) >= 0 {
		offset++
	}
	return j.at(offset)
}

// at returns line and column of an offset. Offsets must not go back by more than the current line.
func (j *jsonReader) at(offset int) (line, column int) {
	offset = min(max(offset, 0), len(j.data))
	for j.offset < offset {
		if j.data[j.offset] == '\n' {
			j.line++
			j.lineStart = j.offset + 1
		}
		j.offset++
	}
	return j.line, max(offset-j.lineStart, 0) + 1
}

func (j *jsonReader) value(depth int) (*Node, error) {
	line, column := j.position()
	n := &Node{Kind: Null, Line: line, Column: column}
	if !j.count(depth, line, column) {
		return n, nil
	}
	token, err := j.decoder.Token()
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case string:
		n.Kind, n.Text, n.Quoted = Scalar, t, true
	case json.Number:
		n.Kind, n.Text = Scalar, t.String()
	case bool:
		n.Kind, n.Text = Scalar, fmt.Sprint(t)
	case json.Delim:
		if t == '[' {
			n.Kind = List
			err = j.list(n, depth)
		} else {
			n.Kind = Map
			err = j.object(n, depth)
		}
	}
	return n, err
}

func (j *jsonReader) list(n *Node, depth int) error {
	for j.decoder.More() {
		item, err := j.value(depth + 1)
		if err != nil || j.stopped {
			return err
		}
		n.Items = append(n.Items, item)
	}
	_, err := j.decoder.Token()
	return err
}

func (j *jsonReader) object(n *Node, depth int) error {
	for j.decoder.More() {
		line, column := j.position()
		key, err := j.decoder.Token()
		if err != nil {
			return err
		}
		value, err := j.value(depth + 1)
		if err != nil || j.stopped {
			return err
		}
		j.entry(n, Entry{Key: fmt.Sprint(key), Value: value, Line: line, Column: column})
	}
	_, err := j.decoder.Token()
	return err
}
