package main

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/ingot-image/ingot/builder"
	"github.com/ingot-image/ingot/builder/aws"
	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/component/action"
	"github.com/ingot-image/ingot/builder/component/managed"
	"github.com/ingot-image/ingot/builder/config"
	"github.com/ingot-image/ingot/builder/recipe"
	"github.com/ingot-image/ingot/cmd/ingot-agent/embedded"
	"github.com/ingot-image/ingot/disk/inspect"
)

// page is one of the documents.
type page struct {
	name   string // relative to the repository, such as docs/build.md
	text   string
	blocks []block
}

// block is a fenced code block.
type block struct {
	page     string
	line     int // of its first line
	language string
	text     string
	file     string // of the file that the comment before it says it shows, "" for none
}

func (b block) String() string { return fmt.Sprintf("%s:%d", b.page, b.line) }

const repository = "../.."

// pages reads README.md and docs.
func pages(t *testing.T) []page {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(repository, "docs", "*.md"))
	if err != nil || len(files) < 10 {
		t.Fatalf("found %d documents, %v", len(files), err)
	}
	actions, err := filepath.Glob(filepath.Join(repository, "docs", "actions", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, actions...)
	var all []page
	for _, file := range append(files, filepath.Join(repository, "README.md")) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name, err := filepath.Rel(repository, file)
		if err != nil {
			t.Fatal(err)
		}
		p := page{name: name, text: string(data)}
		p.blocks = p.fenced(t)
		all = append(all, p)
	}
	return all
}

var shownFile = regexp.MustCompile(`^<!-- file: (\S+) -->$`)

func (p page) fenced(t *testing.T) (blocks []block) {
	var open *block
	file := ""
	for i, line := range strings.Split(p.text, "\n") {
		language, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && open == nil:
			open = &block{page: p.name, line: i + 2, language: language, file: file}
			file = ""
		case fence:
			blocks = append(blocks, *open)
			open = nil
		case open != nil:
			open.text += line + "\n"
		default:
			if m := shownFile.FindStringSubmatch(line); m != nil {
				file = m[1]
			}
		}
	}
	if open != nil {
		t.Errorf("%s: the code block is not closed", open)
	}
	return blocks
}

// TestDocuments holds the documents against the program: what they show must work, and what they list must be what there is.
func TestDocuments(t *testing.T) {
	all := pages(t)
	text := map[string]string{}
	for _, p := range all {
		text[p.name] = p.text
	}
	t.Run("yaml", func(t *testing.T) { checkYAML(t, all) })
	t.Run("commands", func(t *testing.T) { checkCommands(t, all) })
	t.Run("flags", func(t *testing.T) { checkFlags(t, all) })
	t.Run("links", func(t *testing.T) { checkLinks(t, all) })
	t.Run("recipe keys", func(t *testing.T) { checkRecipeKeys(t, "docs/recipes.md", text["docs/recipes.md"], "") })
	t.Run("distribution keys", func(t *testing.T) {
		checkRecipeKeys(t, "docs/distribute.md", text["docs/distribute.md"], "distribution.", "formats", "folder")
	})
	t.Run("actions", func(t *testing.T) { checkActions(t, all) })
	t.Run("managed", func(t *testing.T) { checkManaged(t, text["docs/managed-components.md"]) })
	t.Run("requirements", func(t *testing.T) {
		b := builder.Builder{Home: t.TempDir(), Agent: embedded.Agent}
		for _, r := range b.Requirements(t.Context()) {
			if !strings.Contains(text["docs/doctor.md"], r.Name) {
				t.Errorf("docs/doctor.md does not tell of %s", r.Name)
			}
		}
	})
	t.Run("fields", func(t *testing.T) {
		failure := jsonFields(reflect.TypeFor[builder.Failure](), "")
		event := jsonFields(reflect.TypeFor[builder.Event](), "", "failure", "manifest", "component.failure", "component.detail")
		sameNames(t, "docs/build.md, Events", firstColumn(section(text["docs/build.md"], "## Events"), "Field"), event)
		sameNames(t, "docs/build.md, failure", firstColumn(section(text["docs/build.md"], "## When a build fails"), "Field"), failure)
		manifest := jsonFields(reflect.TypeFor[builder.Manifest](), "", "tests[].failure", "blockDeviceMappings[]")
		sameNames(t, "docs/images.md", firstColumn(section(text["docs/images.md"], "## Manifest"), "Field"), manifest)
	})
	t.Run("inspect", func(t *testing.T) {
		fields := append(jsonFields(reflect.TypeFor[inspected](), ""), jsonFields(reflect.TypeFor[inspect.Report](), "")...)
		fields = slices.DeleteFunc(fields, func(name string) bool { return strings.HasSuffix(name, ".-") })
		sameNames(t, "docs/inspect.md", firstColumn(section(text["docs/inspect.md"], "## JSON"), "Field"), fields)
	})
	t.Run("words", func(t *testing.T) {
		types := []builder.EventType{builder.BuildStarted, builder.StageStarted, builder.StageEnded, builder.Progress,
			builder.TestStarted, builder.TestEnded, builder.ImageReused, builder.LayerUsed, builder.LayerSaved, builder.Warning, builder.ComponentEvent, builder.BuildEnded}
		var names []string
		for _, e := range types {
			names = append(names, string(e))
		}
		sameNames(t, "docs/build.md, event types", firstColumn(section(text["docs/build.md"], "## Events"), "Type"), names)
		stages := []string{builder.StageResolve, builder.StageBase, builder.StageBoot, builder.StageApply, builder.StageFinalise,
			builder.StageFlatten, builder.StageTest, builder.StageDistribute}
		if got := firstColumn(section(text["docs/build.md"], "## Stages"), "Stage"); !slices.Equal(got, stages) {
			t.Errorf("docs/build.md: the stages are %v, not %v", stages, got)
		}
		for _, marker := range markers(t) {
			if !strings.Contains(text["docs/build.md"], "`"+marker+"`") {
				t.Errorf("docs/build.md does not say what %s keeps", marker)
			}
		}
	})
}

