package vmimport

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestRemediesHaveSources says of each message where it is known from, in the code and in the document.
func TestRemediesHaveSources(t *testing.T) {
	document, err := os.ReadFile("../../docs/aws-setup.md")
	if err != nil {
		t.Fatal(err)
	}
	issue := regexp.MustCompile(`^[\w.-]+/[\w.-]+#\d+$`)
	var rows []string
	for _, r := range remedies() {
		if r.from != guide && r.from != codes && r.from != access && r.from != guess && !issue.MatchString(r.from) {
			t.Errorf("%q is known from %q", r.parts, r.from)
		}
		rows = append(rows, "| "+strings.Join(r.parts, " … ")+" | "+r.from+" |")
	}
	if table := strings.Join(rows, "\n") + "\n"; !strings.Contains(string(document), table) {
		t.Errorf("docs/aws-setup.md lacks the table of messages:\n%s", table)
	}
}
