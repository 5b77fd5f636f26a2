package preflight

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/ingot-image/ingot/builder/component/managed"
)

var update = flag.Bool("update", false, "write the list of checks in docs/check.md anew")

const (
	page       = "../../docs/check.md"
	listBegins = "<!-- The list of checks: go test ./export/preflight -run TestDocs -update -->\n"
	listEnds   = "<!-- end of the list -->\n"
)

// list is the part of the page that Checks says.
func list() string {
	var b strings.Builder
	b.WriteString("| Id | What is right when it passes | import-image | import-snapshot | ebs-direct |\n| --- | --- | --- | --- | --- |\n")
	level := func(l Level) string {
		if l == None {
			return "–"
		}
		return string(l)
	}
	for _, c := range Checks() {
		fmt.Fprintf(&b, "| [%s](#%s) | %s | %s | %s | %s |\n", c.ID, strings.ToLower(c.ID), c.Title, level(c.Levels.ImportImage), level(c.Levels.ImportSnapshot), level(c.Levels.EBSDirect))
	}
	for _, c := range Checks() {
		fmt.Fprintf(&b, "\n### %s\n\n%s.\n\n", c.ID, upper(c.Title))
		if c.Looks != "" {
			fmt.Fprintf(&b, "- Looks at: %s\n", c.Looks)
		}
		fmt.Fprintf(&b, "- Prevents: %s\n- Fix: %s\n", quoted(c.Prevents), c.Fix)
		if c.Fixable {
			b.WriteString("- `ingot check --fix` mends it in a copy\n")
		}
		switch {
		case c.Component == "":
			fmt.Fprintf(&b, "- No component mends it: %s\n", c.NoComponent)
		case c.Parameter != "":
			fmt.Fprintf(&b, "- In a build the component `%s` mends it, as its parameter `%s` says\n", c.Component, c.Parameter)
		default:
			fmt.Fprintf(&b, "- In a build the component `%s` mends it\n", c.Component)
		}
	}
	return b.String()
}

func upper(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// quoted sets AWS's own words apart from ours.
func quoted(s string) string {
	if strings.HasPrefix(s, "Client") || strings.HasPrefix(s, "InvalidParameter") {
		return "`" + s + "`"
	}
	return s
}

// The page tells what the checks do.
func TestDocs(t *testing.T) {
	data, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(data), listBegins)
	_, after, ok2 := strings.Cut(rest, listEnds)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the list of checks", page)
	}
	want := before + listBegins + "\n" + list() + "\n" + listEnds + after
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if string(data) != want {
		t.Errorf("%s does not list what Checks gives: go test ./export/preflight -run TestDocs -update", page)
	}
}

// Every check says all that a reader needs, and ids are in order.
func TestChecks(t *testing.T) {
	last := ""
	for _, c := range Checks() {
		if c.ID <= last {
			t.Errorf("%s comes after %s", c.ID, last)
		}
		last = c.ID
		if c.Title == "" || c.Prevents == "" || c.Fix == "" || c.look == nil || c.Levels == (Levels{}) {
			t.Errorf("%s is incomplete: %+v", c.ID, c)
		}
		if (c.Component == "") == (c.NoComponent == "") {
			t.Errorf("%s: the component %q, or why there is none: %q", c.ID, c.Component, c.NoComponent)
		}
		if c.Component == "" {
			continue
		}
		_, data, ok := managed.Lookup(c.Component)
		var document struct{ Parameters []map[string]any }
		if err := yaml.Unmarshal(data, &document); err != nil || !ok {
			t.Errorf("%s: there is no component %s: %v", c.ID, c.Component, err)
		}
		if c.Parameter != "" && !slices.ContainsFunc(document.Parameters, func(p map[string]any) bool { return p[c.Parameter] != nil }) {
			t.Errorf("%s: %s has no parameter %s", c.ID, c.Component, c.Parameter)
		}
	}
}
