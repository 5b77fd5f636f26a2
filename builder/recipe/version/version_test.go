package version

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func versions(t *testing.T, texts ...string) []Version {
	t.Helper()
	var all []Version
	for _, text := range texts {
		v, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, v)
	}
	return all
}

func pattern(t *testing.T, text string) Pattern {
	t.Helper()
	p, err := ParsePattern(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestParse(t *testing.T) {
	for text, want := range map[string]Version{
		"1.0.3":                            {Major: 1, Patch: 3},
		"1.0.3/2":                          {Major: 1, Patch: 3, Build: 2},
		"0.0.0":                            {},
		"2021.01.01":                       {Major: 2021, Minor: 1, Patch: 1},
		"1073741823.1073741823.1073741823": {Major: MaxNode, Minor: MaxNode, Patch: MaxNode},
	} {
		if got, err := Parse(text); err != nil || got != want {
			t.Errorf("Parse(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                                  "three nodes",
		"1.0":                               "three nodes",
		"1.0.0.0":                           "three nodes",
		"v1.0.0":                            `major version "v1" is not a number`,
		"1..0":                              "minor version is empty",
		"1.-1.0":                            "not a number",
		"1.+1.0":                            "not a number",
		"1.0.٣":                             "not a number",
		"1.0.1073741824":                    "above the limit of 1073741823",
		"1.0.99999999999999999999":          "above the limit",
		"1.x.8":                             "right of an x must be x",
		"x.2.x":                             "right of an x must be x",
		"X.X.X":                             "not a number",
		"1.0.x/1":                           "needs an exact version",
		"1.0.0/0":                           "start at 1",
		"1.0.0/":                            "build number is empty",
		"1.0.0/1/2":                         "not a number",
		strings.Repeat("1", 100) + ".0.0":   "longer than",
		"1.0.x":                             "wildcard where an exact version",
		"1.0.0/" + "9" + "999999999" + "99": "above the limit",
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%q): error %v, want one with %q", text, err, want)
		}
	}
}

// The example of the service's documentation.
func TestSelect(t *testing.T) {
	all := versions(t, "1.6.8", "2.2.4/1", "1.7.8", "2.2.4/3", "2.2.4/2")
	for text, want := range map[string]string{
		"x.x.x": "2.2.4/3", "1.x.x": "1.7.8", "1.6.x": "1.6.8", "2.2.4": "2.2.4/3", "2.2.4/2": "2.2.4/2", "3.x.x": "", "2.2.4/9": "",
	} {
		got, ok := pattern(t, text).Select(all)
		if ok != (want != "") || ok && got.String() != want {
			t.Errorf("%s selects %s, %v; want %q", text, got, ok, want)
		}
	}
}

func TestNext(t *testing.T) {
	for _, c := range []struct {
		pattern  string
		existing []string
		want     string
	}{
		{"1.0.0", nil, "1.0.0/1"},
		{"1.0.0", []string{"1.0.0/1", "1.0.0/7", "1.0.1/9"}, "1.0.0/8"},
		{"1.0.x", nil, "1.0.0/1"},
		{"1.0.x", []string{"1.0.4/2", "1.2.7/1"}, "1.0.5/1"},
		{"1.x.x", []string{"1.0.4/2", "1.2.7/1", "2.0.0/1"}, "1.2.8/1"},
		{"1.x.x", []string{"2.0.0/1"}, "1.0.0/1"},
		{"x.x.x", nil, "1.0.0/1"},
		{"x.x.x", []string{"0.3.9/1"}, "0.3.10/1"},
	} {
		got, err := pattern(t, c.pattern).Next(versions(t, c.existing...))
		if err != nil || got.String() != c.want {
			t.Errorf("%s after %v is %s, %v; want %s", c.pattern, c.existing, got, err, c.want)
		}
	}
	full := versions(t, "1.0.1073741823/1")
	if got, err := pattern(t, "1.0.x").Next(full); !errors.Is(err, ErrExhausted) {
		t.Errorf("after the last patch comes %s, %v", got, err)
	}
	if got, err := pattern(t, "1.0.0/3").Next(nil); err == nil {
		t.Errorf("a pattern with a build assigns %s", got)
	}
	if got, err := (Pattern{}).Next(nil); err == nil {
		t.Errorf("the zero pattern assigns %s", got)
	}
}

// What must hold for any versions: the selected one matches and is the newest that does; the next one matches too, is new,
// and is what the pattern selects from then on.
func TestSelectAndNextHold(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	node := func() int { return random.IntN(3) }
	for range 20000 {
		var all []Version
		for range random.IntN(12) {
			all = append(all, Version{node(), node(), node(), 1 + node()})
		}
		p := Pattern{nodes: [3]int{node(), node(), node()}, fixed: random.IntN(4), valid: true}
		for i := p.fixed; i < 3; i++ {
			p.nodes[i] = 0
		}

		if again := pattern(t, p.String()); again != p {
			t.Fatalf("%s reads back as %s", p, again)
		}
		selected, ok := p.Select(all)
		for _, v := range all {
			if p.Matches(v) && (!ok || v.Compare(selected) > 0) {
				t.Fatalf("%s selects %s of %v, not %s", p, selected, all, v)
			}
		}
		if ok && (!p.Matches(selected) || !slices.Contains(all, selected)) {
			t.Fatalf("%s selects %s of %v", p, selected, all)
		}
		next, err := p.Next(all)
		if err != nil {
			t.Fatalf("next of %s in %v: %v", p, all, err)
		}
		if !p.Matches(next) || slices.Contains(all, next) || next.Build < 1 || ok && next.Compare(selected) <= 0 {
			t.Fatalf("next of %s in %v is %s", p, all, next)
		}
		if newest, _ := p.Select(append(all, next)); newest != next {
			t.Fatalf("%s selects %s, not the %s just assigned", p, newest, next)
		}
	}
}

func TestTextForms(t *testing.T) {
	type both struct {
		V Version `json:"v"`
		P Pattern `json:"p"`
	}
	in := both{Version{1, 2, 3, 4}, pattern(t, "1.x.x")}
	data, err := json.Marshal(in)
	if err != nil || string(data) != `{"v":"1.2.3/4","p":"1.x.x"}` {
		t.Fatalf("%s, %v", data, err)
	}
	var out both
	if err := json.Unmarshal(data, &out); err != nil || out != in {
		t.Fatalf("%v, %v", out, err)
	}
	if err := json.Unmarshal([]byte(`{"v":"1.x.x"}`), &out); err == nil {
		t.Error("a version with a wildcard was read")
	}
	if exact := Exactly(in.V); exact.String() != "1.2.3/4" || !exact.Matches(in.V) || exact.Matches(Version{1, 2, 3, 5}) {
		t.Errorf("Exactly gives %s", exact)
	}
}

func TestParseReference(t *testing.T) {
	for text, want := range map[string]string{
		"web-server/1.0.x":   "web-server/1.0.x",
		"Web Server/1.0.3/2": "web-server/1.0.3/2",
		"a_1/x.x.x":          "a_1/x.x.x",
	} {
		if got, err := ParseReference(text); err != nil || got.String() != want {
			t.Errorf("ParseReference(%q) = %s, %v; want %s", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"web-server":                        "NAME/VERSION",
		"/1.0.0":                            "3 to 128",
		"ab/1.0.0":                          "3 to 128",
		".../1.0.0":                         "not allowed",
		"web.server/1.0.0":                  "not allowed",
		" web/1.0.0":                        "space",
		"web/1.x.0":                         "right of an x",
		strings.Repeat("a", 129) + "/1.0.0": "3 to 128",
	} {
		if _, err := ParseReference(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseReference(%q): error %v, want one with %q", text, err, want)
		}
	}
}

func FuzzParsePattern(f *testing.F) {
	for _, seed := range []string{"1.0.3", "1.0.3/2", "1.0.x", "x.x.x", "1.x.8", "2021.01.01", "1.0.1073741824", "", "1.0.0/", "..", "x.x.x/1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePattern(text)
		if err != nil {
			if !p.IsZero() || len(err.Error()) > 1024 {
				t.Fatalf("%q: %v, %v", text, p, err)
			}
			return
		}
		again, err := ParsePattern(p.String())
		if err != nil || again != p {
			t.Fatalf("%q reads as %s, which reads as %s, %v", text, p, again, err)
		}
		if v, ok := p.Exact(); ok {
			if !p.Matches(v) || v.String() != p.String() {
				t.Fatalf("%q: %s does not match %s", text, p, v)
			}
		}
	})
}
