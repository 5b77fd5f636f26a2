package component

import (
	"math/rand/v2"
	"strings"
	"testing"
)

func TestSecretsClean(t *testing.T) {
	tests := []struct {
		name, secret, text, want string
	}{
		{"whole", "hunter2", "the password is hunter2, hunter2!", "the password is ***, ***!"},
		{"none", "hunter2", "hunter", "hunter"},
		{"empty", "", "text", "text"},
		{"one character", "x", "axb", "a***b"},
		{"overlapping itself", "abab", "zababab.", "z***."},
		{"repeated", "aa", "aaaaa-aa", "***-***"},
		{"lines", "first line\nsecond\nab\n", "a second, ab, first line", "a ***, ab, ***"},
		{"short lines together", "ab\ncd", "ab, ab\ncd, cd", "ab, ***, cd"},
		{"line feed at the end", "hunter2\n", "hunter2", "***"},
		{"CRLF", "one1\r\ntwo2", "two2 one1", "*** ***"},
		{"in JSON", `pa"ss<`, `{"a":"pa\"ss<","b":"pa\"ss\u003c"}`, `{"a":"***","b":"***"}`},
		{"quoted by Go", "tab\there", `"tab\there"`, `"***"`},
		{"quoted as ASCII", "pässword", `"p\u00e4ssword"`, `"***"`},
		{"lines in JSON", "one1\ntwo2", `"one1\ntwo2"`, `"***"`},
		{"cut in a message", "hunter2", `"my hunt"… and hunte… and "hun"…`, `"my ***"… and ***… and "hun"…`},
		{"in paths", "one//two/./three/", "/tmp/one/two/three: no such file, /tmp/one/two/three/x", "/tmp/***: no such file, /tmp/***/x"},
		{"in URLs", "a b/c?d=e&f", "http://h/a%20b/c?d=e&f a%20b%2Fc%3Fd=e&f a+b%2Fc%3Fd%3De%26f http://h/a%20b/c%3Fd=e&f", "http://h/*** *** *** http://h/***"},
		{"path of a URL", "/one two?x", "GET /one%20two of http://h/one%20two?y", "GET *** of http://h***?y"},
		{"password of a URL", "p@ss:word", "http://u:p%40ss%3Aword@h", "http://u:***@h"},
		{"short forms", "a/", "a / a/ %2F", "a / *** %2F"},
		{"with the mark of cuts in it", "hun…ter", "a hun…ter", "a ***"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var s secrets
			s.add(test.secret)
			if got := s.clean(test.text); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
	var s secrets
	s.add("abcdef")
	s.add("defghi")
	if got := s.clean("xabcdefghix"); got != "x***x" {
		t.Errorf("overlapping secrets: %q", got)
	}
}

// TestCleanerSplits writes random texts full of secrets in pieces of random sizes: the result is that of the whole text, without secrets.
func TestCleanerSplits(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	letters := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = "ab\n"[random.IntN(3)]
		}
		return string(b)
	}
	for range 20_000 {
		var s secrets
		var values []string
		for range 1 + random.IntN(3) {
			values = append(values, letters(1+random.IntN(9)))
			s.add(values[len(values)-1])
		}
		text := letters(random.IntN(12)) + values[0] + letters(random.IntN(12))
		checkCleaner(t, &s, values, text, func(left int) int { return 1 + random.IntN(left) })
	}
}

func checkCleaner(t *testing.T, s *secrets, values []string, text string, piece func(left int) int) {
	t.Helper()
	want := s.clean(text)
	c := cleaner{secrets: s}
	var got strings.Builder
	for rest := text; rest != ""; {
		n := piece(len(rest))
		got.Write(c.write([]byte(rest[:n])))
		rest = rest[n:]
		if len(c.held) > 64<<10 {
			t.Fatalf("%d bytes are held back", len(c.held))
		}
	}
	got.Write(c.flush())
	if got.String() != want {
		t.Fatalf("secrets %q, text %q: in pieces %q, as a whole %q", values, text, got.String(), want)
	}
	for _, value := range values {
		if value != "" && strings.Contains(want, value) {
			t.Fatalf("secret %q is in %q of %q", value, want, text)
		}
	}
}

func FuzzCleaner(f *testing.F) {
	f.Add("hunter2", "my hunter2 here", uint8(3))
	f.Add("line one\nline two", "x line two line one\nline two", uint8(1))
	f.Add("aaaa", "aaaaaaaaaaaa", uint8(5))
	f.Fuzz(func(t *testing.T, secret, text string, size uint8) {
		if strings.ContainsAny(secret, "*…") || len(secret) > 1000 || len(text) > 10_000 || strings.Contains(text, "…") {
			return // a secret of stars is in its mask
		}
		var s secrets
		s.add(secret)
		checkCleaner(t, &s, []string{secret}, text+secret, func(left int) int { return min(left, 1+int(size%32)) })
	})
}

func TestCleanerLearnsWhileTheStreamRuns(t *testing.T) {
	var s secrets
	c := cleaner{secrets: &s}
	got := string(c.write([]byte("hunter2 ")))
	s.add("hunter2")
	got += string(c.write([]byte("hun"))) + string(c.write([]byte("ter2 "))) + string(c.flush())
	if got != "hunter2 *** " {
		t.Errorf("got %q", got)
	}
}

func TestSecretsCut(t *testing.T) {
	tests := []struct {
		name    string
		secrets []string
		text    string
		want    string
	}{
		{"none", nil, "text", "text"},
		{"elsewhere", []string{"hunter2"}, "hunter2 text", "hunter2 text"},
		{"started", []string{"hunter2"}, "text hunt", "text "},
		{"whole", []string{"hunter2"}, "text hunter2", "text hunter2"},
		{"all but one byte", []string{"hunter2"}, "hunter2hunter", "hunter2"},
		{"overlapping another", []string{"xyzabc", "abcdef"}, "text xyzabc", "text "},
		{"overlapping itself", []string{"abab"}, "1ababab", "1ababab"},
		{"the longest one", []string{"bcde", "abcdf"}, "abcd", ""},
		{"only the last", []string{"ab"}, "aaaa", "aaa"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var s secrets
			for _, secret := range test.secrets {
				s.add(secret)
			}
			if got := test.text[:s.cut([]byte(test.text))]; got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// TestOutputCut has a secret across the end of what is kept of an output, and looks for any part of it.
func TestOutputCut(t *testing.T) {
	var s secrets
	s.add("hunter2-and-more")
	o := newOutput(-1, &s, func(string, []byte) {})
	for _, piece := range []string{strings.Repeat("x", MaxCaptured-7), "hunter2-", "and-more", "y"} {
		if _, err := o.stdout.Write([]byte(piece)); err != nil {
			t.Fatal(err)
		}
	}
	if got := o.text(); strings.Trim(got, "x") != "" || len(got) != MaxCaptured-7 {
		t.Errorf("%d bytes are kept, with %q", len(got), strings.Trim(got, "x"))
	}
	a := &attempt{run: &run{session: &session{secrets: &s}, state: &State{}}, output: o}
	a.merge([]map[string]string{{"stdout": strings.Repeat("x", MaxCaptured-3) + "hunter2-and-more"}})
	a.merge([]map[string]string{{"stdout": "y"}})
	if got := a.state.merged()[0]["stdout"]; strings.Trim(got, "x\n") != "" {
		t.Errorf("of the loop %q is kept", strings.Trim(got, "x\n"))
	}
}