// markers are the skip_cleanup_* files that finalise.sh looks for.
func markers(t *testing.T) (names []string) {
	script, err := os.ReadFile(filepath.Join(repository, "builder", "finalise.sh"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`! kept (\w+)`).FindAllStringSubmatch(string(script), -1) {
		names = append(names, "skip_cleanup_"+m[1])
	}
	if len(names) < 6 {
		t.Errorf("found only the markers %v in finalise.sh", names)
	}
	return names
}

// checkYAML parses every YAML example: a document of a component, steps of one, or a recipe.
func checkYAML(t *testing.T, all []page) {
	recipes, documents := 0, 0
	for _, p := range all {
		for _, b := range p.blocks {
			if b.language != "yaml" {
				continue
			}
			if b.file != "" {
				shown, err := os.ReadFile(filepath.Join(repository, b.file))
				if err != nil || string(shown) != b.text {
					t.Errorf("%s: is not what %s holds (%v)", b, b.file, err)
				}
			}
			var root yaml.Node
			if err := yaml.Unmarshal([]byte(b.text), &root); err != nil || len(root.Content) != 1 {
				t.Errorf("%s: %v", b, err)
				continue
			}
			var err error
			switch {
			case strings.HasPrefix(b.text, "steps:\n"):
				documents++
				_, err = component.Parse(b.String(), []byte("schemaVersion: 1.0\nphases:\n- name: build\n  "+strings.ReplaceAll(b.text, "\n", "\n  ")), action.Modules())
				err = withoutReferences(err)
			case root.Content[0].Kind == yaml.SequenceNode:
				documents++
				steps := "        " + strings.ReplaceAll(strings.TrimSpace(b.text), "\n", "\n        ")
				_, err = component.Parse(b.String(), []byte("schemaVersion: 1.0\nphases:\n  - name: build\n    steps:\n"+steps+"\n"), action.Modules())
			case strings.Contains(b.text, "\nphases:"):
				documents++
				_, err = component.Parse(b.String(), []byte(b.text), action.Modules())
			case strings.HasPrefix(b.text, "cache:"):
				_, err = config.Parse(b.String(), []byte(b.text))
			case strings.Contains(b.text, "\ndistributions:") || strings.HasPrefix(b.text, "distributions:"):
				file := filepath.Join(t.TempDir(), "distribution.yaml")
				if err = os.WriteFile(file, []byte(b.text), 0o600); err == nil {
					_, err = recipe.ReadDistribution(t.Context(), file)
				}
			case strings.HasPrefix(b.text, "requiredComponents:"):
				file := filepath.Join(t.TempDir(), "policy.yaml")
				if err = os.WriteFile(file, []byte(b.text), 0o600); err == nil {
					_, err = recipe.ReadPolicy(t.Context(), file)
				}
			case strings.HasPrefix(b.text, "/"):
				file := filepath.Join(t.TempDir(), "parameters.yaml")
				if err = os.WriteFile(file, []byte(b.text), 0o600); err == nil {
					_, err = aws.ReadParameters(file)
				}
			default:
				recipes++
				_, err = recipe.Parse(b.String(), []byte(b.text))
			}
			if err != nil {
				t.Errorf("%s: %v", b, err)
			}
		}
	}
	if recipes < 3 || documents < 2 {
		t.Errorf("found %d recipes and %d component documents only", recipes, documents)
	}
}

// withoutReferences leaves out problems with references: examples refer to steps and parameters that they do not show.
func withoutReferences(err error) error {
	var problems component.Problems
	if !errors.As(err, &problems) {
		return err
	}
	return slices.DeleteFunc(slices.Clone(problems), func(p component.Problem) bool { return strings.HasPrefix(p.Message, "{{") }).Err()
}

var commandLine = regexp.MustCompile(`^(?:\$ )?(?:bin/)?ingot (.*)$`)

// checkCommands runs every shown command line through the program's own parsing: verb, flags and number of arguments.
func checkCommands(t *testing.T, all []page) {
	found := 0
	for _, p := range all {
		for _, b := range p.blocks {
			if b.language != "sh" && b.language != "console" {
				continue
			}
			for i, line := range strings.Split(b.text, "\n") {
				m := commandLine.FindStringSubmatch(line)
				if m == nil || b.language == "console" && !strings.HasPrefix(line, "$ ") {
					continue
				}
				found++
				shown, _, _ := strings.Cut(m[1], "#")
				shown, _, _ = strings.Cut(shown, "|")
				shown, _, _ = strings.Cut(shown, " > ")
				root := newRoot()
				root.InitDefaultHelpCmd()
				root.InitDefaultCompletionCmd()
				cmd, args, err := root.Find(strings.Fields(shown))
				if err == nil && cmd == root {
					err = errors.New("no such command")
				}
				if err == nil {
					err = cmd.ParseFlags(args)
				}
				if err == nil {
					err = cmd.ValidateArgs(cmd.Flags().Args())
				}
				if err != nil {
					t.Errorf("%s:%d: %s: %v", b.page, b.line+i, line, err)
				}
			}
		}
	}
	if found < 10 {
		t.Errorf("found only %d command lines", found)
	}
}

// checkFlags wants every verb and every flag of it to be told of somewhere.
func checkFlags(t *testing.T, all []page) {
	var everything strings.Builder
	for _, p := range all {
		everything.WriteString(p.text)
	}
	var visit func(parent *cobra.Command)
	visit = func(parent *cobra.Command) {
		for _, cmd := range parent.Commands() {
			if !strings.Contains(everything.String(), cmd.CommandPath()) && cmd.Name() != "version" {
				t.Errorf("no document tells of %s", cmd.CommandPath())
			}
			cmd.Flags().VisitAll(func(f *pflag.Flag) {
				if !regexp.MustCompile("--" + f.Name + `\b`).MatchString(everything.String()) {
					t.Errorf("no document tells of %s --%s", cmd.CommandPath(), f.Name)
				}
			})
			visit(cmd)
		}
	}
	visit(newRoot())
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// checkLinks follows every link that stays in the repository, to the heading if it names one.
func checkLinks(t *testing.T, all []page) {
	for _, p := range all {
		for _, m := range link.FindAllStringSubmatch(p.text, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			target, heading, _ := strings.Cut(m[1], "#")
			text := p.text
			if target != "" {
				data, err := os.ReadFile(filepath.Join(repository, filepath.Dir(p.name), target))
				if err != nil {
					t.Errorf("%s: the link %s: %v", p.name, m[1], err)
					continue
				}
				text = string(data)
			}
			if heading != "" && !slices.Contains(anchors(text), heading) {
				t.Errorf("%s: the link %s: there is no such heading", p.name, m[1])
			}
		}
	}
}

// anchors are the names of a page's headings in links: lower case, - for spaces, no punctuation.
func anchors(text string) (names []string) {
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		name := regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(m[1]), "")
		names = append(names, strings.ReplaceAll(name, " ", "-"))
	}
	return names
}

