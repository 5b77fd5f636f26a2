package component

import (
	"bytes"
	"encoding/json"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// secretMask stands in the place of secrets.
const secretMask = "***"

const (
	minSecretLine   = 4 // characters that a line of a secret must have to be one itself
	minSecretPrefix = 4 // bytes of a secret that must not stand before a cut
	minSecretForm   = 4 // bytes that the form of a secret in paths and URLs must have to be one itself
)

// secrets are the values that must not be told. Texts are cleaned of them with clean, streams with a [cleaner].
type secrets struct {
	mu       sync.Mutex
	patterns []pattern // only ever appended to
}

// pattern is a text to find, with the failure function of Knuth, Morris and Pratt: border[i] is the length of the longest proper prefix of
// text that text[:i+1] ends with. It finds overlapping occurrences over the edges of writes without looking at any byte twice.
type pattern struct {
	text   string
	border []int32
}

func newPattern(text string) pattern {
	p := pattern{text, make([]int32, len(text))}
	for i := 1; i < len(text); i++ {
		n := p.border[i-1]
		for n > 0 && text[i] != text[n] {
			n = p.border[n-1]
		}
		if text[i] == text[n] {
			n++
		}
		p.border[i] = n
	}
	return p
}

// step returns how much of the pattern the text read so far ends with, after its next byte.
func (p *pattern) step(matched int32, c byte) int32 {
	if matched == int32(len(p.text)) {
		matched = p.border[matched-1]
	}
	for matched > 0 && p.text[matched] != c {
		matched = p.border[matched-1]
	}
	if p.text[matched] == c {
		matched++
	}
	return matched
}

// add makes a value a secret: as a whole, without space around it, every line that is not very short, as it looks in
// paths and URLs, and all of that as it looks in JSON and in quoted messages.
func (s *secrets) add(value string) {
	texts := []string{value, strings.TrimSpace(value)}
	texts = append(texts, addressForms(texts[1])...)
	if value != texts[1] {
		texts = append(texts, addressForms(value)...)
	}
	for line := range strings.Lines(value) {
		if line = strings.TrimSpace(line); utf8.RuneCountInString(line) >= minSecretLine {
			texts = append(texts, line)
		}
	}
	for _, text := range slices.Clone(texts) {
		texts = append(texts, jsonEscaped(text, true), jsonEscaped(text, false), unquoted(strconv.Quote(text)), unquoted(strconv.QuoteToASCII(text)))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, text := range texts {
		known := slices.ContainsFunc(s.patterns, func(p pattern) bool { return p.text == text })
		if text != "" && !known {
			s.patterns = append(s.patterns, newPattern(text))
		}
	}
}

// addressForms returns what becomes of a text in paths and URLs.
func addressForms(text string) []string {
	forms := []string{path.Clean(text), filepath.Clean(text), url.PathEscape(text), url.QueryEscape(text), url.UserPassword("", text).String()[len(":"):]}
	forms = append(forms, url.PathEscape(forms[0]), (&url.URL{Path: "/" + forms[0]}).EscapedPath()[len("/"):])
	const before = "http://host/"
	if whole, err := url.Parse(before + text); err == nil { // a ? or # in it divides it
		forms = append(forms, strings.TrimPrefix(whole.String(), before), whole.EscapedPath()[len("/"):])
	}
	return slices.DeleteFunc(forms, func(form string) bool { return len(form) < minSecretForm })
}

func jsonEscaped(text string, html bool) string {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(html)
	if err := encoder.Encode(text); err != nil {
		return text // never: a string can be encoded
	}
	return unquoted(strings.TrimSuffix(b.String(), "\n"))
}

func unquoted(text string) string { return text[1 : len(text)-1] }

func (s *secrets) all() []pattern {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.patterns
}

// cut returns where a text must end that is cut off at its end, so that no secret is cut in two.
func (s *secrets) cut(text []byte) int {
	end := len(text)
	var whole []span
	for _, p := range s.all() {
		started := int(p.scan(0, text, func(end int) { whole = append(whole, span{end - len(p.text), end}) }))
		if started < len(p.text) {
			end = min(end, len(text)-started)
		}
	}
	for _, found := range union(whole) {
		if found.start < end && end < found.end {
			return found.start
		}
	}
	return end
}

// span is a piece of a text that is a secret, or a part of one.
type span struct{ start, end int }

// scan looks for the pattern in data, of which matched bytes of the pattern went before. It calls found with the end of every occurrence
// and returns how much of the pattern data ends with.
func (p *pattern) scan(matched int32, data []byte, found func(end int)) int32 {
	for i := 0; i < len(data); i++ {
		if matched == 0 {
			skip := bytes.IndexByte(data[i:], p.text[0])
			if skip < 0 {
				return 0
			}
			i += skip
		}
		if matched = p.step(matched, data[i]); matched == int32(len(p.text)) {
			found(i + 1)
		}
	}
	return matched
}

// union sorts spans and makes one of those that overlap.
func union(spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int { return a.start - b.start })
	var merged []span
	for _, s := range spans {
		if last := len(merged) - 1; last >= 0 && s.start < merged[last].end {
			merged[last].end = max(merged[last].end, s.end)
			continue
		}
		merged = append(merged, s)
	}
	return merged
}

// appendMasked appends text[from:to] with a mask in the place of every span that starts there. What is before from was dealt with.
func appendMasked(dst, text []byte, spans []span, from, to int) []byte {
	for _, s := range spans {
		if s.start >= to {
			break
		}
		if s.start >= from {
			dst = append(dst, text[from:s.start]...)
			dst = append(dst, secretMask...)
		}
		from = max(from, s.end)
	}
	if from < to {
		dst = append(dst, text[from:to]...)
	}
	return dst
}

// clean replaces the secrets of a text. Messages cut long texts ("secr…"): what looks like the start of a secret before a cut is replaced,
// too.
func (s *secrets) clean(text string) string {
	patterns := s.all()
	if len(patterns) == 0 || text == "" {
		return text
	}
	data := []byte(text)
	var cuts []int
	for at := 0; ; {
		i := strings.Index(text[at:], cutMark)
		if i < 0 {
			break
		}
		at += i
		cuts = append(cuts, at)
		if at > 0 && text[at-1] == '"' {
			cuts = append(cuts, at-1)
		}
		at += len(cutMark)
	}
	var spans []span
	for _, p := range patterns {
		p.scan(0, data, func(end int) { spans = append(spans, span{end - len(p.text), end}) })
		for _, cut := range cuts {
			before := data[max(0, cut-len(p.text)):cut]
			if n := int(p.scan(0, before, func(int) {})); n >= minSecretPrefix {
				spans = append(spans, span{cut - n, cut})
			}
		}
	}
	if len(spans) == 0 {
		return text
	}
	return string(appendMasked(nil, data, union(spans), 0, len(data)))
}

// problems returns problems without the secrets of their texts.
func (s *secrets) problems(all Problems) Problems {
	clean := slices.Clone(all)
	for i := range clean {
		p := &clean[i]
		p.Field, p.Message, p.Hint = s.clean(p.Field), s.clean(p.Message), s.clean(p.Hint)
	}
	return clean
}

// in tells whether a text holds a secret.
func (s *secrets) in(text string) bool {
	return slices.ContainsFunc(s.all(), func(p pattern) bool { return strings.Contains(text, p.text) })
}

// event cleans what of an event was not cleaned when it was made: failures, details, names of components and output were. The names of
// phases, steps and actions stand in the document as they are; references in them have no meaning.
func (s *secrets) event(e *Event) {
	e.Path, e.Name, e.Description = s.clean(e.Path), s.clean(e.Name), s.clean(e.Description)
	if e.Stream == StreamNotice {
		e.Text = s.clean(e.Text)
	}
}

// cutMark is where a message leaves out the rest of a text.
const cutMark = "…"

// cleaner replaces the secrets of a stream. It holds back what may be the start of a secret, which is less than the longest one.
type cleaner struct {
	secrets *secrets
	matched []int32 // how much of every pattern the stream ends with
	held    []byte
	spans   []span // secrets in held; what starts before held has its mask already
}

// write takes the next piece of the stream and returns what can be told by now. The result is good until the next call.
func (c *cleaner) write(data []byte) []byte {
	patterns := c.secrets.all()
	if len(patterns) == 0 {
		return data
	}
	for len(c.matched) < len(patterns) {
		c.matched = append(c.matched, 0)
	}
	base := len(c.held)
	c.held = append(c.held, data...)
	spans := c.spans
	var keep int32
	for i := range patterns {
		p := &patterns[i]
		matched := p.scan(c.matched[i], data, func(end int) {
			spans = append(spans, span{base + end - len(p.text), base + end})
		})
		if matched == int32(len(p.text)) {
			matched = p.border[matched-1] // the whole was found; what counts is what it may be the start of
		}
		c.matched[i] = matched
		keep = max(keep, matched)
	}
	hold := len(c.held) - int(keep)
	spans = union(spans)
	clean := appendMasked(nil, c.held, spans, 0, hold)
	c.spans = nil
	for _, s := range spans {
		if s.end > hold {
			c.spans = append(c.spans, span{s.start - hold, s.end - hold})
		}
	}
	c.held = append(c.held[:0], c.held[hold:]...)
	return clean
}

// flush returns what was held back, when the stream has ended.
func (c *cleaner) flush() []byte {
	clean := appendMasked(nil, c.held, c.spans, 0, len(c.held))
	c.held, c.matched, c.spans = nil, nil, nil
	return clean
}
