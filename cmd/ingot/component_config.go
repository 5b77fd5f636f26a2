package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/ingot-image/ingot/builder/component"
)

// maxConfig is how large a config file may be, in bytes.
const maxConfig = 1 << 20

// runConfig is what only the config file of component run can say. Its other keys are flags by another name.
type runConfig struct {
	documents  []givenDocument
	parameters map[string]string
}

// configFlags are the keys of the config file that stand for flags, with these flags' names. The user guide spells executionId as
// executonId, too.
func configFlags() map[string]string {
	return map[string]string{
		"cwIgnoreFailures": "cw-ignore-failures", "cwLogGroup": "cw-log-group", "cwLogRegion": "cw-log-region", "cwLogStream": "cw-log-stream",
		"documentS3BucketOwner": "document-s3-bucket-owner", "executionId": "execution-id", "executonId": "execution-id",
		"logDirectory": "log-directory", "logS3BucketName": "log-s3-bucket-name", "logS3BucketOwner": "log-s3-bucket-owner",
		"logS3KeyPrefix": "log-s3-key-prefix", "phases": "phases", "stateDirectory": "state-directory", "trace": "trace",
	}
}

// readConfig reads a config file and sets the flags that were not given. The error is of type component.Problems when the file is wrong.
func readConfig(path string, flags *pflag.FlagSet) (*runConfig, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, usageError{fmt.Errorf("--config: %w", err)}
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxConfig+1))
	if err != nil {
		return nil, usageError{fmt.Errorf("--config: %w", err)}
	}
	r := &configReader{file: path, data: data}
	if len(data) > maxConfig {
		r.report(0, "", fmt.Sprintf("the file is larger than %s", size(maxConfig)), "")
		return nil, r.problems.Err()
	}
	root, ok := r.read()
	if !ok {
		return nil, r.problems.Err()
	}
	c := r.config(root, flags)
	if err := r.problems.Err(); err != nil {
		return nil, err
	}
	return c, nil
}

// configReader turns a config file into values that know their places, and gathers what is wrong with it.
type configReader struct {
	file     string
	data     []byte
	decoder  *json.Decoder
	problems component.Problems
}

// configValue is a value of JSON.
type configValue struct {
	offset  int
	scalar  json.Token // string, json.Number, bool or nil, when neither of the others
	list    []configValue
	entries []configEntry
	kind    string // as for people
}

type configEntry struct {
	key   string
	at    int
	value configValue
}

func (r *configReader) report(offset int, field, message, hint string) {
	before := r.data[:min(offset, len(r.data))]
	line := bytes.Count(before, []byte("\n")) + 1
	column := len(before) - (bytes.LastIndexByte(before, '\n') + 1) + 1
	r.problems = append(r.problems, component.Problem{File: r.file, Line: line, Column: column, Field: field, Message: message, Hint: hint})
}

func (r *configReader) read() (configValue, bool) {
	var whole json.RawMessage
	if err := json.Unmarshal(r.data, &whole); err != nil { // it knows the exact place
		offset := len(r.data)
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			offset = int(syntax.Offset) - 1
		}
		r.report(max(offset, 0), "", err.Error(), "a config file is JSON")
		return configValue{}, false
	}
	r.decoder = json.NewDecoder(bytes.NewReader(r.data))
	r.decoder.UseNumber()
	root, err := r.value()
	if err != nil {
		r.report(0, "", err.Error(), "a config file is JSON")
		return configValue{}, false
	}
	return root, true
}

// next is where the next token begins.
func (r *configReader) next() int {
	offset := int(r.decoder.InputOffset())
	for offset < len(r.data) && strings.IndexByte(" \t\r\n,:", r.data[offset]) >= 0 {
		offset++
	}
	return offset
}

func (r *configReader) value() (v configValue, err error) {
	v.offset = r.next()
	token, err := r.decoder.Token()
	if err != nil {
		return v, err
	}
	switch token {
	case json.Delim('{'):
		v.kind = "an object"
		for r.decoder.More() {
			e := configEntry{at: r.next()}
			key, err := r.decoder.Token()
			if err != nil {
				return v, err
			}
			e.key, _ = key.(string)
			if e.value, err = r.value(); err != nil {
				return v, err
			}
			v.entries = append(v.entries, e)
		}
	case json.Delim('['):
		v.kind = "a list"
		for r.decoder.More() {
			item, err := r.value()
			if err != nil {
				return v, err
			}
			v.list = append(v.list, item)
		}
	default:
		v.scalar = token
		v.kind = map[bool]string{true: "null", false: fmt.Sprintf("the value %v", token)}[token == nil]
		return v, nil
	}
	_, err = r.decoder.Token() // the closing one
	return v, err
}

// text is a scalar as a flag takes it.
func (v configValue) text() (string, bool) {
	switch s := v.scalar.(type) {
	case string:
		return s, true
	case bool:
		return strconv.FormatBool(s), true
	case json.Number:
		return s.String(), true
	}
	return "", false
}