// section is the part of a page under a heading, up to the next of the same or a higher level.
func section(text, heading string) string {
	_, rest, _ := strings.Cut(text, "\n"+heading+"\n")
	level := strings.IndexByte(heading, ' ')
	end := regexp.MustCompile(fmt.Sprintf(`(?m)^#{1,%d} `, level)).FindStringIndex(rest)
	if end != nil {
		rest = rest[:end[0]]
	}
	return rest
}

// rows gives the cells of those tables of a text whose first heading is the one given.
func rows(text, heading string) (all [][]string) {
	in := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			in = false
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case cells[0] == heading:
			in = true
		case in && !strings.HasPrefix(cells[0], "---"):
			all = append(all, cells)
		}
	}
	return all
}

var quoted = regexp.MustCompile("`([^`]+)`")

// firstColumn gives the names in the first column of such tables.
func firstColumn(text, heading string) (names []string) {
	for _, row := range rows(text, heading) {
		for _, m := range quoted.FindAllStringSubmatch(row[0], -1) {
			names = append(names, m[1])
		}
	}
	return names
}

func sameNames(t *testing.T, where string, documented, real []string) {
	t.Helper()
	if len(real) == 0 {
		t.Errorf("%s: there is nothing to compare with", where)
	}
	for _, name := range real {
		if !slices.Contains(documented, name) {
			t.Errorf("%s does not tell of %s", where, name)
		}
	}
	for _, name := range documented {
		if !slices.Contains(real, name) {
			t.Errorf("%s tells of %s, which does not exist", where, name)
		}
	}
}

