package aws

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/component/managed"
	"github.com/ingot-image/ingot/builder/recipe/version"
)

// Managed gives the documents of managed components, which come with Ingot. They are asked for by their name, alone or with a version
// (update-linux, update-linux/x.x.x), or by the ARN that Amazon's component of that name has. Other components exist only in AWS.
type Managed struct{}

// amazonARN takes NAME/VERSION or NAME/VERSION/BUILD out of an Amazon-owned component's ARN.
var amazonARN = regexp.MustCompile(`^arn:aws[a-z-]*:imagebuilder:[a-z0-9-]*:aws:component/(.+)$`)

// Component returns the document of a managed component.
func (Managed) Component(_ context.Context, arn string) ([]byte, error) {
	name := arn
	if m := amazonARN.FindStringSubmatch(arn); m != nil {
		name = m[1]
	} else if strings.HasPrefix(arn, "arn:") {
		return nil, fmt.Errorf("the component %s exists only in AWS: save its document as a file or in S3 and name that; only ARNs of Amazon's own components work here", arn)
	}
	if !strings.Contains(name, "/") {
		name += "/x.x.x"
	}
	wanted, err := version.ParseReference(name)
	if err != nil {
		return nil, fmt.Errorf("the component %s: %w", arn, err)
	}
	text, document, ok := managed.Lookup(wanted.Name)
	if !ok {
		hint := "ingot component list shows those there are"
		if near := near(wanted.Name); near != "" {
			hint = "did you mean " + near + "?"
		}
		return nil, fmt.Errorf("the managed component %s: %w; %s", wanted.Name, component.ErrNotFound, hint)
	}
	have, err := version.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("the managed component %s: %w", wanted.Name, err)
	}
	if !wanted.Pattern.WithoutBuild().Matches(have.WithoutBuild()) || wanted.Pattern.Build() > 1 {
		return nil, fmt.Errorf("the managed component %s is at version %s here, not %s; write %s/x.x.x", wanted.Name, text, wanted.Pattern, wanted.Name)
	}
	return document, nil
}

// near finds a name that begins or ends like one that does not exist, or holds it.
func near(name string) string {
	names := managed.Names()
	i := slices.IndexFunc(names, func(n string) bool { return strings.Contains(n, name) || strings.Contains(name, n) })
	if i < 0 {
		return ""
	}
	return names[i]
}
