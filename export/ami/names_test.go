package ami

import (
	"strings"
	"testing"
	"time"
)

func variables() Variables {
	return Variables{BuildDate: time.Date(2026, 11, 2, 14, 5, 9, 250e6, time.FixedZone("", 3600)), BuildVersion: "3", ImageName: "web server", Version: "1.2.0"}
}

func TestExpand(t *testing.T) {
	for text, want := range map[string]string{
		"plain":                                                           "plain",
		"web {{ imagebuilder:buildDate }}":                                "web 2026-11-02T13-05-09.250Z",
		"{{imagebuilder:buildDate:yyyyMMHHss}}":                           "2026111309",
		"{{ imagebuilder:buildDate:yy-M-d'T'H''mm }}":                     "26-11-2T13'05",
		"{{ imagebuilder:buildDate:EEE, EEEE MMM MMMM DDD hh a}}":         "Mon, Monday Nov November 306 01 PM",
		"{{ imagebuilder:buildDate:'day' k K u SSS z Z X}}":               "day 13 1 1 250 UTC +0000 Z",
		"v{{ imagebuilder:buildVersion }} {{ imagebuilder:buildVersion}}": "v3 3",
	} {
		if got, err := Expand(text, variables()); got != want || err != nil {
			t.Errorf("%s: %q, %v; want %q", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"{{ imagebuilder:buildDay }}":                                  `no variable "imagebuilder:buildDay"`,
		"{{ imagebuilder:buildDate:yyyy'T }}":                          "a quote is not closed",
		"{{ imagebuilder:buildDate:yyyyQ }}":                           "'Q' has no meaning",
		"{{ imagebuilder:buildDate:" + strings.Repeat("y", 33) + " }}": "at most 32",
	} {
		if _, err := Expand(text, variables()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %s", text, err, want)
		}
	}
}

func TestName(t *testing.T) {
	v := variables()
	for text, want := range map[string]string{
		"":                                  "web server 1.2.0 2026-11-02T13-05-09.250Z",
		"a/b-{{imagebuilder:buildVersion}}": "a/b-3",
	} {
		if got, err := Name(text, v); got != want || err != nil {
			t.Errorf("%q: %q, %v; want %q", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"ab":                                     "has 2 characters; it needs 3 to 128",
		strings.Repeat("a", 129):                 "has 129 characters",
		"web & db":                               `has "&"`,
		"web {{ imagebuilder:buildDate:HH:mm }}": `has ":"`,
	} {
		if _, err := Name(text, v); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %s", text, err, want)
		}
	}
	v.ImageName = strings.Repeat("ä&b", 100)
	name, err := Name("", v)
	if err != nil || len(name) != maxName || !strings.HasSuffix(name, " 2026-11-02T13-05-09.250Z") {
		t.Errorf("the name of an image with a long name: %q, %v", name, err)
	}
}

func FuzzExpand(f *testing.F) {
	for _, seed := range []string{"{{ imagebuilder:buildDate:yyyy'x''' }}", "{{imagebuilder:buildVersion}}", "{{{{ }}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := Expand(text, variables())
		if err == nil && !strings.Contains(text, "{{") && got != text {
			t.Errorf("%q became %q", text, got)
		}
	})
}