// jsonFields lists the fields of a struct by the names and paths they have in JSON. What is at a path in whole is not looked into.
func jsonFields(t reflect.Type, prefix string, whole ...string) (names []string) {
	if strings.Count(prefix, ".") > 10 {
		panic(prefix + " holds itself: name it among those that are told in whole")
	}
	for i := range t.NumField() {
		f := t.Field(i)
		tag, ok := f.Tag.Lookup("json")
		if !ok {
			continue
		}
		name, _, _ := strings.Cut(tag, ",")
		if name == "-" {
			continue
		}
		path := prefix + name
		kind := f.Type
		if kind.Kind() == reflect.Slice {
			kind = kind.Elem()
			if kind.Kind() == reflect.Struct {
				path += "[]"
			}
		}
		if kind.Kind() == reflect.Pointer {
			kind = kind.Elem()
		}
		// What is written as a text is told as one.
		text := kind.Implements(reflect.TypeFor[encoding.TextMarshaler]())
		if kind.Kind() == reflect.Struct && !text && !slices.Contains(whole, path) {
			names = append(names, jsonFields(kind, path+".", whole...)...)
		} else {
			names = append(names, path)
		}
	}
	return names
}

// checkRecipeKeys wants a page's table of keys, which stand in a recipe behind a prefix, to hold those that the parser knows, but for some that another page has. The parser tells
// what it knows where a key is unknown: "known here: name, description, …".
func checkRecipeKeys(t *testing.T, page, text, prefix string, elsewhere ...string) {
	documented := firstColumn(text, "Key")
	var folders []string // of keys that hold further keys, the recipe itself first
	for _, key := range append([]string{""}, documented...) {
		if key == "" || slices.ContainsFunc(documented, func(k string) bool {
			return strings.HasPrefix(k, key+".") || strings.HasPrefix(k, key+"[]")
		}) {
			folders = append(folders, key)
		}
	}
	var real []string
	const unknown = "qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq"
	for _, folder := range folders {
		key := folder
		if slices.ContainsFunc(documented, func(k string) bool { return strings.HasPrefix(k, folder+"[]") }) && folder != "" {
			key += "[]"
		}
		place := prefix + strings.TrimPrefix(key+"."+unknown, ".")
		_, err := recipe.Parse("recipe.yaml", []byte(nested(place)))
		var problems component.Problems
		if !errors.As(err, &problems) {
			t.Fatalf("%s: %v", folder, err)
		}
		known := ""
		for _, p := range problems {
			if after, ok := strings.CutPrefix(p.Hint, "known here: "); ok && p.Message == "unknown key" {
				known = after
			}
		}
		if known == "" {
			t.Errorf("%s: the parser does not tell what it knows here: %v", folder, problems)
		}
		for name := range strings.SplitSeq(known, ", ") {
			if key != "" || !slices.Contains(elsewhere, name) {
				real = append(real, strings.TrimPrefix(key+"."+name, "."))
			}
		}
	}
	sameNames(t, page, documented, real)
}