// object goes through the entries of an object whose keys are known.
func (r *configReader) object(v configValue, field string, keys []string, each func(configEntry)) {
	if v.kind != "an object" {
		r.report(v.offset, field, "must be an object, not "+v.kind, "known keys: "+strings.Join(keys, ", "))
		return
	}
	seen := map[string]bool{}
	for _, e := range v.entries {
		name := strings.TrimPrefix(field+"."+e.key, ".")
		switch {
		case !slices.Contains(keys, e.key):
			hint := "known here: " + strings.Join(keys, ", ")
			if near := nearKey(e.key, keys); near != "" {
				hint = fmt.Sprintf("did you mean %q?", near)
			}
			r.report(e.at, name, "unknown key", hint)
		case seen[e.key]:
			r.report(e.at, name, "the key is there twice", "")
		default:
			seen[e.key] = true
			each(e)
		}
	}
}

// nearKey finds a key that differs in case only, or in a letter or two in the same place.
func nearKey(key string, keys []string) string {
	for _, k := range keys {
		a, b := strings.ToLower(key), strings.ToLower(k)
		start := 0
		for start < min(len(a), len(b)) && a[start] == b[start] {
			start++
		}
		end := 0
		for end < min(len(a), len(b))-start && a[len(a)-1-end] == b[len(b)-1-end] {
			end++
		}
		if max(len(a), len(b))-start-end <= 2 {
			return k
		}
	}
	return ""
}

func (r *configReader) config(root configValue, flags *pflag.FlagSet) *runConfig {
	c := &runConfig{parameters: map[string]string{}}
	known := configFlags()
	keys := []string{"documents", "parameters"}
	for key := range known {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	there := false
	r.object(root, "", keys, func(e configEntry) {
		switch e.key {
		case "documents":
			there = true
			c.documents = r.documents(e.value)
		case "parameters":
			c.parameters = r.parameters(e.value, e.key)
		default:
			r.flag(e, flags, known[e.key])
		}
	})
	if !there && len(r.problems) == 0 {
		r.report(root.offset, "documents", "is missing", "it lists what to run: [{\"path\": \"hello.yml\"}]")
	}
	return c
}

// flag sets a flag that the command line did not.
func (r *configReader) flag(e configEntry, flags *pflag.FlagSet, name string) {
	flag := flags.Lookup(name)
	text, ok := e.value.text()
	_, isBool := e.value.scalar.(bool)
	wantsBool := flag.Value.Type() == "bool"
	switch {
	case e.key == "phases" && e.value.kind == "a list":
		var phases []string
		for i, item := range e.value.list {
			phase, ok := item.text()
			if !ok {
				r.report(item.offset, fmt.Sprintf("phases[%d]", i), "must be a text, not "+item.kind, "")
			}
			phases = append(phases, phase)
		}
		text = strings.Join(phases, ",")
	case wantsBool && text != "true" && text != "false":
		r.report(e.value.offset, e.key, "must be true or false, not "+e.value.kind, "")
		return
	case !ok || isBool && !wantsBool:
		r.report(e.value.offset, e.key, "must be a text, not "+e.value.kind, "")
		return
	}
	if flag.Changed {
		return // the command line counts more
	}
	if err := flag.Value.Set(text); err != nil {
		r.report(e.value.offset, e.key, err.Error(), "")
	}
}

func (r *configReader) documents(v configValue) (documents []givenDocument) {
	if v.kind != "a list" || len(v.list) == 0 {
		r.report(v.offset, "documents", "must be a list of at least one document", "[{\"path\": \"hello.yml\"}]")
		return nil
	}
	for i, item := range v.list {
		field := fmt.Sprintf("documents[%d]", i)
		var d givenDocument
		r.object(item, field, []string{"path", "parameters"}, func(e configEntry) {
			if e.key == "parameters" {
				d.parameters = r.parameters(e.value, field+".parameters")
				return
			}
			d.name, _ = e.value.scalar.(string)
		})
		if d.name == "" && item.kind == "an object" {
			r.report(item.offset, field+".path", "must be the path of a document", "")
		}
		documents = append(documents, d)
	}
	return documents
}

func (r *configReader) parameters(v configValue, field string) map[string]string {
	parameters := map[string]string{}
	if v.kind != "a list" {
		r.report(v.offset, field, "must be a list, not "+v.kind, "[{\"name\": \"Greeting\", \"value\": \"hello\"}]")
		return parameters
	}
	for i, item := range v.list {
		place := fmt.Sprintf("%s[%d]", field, i)
		var name, value string
		r.object(item, place, []string{"name", "value"}, func(e configEntry) {
			text, _ := e.value.text()
			if e.key == "name" {
				name = text
			} else {
				value = text
			}
		})
		_, twice := parameters[name]
		switch {
		case item.kind != "an object":
		case name == "" || value == "":
			r.report(item.offset, place, "must have a name and a value that are not empty", "leave a parameter out to get its default")
		case twice:
			r.report(item.offset, place, fmt.Sprintf("the parameter %q is there twice", name), "")
		}
		parameters[name] = value
	}
	return parameters
}
