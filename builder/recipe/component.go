package recipe

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/ingot-image/ingot/builder/recipe/version"
)

// ComponentReference is a componentArn: which component document is meant. Its spelling decides, the first rule that
// fits:
//
//	arn:aws:imagebuilder:REGION:aws:component/NAME/x.x.x   a managed component
//	other arn:…, s3://…, https://…                         refused: not on this machine
//	./a, ../a, /a, or a name that ends in                  a file, relative to the recipe's folder
//	  .yaml .yml .json
//	NAME/x.x.x, NAME/1.0.3                                 a managed component, or else a local one
//	NAME                                                   a managed component
//
// Local components are files called components/NAME/VERSION.yaml (or .yml, .json), such as
// components/hardening/1.2.0.yaml, beside the recipe or in Ingot's home folder; where both have the same version, the
// one beside the recipe is taken. A managed name cannot be taken over by a local component.
type ComponentReference struct {
	Path        string    // set for a file, as written
	Reference   Reference // set otherwise; NAME alone has the pattern x.x.x
	ManagedOnly bool      // the spelling allows managed components only

	text string
}

// String gives the reference as written in the recipe.
func (c ComponentReference) String() string { return c.text }

// IsZero reports whether the reference could not be read.
func (c ComponentReference) IsZero() bool { return c.text == "" }

// documentExtensions are the file name extensions that make a name a component document.
var documentExtensions = []string{".yaml", ".yml", ".json"}

// managedARN takes NAME/VERSION or NAME/VERSION/BUILD out of an Amazon-owned component's ARN.
var managedARN = regexp.MustCompile(`^arn:aws[a-z-]*:imagebuilder:[a-z0-9-]*:aws:component/(.+)$`)

func (f field) componentReference() ComponentReference {
	s, ok := f.text()
	if !ok {
		return ComponentReference{}
	}
	c := ComponentReference{text: s}
	switch m := managedARN.FindStringSubmatch(s); {
	case m != nil:
		c.ManagedOnly = true
		return c.parse(f, m[1])
	case strings.HasPrefix(s, "arn:"):
		f.problem(fmt.Sprintf("%q exists only in AWS", clip(s)),
			"save its document as a file and write the file's path; only ARNs of Amazon's own components work here")
		return ComponentReference{}
	case urlScheme.MatchString(s):
		f.problem(fmt.Sprintf("%q is not on this machine", clip(s)), "save the document as a file and write the file's path")
		return ComponentReference{}
	case localPaths.MatchString(s), hasExtension(s, documentExtensions):
		c.Path = s
		return c
	case strings.Contains(s, "/"):
		return c.parse(f, s)
	}
	c.ManagedOnly = true
	return c.parse(f, s+"/x.x.x")
}

func (c ComponentReference) parse(f field, text string) ComponentReference {
	ref, err := version.ParseReference(text)
	if err != nil {
		f.problem(err.Error(), "write the path of a component document (./install.yaml), a managed component's name, or NAME/x.x.x")
		return ComponentReference{}
	}
	c.Reference = ref
	return c
}
