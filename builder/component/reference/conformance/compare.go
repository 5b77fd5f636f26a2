package conformance

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Compare returns how a detail, decoded from JSON, differs from the expected one, a line a difference; none means that it conforms.
// Everything must be the same, except that in the expectation
//
//   - "<time>" stands for a time of RFC 3339,
//   - "<id>" for a UUID,
//   - <dir> and <server> in a text for the [Places] of the run,
//   - … in a text for any text that is not empty,
//   - inputs and outputs of steps are written out, where a detail has the JSON text of them.
func Compare(want, got any, at Places) (differences []string) {
	c := comparison{at: at}
	c.compare("", want, got)
	return c.differences
}

type comparison struct {
	at          Places
	differences []string
}

func (c *comparison) differ(path, format string, args ...any) {
	c.differences = append(c.differences, strings.TrimPrefix(path, ".")+": "+fmt.Sprintf(format, args...))
}

func (c *comparison) compare(path string, want, got any) {
	switch want := want.(type) {
	case map[string]any:
		c.maps(path, want, got)
	case []any:
		c.lists(path, want, got)
	case string:
		if s, ok := got.(string); !ok || !c.text(want, s) {
			c.differ(path, "want %q, got %s", want, text(got))
		}
	default:
		if want != got {
			c.differ(path, "want %s, got %s", text(want), text(got))
		}
	}
}

func (c *comparison) maps(path string, want map[string]any, value any) {
	got, ok := value.(map[string]any)
	if !ok {
		c.differ(path, "want %s, got %s", text(want), text(value))
		return
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		part, ok := got[key]
		if !ok {
			c.differ(path+"."+key, "is missing")
			continue
		}
		if encoded, ok := part.(string); ok && (key == "inputs" || key == "outputs") {
			part = decode(encoded)
		}
		c.compare(path+"."+key, want[key], part)
	}
	for _, key := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[key]; !ok {
			c.differ(path+"."+key, "was not expected: %s", text(got[key]))
		}
	}
}

// decode returns what the JSON text of inputs or outputs holds, or the text itself.
func decode(encoded string) any {
	var value any
	if json.Unmarshal([]byte(encoded), &value) != nil {
		return encoded
	}
	return value
}

func (c *comparison) lists(path string, want []any, value any) {
	got, ok := value.([]any)
	if !ok {
		c.differ(path, "want %s, got %s", text(want), text(value))
		return
	}
	for i := range max(len(want), len(got)) {
		at := fmt.Sprintf("%s[%d]", path, i)
		if name, ok := get(element(want, i), "name").(string); ok {
			at = fmt.Sprintf("%s[%s]", path, name)
		}
		switch {
		case i >= len(got):
			c.differ(at, "is missing")
		case i >= len(want):
			c.differ(at, "was not expected: %s", text(got[i]))
		default:
			c.compare(at, want[i], got[i])
		}
	}
}

func element(list []any, i int) any {
	if i < len(list) {
		return list[i]
	}
	return nil
}

func (c *comparison) text(want, got string) bool {
	switch want {
	case "<time>":
		_, err := time.Parse(time.RFC3339Nano, got)
		return err == nil
	case "<id>":
		_, err := uuid.Parse(got)
		return err == nil
	}
	want = strings.NewReplacer("<dir>", c.at.Dir, "<server>", c.at.Server).Replace(want)
	parts := strings.Split(want, "…")
	if len(parts) == 1 {
		return want == got
	}
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	return regexp.MustCompile("(?s)^" + strings.Join(parts, ".+") + "$").MatchString(got)
}

func text(value any) string {
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(data)
}