// nested writes the YAML in which a path such as "components[].parameters[].name" stands.
func nested(path string) string {
	var b strings.Builder
	indent := 0
	names := strings.Split(path, ".")
	for i, name := range names {
		name, list := strings.CutSuffix(name, "[]")
		b.WriteString(name + ":")
		if i == len(names)-1 {
			b.WriteString(" x\n")
			break
		}
		indent += 2
		b.WriteString("\n" + strings.Repeat(" ", indent))
		if list {
			b.WriteString("- ")
			indent += 2
		}
	}
	return b.String()
}

// checkActions wants a page for every action, with every input, its default and its outputs, and the language's own page to lead there.
func checkActions(t *testing.T, all []page) {
	text := make(map[string]string)
	for _, p := range all {
		text[p.name] = p.text
	}
	modules := action.Modules()
	if len(modules) != 30 {
		t.Errorf("there are %d actions, the service has 30", len(modules))
	}
	index := text["docs/actions/README.md"]
	sameNames(t, "docs/actions/README.md", actionNames(index), slices.Collect(maps.Keys(modules)))
	for name, m := range modules {
		where := "docs/actions/" + name + ".md"
		inputs := rows(text[where], "Input")
		for _, f := range m.InputFields() {
			cell := "`" + f.Name + "`"
			if f.Required {
				cell = "**" + cell + "**"
			}
			found := slices.ContainsFunc(inputs, func(row []string) bool {
				return len(row) == 4 && row[0] == cell && row[1] == f.Type && row[2] == f.Default && row[3] != ""
			})
			if !found {
				t.Errorf("%s does not tell of %s, a %s, default %q", where, cell, f.Type, f.Default)
			}
		}
		for _, output := range m.Outputs {
			if !strings.Contains(text[where], "`"+output+"`") {
				t.Errorf("%s does not tell of the output %s", where, output)
			}
		}
	}
	if !strings.Contains(text["docs/components.md"], "](actions/README.md)") {
		t.Error("docs/components.md does not lead to the actions")
	}
}

// actionNames are those of the index's first column.
func actionNames(index string) (names []string) {
	for _, row := range rows(index, "Action") {
		names = append(names, quoted.FindStringSubmatch(row[0])[1])
	}
	return names
}

// checkManaged wants a row for every managed component, with its platform, phases and parameters, and whether it is tested.
func checkManaged(t *testing.T, text string) {
	table := map[string][]string{}
	for _, row := range rows(text, "Name") {
		table[strings.Trim(row[0], "`")] = row
	}
	if len(table) != len(managed.List()) {
		t.Errorf("docs/managed-components.md has %d rows, not %d", len(table), len(managed.List()))
	}
	for _, c := range managed.List() {
		_, data, _ := managed.Lookup(c.Name)
		document, err := component.Parse(c.Name, bytes.Clone(data), action.Modules().For(strings.ToLower(c.Platform)))
		if err != nil {
			t.Error(err)
			continue
		}
		var phases, parameters []string
		for _, phase := range document.Phases {
			phases = append(phases, phase.Name)
		}
		for _, parameter := range document.Parameters {
			parameters = append(parameters, "`"+parameter.Name+"`")
		}
		if len(parameters) == 0 {
			parameters = []string{"none"}
		}
		state := "validated"
		if c.Tested {
			state = "tested"
		}
		row := table[c.Name]
		if len(row) != 6 {
			t.Errorf("docs/managed-components.md: the row of %s has %d cells", c.Name, len(row))
			continue
		}
		want := []string{row[0], c.Platform, strings.Join(phases, ", "), strings.Join(parameters, ", "), row[4], state}
		if row[4] == "" || !slices.Equal(row, want) {
			t.Errorf("docs/managed-components.md: the row of %s is %q, not %q", c.Name, row, want)
		}
	}
}
