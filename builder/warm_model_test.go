package builder

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/ingot-image/ingot/builder/recipe"
)

// model is a recipe that can be edited, and what it reads.
type model struct {
	components []*modelComponent
	cloud      cloud
	machine    int
	next       int
}

type modelComponent struct {
	name       string
	parameters map[string]string
	constant   string
	steps      []modelStep
	comment    string // of no consequence
	validate   bool   // the last step is in the phase validate
}

type modelStep struct {
	name string
	kind int // what it does
	text string
}

// What steps do, besides leaving a trace in the log of their component.
const (
	stepText = iota
	stepParameter
	stepConstant
	stepStored  // reads a stored parameter
	stepChained // reads a file, and says of which
	stepDownload
	stepUpload // the log so far
	modelKinds // of steps that are well
	stepFails  = modelKinds
)

func newModel(r *rand.Rand) *model {
	m := &model{cloud: cloud{map[string]string{}, map[string]string{}}}
	for i := range 5 {
		m.cloud.parameters["/p"+strconv.Itoa(i)], m.cloud.objects["o"+strconv.Itoa(i)] = "secret", "content"
	}
	for range 1 + r.IntN(3) {
		m.components = append(m.components, m.newComponent(r))
	}
	return m
}

func (m *model) newStep(r *rand.Rand) modelStep {
	m.next++
	return modelStep{fmt.Sprintf("Step%d", m.next), r.IntN(modelKinds), strconv.Itoa(r.IntN(5))}
}

func (m *model) newComponent(r *rand.Rand) *modelComponent {
	m.next++
	c := &modelComponent{name: fmt.Sprintf("component-%d", m.next), parameters: map[string]string{"First": strconv.Itoa(r.IntN(5)), "Second": "q"}, constant: "k", validate: r.IntN(3) == 0}
	for range 1 + r.IntN(4) {
		c.steps = append(c.steps, m.newStep(r))
	}
	return c
}

// document writes the component in its language.
func (c *modelComponent) document() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# %s\nname: %s\ndescription: %s\nschemaVersion: 1.0\n", c.comment, c.name, c.comment)
	fmt.Fprintf(&b, "parameters:\n  - First: {type: string, default: x}\n  - Second: {type: string, default: y}\nconstants:\n  - Third: {type: string, value: %s}\n", c.constant)
	b.WriteString("phases:\n  - name: build\n    steps:\n")
	b.WriteString(c.phases(c.comment))
	return b.Bytes()
}

// phases writes the steps.
func (c *modelComponent) phases(comment string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "      - name: Begin\n        action: CreateFile\n        inputs:\n          - {path: /log-%s, content: \"begin\\n\", overwrite: true}\n", c.name)
	add := func(name, text string) {
		fmt.Fprintf(&b, "      - name: %s\n        action: AppendFile # %s\n        inputs:\n          - {path: /log-%s, content: \"%s %s\\n\"}\n", name, comment, c.name, name, text)
	}
	for i, s := range c.steps {
		if c.validate && i == len(c.steps)-1 {
			b.WriteString("  - name: validate\n    steps:\n")
		}
		switch s.kind {
		case stepText:
			add(s.name, s.text)
		case stepParameter:
			add(s.name, "{{ First }}")
		case stepConstant:
			add(s.name, "{{ Third }} {{ Second }}")
		case stepStored:
			add(s.name, "{{ aws:ssm:/p"+s.text+" }}")
		case stepChained:
			fmt.Fprintf(&b, "      - name: %s\n        action: ReadFile\n        inputs:\n          - {path: /log-%s}\n", s.name, c.name)
			if !(c.validate && i >= len(c.steps)-2) { // references within the phase
				add(s.name+"b", "{{ build."+s.name+".inputs[0].path }}")
			}
		case stepDownload:
			fmt.Fprintf(&b, "      - name: %s\n        action: S3Download\n        inputs:\n          - {source: \"s3://bucket/o%s\", destination: /object-%s}\n", s.name, s.text, s.name)
		case stepUpload:
			fmt.Fprintf(&b, "      - name: %s\n        action: S3Upload\n        inputs:\n          - {source: /log-%s, destination: \"s3://bucket/%s\"}\n", s.name, c.name, s.uploaded())
		case stepFails:
			fmt.Fprintf(&b, "      - name: %s\n        action: ReadFile\n        inputs:\n          - {path: /none}\n", s.name)
		}
	}
	return b.String()
}

// uploaded is the key of the object that the step makes.
func (s modelStep) uploaded() string { return "from-" + s.name }

