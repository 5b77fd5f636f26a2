package recipe

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/recipe/version"
)

// component finds, reads and checks the document of one entry of components. field is the entry's. False means that
// there were mistakes, which have been recorded.
func (s *resolver) component(c ComponentConfiguration, field string) (PlannedComponent, bool) {
	if c.ComponentARN.IsZero() {
		return PlannedComponent{}, false // reported already
	}
	p, ok := s.find(c.ComponentARN, field+".componentArn")
	if !ok {
		return p, false
	}
	document := s.document(p)
	if document == nil {
		return p, false
	}
	for _, phase := range document.Phases {
		p.Phases = append(p.Phases, phase.Name)
	}
	p.Digest = digest(p.Content)
	for _, parameter := range c.Parameters {
		p.give(parameter)
	}
	return p, s.checkParameters(document, c, p, field)
}

// document parses a component's document, once however often a recipe names it. Nil means that it has mistakes.
func (s *resolver) document(p PlannedComponent) *component.Document {
	if document, known := s.documents[p.Path]; known {
		return document
	}
	document, err := component.Parse(p.Path, p.Content, s.env.Modules)
	var problems component.Problems
	if errors.As(err, &problems) {
		s.problems = append(s.problems, problems...)
		document = nil
	} else if err != nil {
		s.problems = append(s.problems, component.Problem{File: p.Path, Message: err.Error()})
		document = nil
	}
	s.documents[p.Path] = document
	return document
}

// checkParameters reports parameters that the document does not define and those it needs. The service answers both
// with InvalidParameterCombinationException.
func (s *resolver) checkParameters(document *component.Document, c ComponentConfiguration, p PlannedComponent, field string) bool {
	ok := true
	for _, problem := range document.CheckParameters(s.recipe.File, p.values()) {
		name := strings.TrimPrefix(problem.Field, "parameters.")
		at := field + ".parameters"
		given := slices.IndexFunc(c.Parameters, func(p ComponentParameter) bool { return p.Name == name })
		switch {
		case given >= 0:
			at = c.Parameters[given].field
		case c.incomplete:
			continue // it may be one of those that could not be read
		}
		s.problem(at, problem.Message, problem.Hint)
		ok = false
	}
	return ok
}

// find gives name, version, path and content of a component.
func (s *resolver) find(ref ComponentReference, field string) (PlannedComponent, bool) {
	if ref.Path != "" {
		path := s.local(ref.Path)
		base := filepath.Base(path)
		return s.load(PlannedComponent{Name: strings.TrimSuffix(base, filepath.Ext(base)), Path: path}, field)
	}
	name, pattern := ref.Reference.Name, ref.Reference.Pattern
	if v, data, ok := s.managed(name); ok {
		p := PlannedComponent{Name: name, Version: v, Path: "managed:" + name + "/" + v.String(), Content: data}
		if !pattern.WithoutBuild().Matches(v) || pattern.Build() > 1 {
			s.problem(field, fmt.Sprintf("the managed component %s is at version %s here, not %s", name, p.Version, pattern),
				fmt.Sprintf("write %s/x.x.x", name))
			return p, false
		}
		return p, true
	}
	if ref.ManagedOnly {
		hint := didYouMean(name, s.managedNames())
		if hint == "" {
			hint = "the path of a file begins with ./ or ends in .yaml; a local component is NAME/x.x.x"
		}
		s.problem(field, fmt.Sprintf("there is no managed component called %s", name), hint)
		return PlannedComponent{}, false
	}
	return s.localComponent(ref.Reference, field)
}

func (s *resolver) load(p PlannedComponent, field string) (PlannedComponent, bool) {
	data, err := readFile(p.Path)
	if err != nil {
		hint := ""
		if errors.Is(err, fs.ErrNotExist) {
			hint = "paths are relative to the recipe's folder"
		}
		s.problem(field, p.Path+" "+err.Error(), hint)
		return p, false
	}
	p.Content = data
	return p, true
}

func (s *resolver) managed(name string) (Version, []byte, bool) {
	if s.env.Managed.Lookup == nil {
		return Version{}, nil, false
	}
	text, data, ok := s.env.Managed.Lookup(name)
	if !ok {
		return Version{}, nil, false
	}
	v, err := version.Parse(text)
	if err != nil {
		return Version{}, nil, false
	}
	return v.WithoutBuild(), data, true
}

func (s *resolver) managedNames() []string {
	if s.env.Managed.Names == nil {
		return nil
	}
	return s.env.Managed.Names()
}

// localComponent selects among the files components/NAME/VERSION.yaml beside the recipe and in the home folder.
func (s *resolver) localComponent(ref Reference, field string) (PlannedComponent, bool) {
	folders := []string{s.local(filepath.Join("components", ref.Name))}
	if s.env.Home != "" {
		folders = append(folders, filepath.Join(s.env.Home, "components", ref.Name))
	}
	paths, versions := map[Version]string{}, []Version{}
	for _, folder := range folders {
		entries, err := os.ReadDir(folder)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.problem(field, fmt.Sprintf("cannot read %s: %v", folder, cause(err)), "")
			return PlannedComponent{}, false
		}
		for _, entry := range entries {
			extension := filepath.Ext(entry.Name())
			v, err := version.Parse(strings.TrimSuffix(entry.Name(), extension))
			if err != nil || !hasExtension(entry.Name(), documentExtensions) {
				continue
			}
			path := filepath.Join(folder, entry.Name())
			first, known := paths[v]
			if known && filepath.Dir(first) == folder {
				s.problem(field, fmt.Sprintf("%s and %s are the same version", first, path), "remove one of them")
				return PlannedComponent{}, false
			}
			if !known {
				paths[v] = path
				versions = append(versions, v)
			}
		}
	}
	v, ok := ref.Pattern.WithoutBuild().Select(versions)
	switch {
	case len(versions) == 0:
		hint := didYouMean(ref.Name, s.managedNames())
		if hint == "" {
			hint = fmt.Sprintf("a local component is a file such as %s", filepath.Join(folders[0], "1.0.0.yaml"))
		}
		s.problem(field, fmt.Sprintf("there is no component called %s", ref.Name), hint)
		return PlannedComponent{}, false
	case !ok, ref.Pattern.Build() > 1: // components have no builds here; /1 names the only one
		s.problem(field, fmt.Sprintf("no version of the component %s matches %s", ref.Name, ref.Pattern), "there are "+versionList(versions))
		return PlannedComponent{}, false
	}
	return s.load(PlannedComponent{Name: ref.Name, Version: v, Path: paths[v]}, field)
}
