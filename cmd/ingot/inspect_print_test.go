package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"
	"unicode"

	"github.com/ingot-image/ingot/disk/inspect"
)

// hostileText is what no name on a disk may do to a terminal or a table.
const hostileText = "a\x1b[31mb\x1b]0;title\a\u202ec\x9bd\te\nf\r"

// fill puts a text into every string of a value, and two elements into every list.
func fill(v reflect.Value, text string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), text)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(v.Index(i), text)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i), text)
			}
		}
	}
}

// Whatever an image has as text, no more reaches the terminal than with harmless text: no control characters, no other lines.
func TestPrintHostile(t *testing.T) {
	lines := map[string]int{}
	for _, text := range []string{"harmless", hostileText} {
		r := &inspected{Report: &inspect.Report{}}
		fill(reflect.ValueOf(r).Elem(), text)
		for i := range 2 { // what is printed otherwise
			r.System.Packages.Problem = text[:len(text)*(1-i)]
			r.System.Kernels[0].Initrd.Problem = ""
			r.Boot.BIOS.CoreFound = i == 0
			r.Boot.BIOS.CorePartition = 0
			var out bytes.Buffer
			if err := printInspected(&out, r, true); err != nil {
				t.Fatal(err)
			}
			if at := strings.IndexFunc(out.String(), func(r rune) bool {
				return r != '\n' && unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)
			}); at >= 0 {
				line := out.String()[strings.LastIndex(out.String()[:at], "\n")+1:]
				line, _, _ = strings.Cut(line, "\n")
				t.Errorf("printed raw: %q", line)
			}
			lines[text] += strings.Count(out.String(), "\n")
		}
	}
	if lines["harmless"] != lines[hostileText] {
		t.Errorf("%d lines, %d with harmless text", lines[hostileText], lines["harmless"])
	}
}

func TestReportHostile(t *testing.T) {
	for _, err := range []error{usageError{errors.New(hostileText)}, errors.New(hostileText), errors.Join(errors.New("one"), errors.New("two"))} {
		r, w, _ := os.Pipe()
		stderr := os.Stderr
		os.Stderr = w
		report(err)
		os.Stderr = stderr
		w.Close()
		out, _ := io.ReadAll(r)
		if bytes.ContainsFunc(out, func(r rune) bool {
			return r != '\n' && r != '\t' && unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)
		}) || !bytes.HasPrefix(out, []byte("ingot: ")) || bytes.Count(out, []byte("\n")) != 2 {
			t.Errorf("%q", out)
		}
	}
}
