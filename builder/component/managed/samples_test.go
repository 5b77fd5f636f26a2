package managed_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/component/action"
)

// TestSamples checks the sample documents of testdata/samples, each for its platform, and that they show the whole language.
func TestSamples(t *testing.T) {
	all := action.Modules()
	for platform, leastFiles := range map[string]int{"linux": 15, "windows": 9} {
		modules := all.For(platform)
		files, err := filepath.Glob(filepath.Join("../../../testdata/samples", platform, "*"))
		if err != nil || len(files) < leastFiles {
			t.Fatalf("found %d samples for %s, %v", len(files), platform, err)
		}
		used := map[string]bool{}
		var texts strings.Builder
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			texts.Write(data)
			d, err := component.Parse(filepath.Base(file), data, modules)
			if err != nil {
				t.Errorf("%s: %v", platform, err)
				continue
			}
			if want := strings.TrimSuffix(filepath.Base(file), filepath.Ext(file)); !strings.HasPrefix(d.Name, want) || d.Description == "" {
				t.Errorf("%s has the name %q and the description %q", file, d.Name, d.Description)
			}
			for _, phase := range d.Phases {
				for _, step := range phase.Steps {
					used[step.Action] = true
				}
			}
		}
		for name, module := range all {
			known := len(module.Platforms) == 0 || slices.Contains(module.Platforms, platform)
			if known && !used[name] {
				t.Errorf("no sample for %s uses %s", platform, name)
			}
		}
		if platform != "linux" {
			continue
		}
		for _, word := range []string{
			"parameters:", "constants:", "for:", "forEach:", "delimiter:", "updateBy: -1", "then: Skip", "then: Abort", "else: Execute",
			"and:", "or:", "not:", "onFailure: Ignore", "onFailure: Continue", "onFailure: Abort", "maxAttempts:", "timeoutSeconds: -1",
			"exit 194", "action: Reboot", "aws:ssm:resolve(", "include:", "exclude:", "permissions: 0644", "permissions: 755",
			"name: build", "name: validate", "name: test",
			"stringIsEmpty", "stringIsWhitespace", "stringEquals", "stringLessThan", "stringLessThanEquals", "stringGreaterThan",
			"stringGreaterThanEquals", "patternMatches", "numberEquals", "numberLessThan", "numberLessThanEquals", "numberGreaterThan",
			"numberGreaterThanEquals", "binaryExists", "fileExists", "folderExists", "fileMD5Equals", "fileSHA1Equals",
			"fileSHA256Equals", "fileSHA512Equals",
		} {
			if !regexp.MustCompile(`(^|[^A-Za-z])` + regexp.QuoteMeta(word)).MatchString(texts.String()) {
				t.Errorf("no sample for linux shows %s", word)
			}
		}
	}
}
