package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// TestDiffDocument holds the example of docs/diff.md against what the script of diff checks.
func TestDiffDocument(t *testing.T) {
	document, err := os.ReadFile(filepath.Join(repository, "docs", "diff.md"))
	if err != nil {
		t.Fatal(err)
	}
	script, err := txtar.ParseFile("testdata/script/diff.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range script.Files {
		if f.Name != "want.txt" {
			continue
		}
		if !strings.Contains(string(document), "<!-- diff: want.txt -->\n```\n"+string(f.Data)+"```\n") {
			t.Error("docs/diff.md does not show what testdata/script/diff.txtar wants")
		}
		return
	}
	t.Error("testdata/script/diff.txtar has no want.txt")
}