// meaning is all that decides what the component does, told apart from everything else: what must not run again if it is the same, for this
// component and all before, as it was.
func (c *modelComponent) meaning(known cloud) string {
	all := []string{c.name, c.phases("")}
	for _, s := range c.steps {
		text := ""
		switch s.kind {
		case stepParameter:
			text = c.parameters["First"]
		case stepConstant:
			text = c.constant + " " + c.parameters["Second"]
		case stepStored:
			text = known.parameters["/p"+s.text]
		case stepDownload:
			text = known.objects["o"+s.text]
		case stepUpload:
			text = known.objects[s.uploaded()]
		}
		all = append(all, text)
	}
	return strings.Join(all, "\x00")
}

// meanings are those of all components.
func (m *model) meanings() (all []string) {
	for _, c := range m.components {
		all = append(all, c.meaning(m.cloud))
	}
	return all
}

// index is the place of a component.
func (m *model) index(name string) int {
	return slices.IndexFunc(m.components, func(c *modelComponent) bool { return c.name == name })
}

func (m *model) plan() *Plan {
	p := &recipe.Plan{Name: "model", WorkingDirectory: "/tmp"}
	for _, c := range m.components {
		phases := []string{"build"}
		if c.validate {
			phases = append(phases, "validate")
		}
		p.Components = append(p.Components, recipe.PlannedComponent{
			Name: c.name, Path: c.name + ".yaml", Content: c.document(), Parameters: c.parameters, Phases: phases,
		})
	}
	return &Plan{p}
}

// edit changes the model in some way, and tells which.
func (m *model) edit(r *rand.Rand) string {
	c := m.components[r.IntN(len(m.components))]
	i := r.IntN(len(c.steps))
	if mended := m.mend(r); mended != "" {
		return mended
	}
	switch r.IntN(18) {
	case 0:
		c.steps[i].text = strconv.Itoa(r.IntN(5))
		return "text of a step"
	case 1:
		c.steps[i].kind = r.IntN(modelKinds)
		return "kind of a step"
	case 2:
		c.steps = slices.Insert(c.steps, i, m.newStep(r))
		return "a step more"
	case 3:
		c.steps = append(c.steps, m.newStep(r))
		return "a step appended"
	case 4:
		if len(c.steps) > 1 {
			c.steps = slices.Delete(c.steps, i, i+1)
		}
		return "a step less"
	case 5:
		j := r.IntN(len(c.steps))
		c.steps[i], c.steps[j] = c.steps[j], c.steps[i]
		return "steps exchanged"
	case 6:
		c.parameters["First"] = strconv.Itoa(r.IntN(5))
		return "a parameter"
	case 7:
		c.constant = strconv.Itoa(r.IntN(3))
		return "a constant"
	case 8:
		m.cloud.parameters["/p"+strconv.Itoa(r.IntN(5))] = "secret-" + strconv.Itoa(r.IntN(5))
		return "a stored parameter"
	case 9:
		m.cloud.objects["o"+strconv.Itoa(r.IntN(5))] = strconv.Itoa(r.IntN(5))
		return "an object"
	case 10:
		c.comment += " more"
		return "a comment"
	case 11:
		m.components = append(m.components, m.newComponent(r))
		return "a component appended"
	case 12:
		if len(m.components) > 1 {
			m.components = slices.DeleteFunc(m.components, func(x *modelComponent) bool { return x == c })
		}
		return "a component less"
	case 13:
		j := r.IntN(len(m.components))
		k := slices.Index(m.components, c)
		m.components[k], m.components[j] = m.components[j], m.components[k]
		return "components exchanged"
	case 14:
		c.steps[i].kind = stepFails
		return "a step fails"
	case 15, 16:
		for _, c := range m.components {
			for _, s := range c.steps {
				if key := s.uploaded(); s.kind == stepUpload && m.cloud.objects[key] != "" && r.IntN(2) == 0 {
					m.cloud.objects[key] = "by somebody else"
					if r.IntN(2) == 0 {
						delete(m.cloud.objects, key)
					}
					return "what was uploaded"
				}
			}
		}
		return "nothing"
	}
	c.validate = !c.validate
	return "a phase"
}

// mend makes a failing step work again, in most cases, and tells so.
func (m *model) mend(r *rand.Rand) string {
	for _, c := range m.components {
		for i := range c.steps {
			if c.steps[i].kind == stepFails && r.IntN(3) > 0 {
				c.steps[i].kind = r.IntN(modelKinds)
				return "a step mended"
			}
		}
	}
	return ""
}
