package component_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/component/action"
)

// aliased is a document whose step B has a command with references and then aliases of it.
func aliased(reference string, references, aliases int) string {
	return "schemaVersion: 1.0\nphases:\n- name: build\n  steps:\n" +
		"  - {name: A, action: ExecuteBash, inputs: {commands: [echo]}}\n" +
		"  - {name: B, action: ExecuteBash, inputs: {commands: [&a '" + strings.Repeat(reference, references) + "'" +
		strings.Repeat(", *a", aliases) + "]}}\n"
}

// TestParseAliasesOfReferences reads small documents that stand for much text, in which references are looked for.
func TestParseAliasesOfReferences(t *testing.T) {
	var unknown strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&unknown, "k%d: x\n", i)
	}
	tests := []struct {
		name, document, want string
	}{
		{"right references", aliased("{{build.A.inputs.commands}}", 1200, 8000), "the document has more than 1 MiB of text"},
		{"wrong references", aliased("{{abc}}", 4500, 8000), "the document has more than 1 MiB of text"},
		{"long keys", "a: &a {" + strings.Repeat("k", 1000) + ": 1}\nb: [*a" + strings.Repeat(", *a", 2000) + "]\n", "the document has more than 1 MiB of text"},
		{"many unknown fields", unknown.String(), "unknown field"},
		{"right references within the bound", aliased("{{build.A.inputs.commands}}", 1200, 30), ""},
		{"wrong references within the bound", aliased("{{abc}}", 4500, 30), "no parameter or constant has this name"},
		{"wrong short references", aliased("{{abc}}", 1, 15_000), "no parameter or constant has this name"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if len(test.document) > component.MaxDocumentSize {
				t.Fatalf("the document is %d bytes long", len(test.document))
			}
			start := time.Now()
			_, err := component.Parse("c.yml", []byte(test.document), action.Modules())
			if took := time.Since(start); took > 5*time.Second { // it was minutes
				t.Errorf("took %s", took)
			}
			if got := fmt.Sprint(err); test.want == "" && err != nil || !strings.Contains(got, test.want) {
				t.Errorf("got %.300s, want %s", got, test.want)
			}
			if problems, _ := err.(component.Problems); len(problems) > 1000 {
				t.Errorf("%d problems", len(problems))
			}
		})
	}
}
