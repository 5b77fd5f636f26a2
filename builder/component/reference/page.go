package reference

import (
	"bytes"
	"fmt"
	"go/doc/comment"
	"strings"

	"github.com/ingot-image/ingot/builder/component"
)

// page is the reference of an action.
type page struct {
	name     string
	module   component.Module
	text     string // the comment of the action's struct
	comments *comments
}

func newPage(name string, m component.Module, c *comments) page {
	return page{name, m, c.types[m.Inputs().Name()], c}
}

// generated is on top of the files.
const generated = "<!-- Made by go generate ./builder/component/reference from builder/component/action. Do not edit. -->\n\n"

func (p page) markdown() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s# %s\n\n%s", generated, p.name, markdown(p.text))
	fmt.Fprintf(&b, "| | |\n| --- | --- |\n| Platforms | %s |\n| Inputs | %s |\n| Outputs | %s |\n", p.platforms(), p.shape(), p.outputs())
	if p.module.Unlimited {
		b.WriteString("| Limits | `timeoutSeconds` is -1 and `maxAttempts` 1; steps must not say otherwise |\n")
	}
	if fields := p.module.InputFields(); len(fields) > 0 {
		b.WriteString("\n## Inputs\n\nRequired inputs are **bold**.\n\n| Input | Type | Default | Meaning |\n| --- | --- | --- | --- |\n")
		for _, f := range fields {
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", inputName(f), f.Type, f.Default, cell(p.field(f)))
		}
	}
	fmt.Fprintf(&b, "\n[All actions](README.md) · [The language](../components.md)\n")
	return b.Bytes()
}

func inputName(f component.InputField) string {
	name := "`" + f.Name + "`"
	if f.Required {
		name = "**" + name + "**"
	}
	return name
}

func (p page) field(f component.InputField) string {
	return p.comments.field(p.module.Inputs().Name(), f.GoField)
}

func (p page) platforms() string {
	if len(p.module.Platforms) == 0 {
		return "Linux, Windows, macOS"
	}
	return strings.NewReplacer("linux", "Linux", "windows", "Windows").Replace(strings.Join(p.module.Platforms, ", "))
}

func (p page) shape() string {
	text := "a map"
	if p.module.Shape() == component.ShapeList {
		text = "a list of maps, worked off in order; the first error ends the step"
	}
	if p.module.InputsOptional {
		text += ", or none"
	}
	return text
}

func (p page) outputs() string {
	if len(p.module.Outputs) == 0 {
		return "none"
	}
	return "`" + strings.Join(p.module.Outputs, "`, `") + "`"
}

// summary is the first sentence, without the action's name, which begins it.
func (p page) summary() string {
	parsed := new(comment.Parser).Parse(p.text)
	if len(parsed.Content) == 0 {
		return ""
	}
	text := strings.Join(strings.Fields(string(new(comment.Printer).Markdown(&comment.Doc{Content: parsed.Content[:1]}))), " ")
	if first, _, ok := strings.Cut(text, ". "); ok {
		text = first
	}
	return strings.TrimSuffix(strings.TrimPrefix(text, p.name+" "), ".")
}

func cell(text string) string { return strings.ReplaceAll(text, "|", "\\|") }

// markdown turns a comment of Go into Markdown, its code blocks into YAML.
func markdown(text string) string {
	parsed := (&comment.Parser{LookupSym: func(_, name string) bool { return true }}).Parse(text)
	printer := &comment.Printer{DocLinkURL: func(link *comment.DocLink) string { return link.Name + ".md" }}
	var b strings.Builder
	for _, block := range parsed.Content {
		if code, ok := block.(*comment.Code); ok {
			fmt.Fprintf(&b, "```yaml\n%s```\n\n", code.Text)
			continue
		}
		b.Write(printer.Markdown(&comment.Doc{Content: []comment.Block{block}, Links: parsed.Links}))
		b.WriteString("\n")
	}
	return b.String()
}

// index is the list of all actions.
func index(pages []page) []byte {
	var b bytes.Buffer
	b.WriteString(generated + "# Actions\n\nWhat the steps of [component documents](../components.md) can do. Required inputs are **bold**, " +
		"\"list\" actions take a list of maps.\n\n")
	b.WriteString("| Action | Inputs | Outputs | Platforms | What it does |\n| --- | --- | --- | --- | --- |\n")
	for _, p := range pages {
		name := fmt.Sprintf("[`%s`](%s.md)", p.name, p.name)
		if p.module.Shape() == component.ShapeList {
			name += " (list)"
		}
		var inputs []string
		for _, f := range p.module.InputFields() {
			inputs = append(inputs, inputName(f))
		}
		outputs := p.outputs()
		if outputs == "none" {
			outputs = ""
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", name, strings.Join(inputs, ", "), outputs, p.platforms(), cell(p.summary()))
	}
	return b.Bytes()
}
