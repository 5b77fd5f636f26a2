package version

import (
	"fmt"
	"strings"
)

// Reference names an image or component by its name and a version or pattern.
type Reference struct {
	Name    string // as ResourceName gives it
	Pattern Pattern
}

// ParseReference reads "NAME/VERSION" or "NAME/VERSION/BUILD", where VERSION may have wildcards.
// The name is normalised by ResourceName.
func ParseReference(text string) (Reference, error) {
	name, rest, ok := strings.Cut(text, "/")
	if !ok {
		return Reference{}, fmt.Errorf("%q is not of the form NAME/VERSION, such as web-server/1.0.x", clip(text))
	}
	if err := CheckName(name); err != nil {
		return Reference{}, err
	}
	p, err := ParsePattern(rest)
	if err != nil {
		return Reference{}, err
	}
	return Reference{Name: ResourceName(name), Pattern: p}, nil
}

// String gives the reference as ParseReference reads it.
func (r Reference) String() string { return r.Name + "/" + r.Pattern.String() }

// CheckName reports what is wrong with the name of an image recipe, component or other resource. The rule is the
// service's pattern ^[-_A-Za-z-0-9][-_A-Za-z0-9 ]{1,126}[-_A-Za-z-0-9]$ (CloudFormation, AWS::ImageBuilder types).
func CheckName(name string) error {
	if len(name) < 3 || len(name) > 128 {
		return fmt.Errorf("invalid name %q: it must have 3 to 128 characters", clip(name))
	}
	for _, c := range name {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == ' ':
		default:
			return fmt.Errorf("invalid name %q: %q is not allowed; use letters, digits, - and _, with spaces inside", clip(name), c)
		}
	}
	if strings.Trim(name, " ") != name {
		return fmt.Errorf("invalid name %q: it must not begin or end with a space", clip(name))
	}
	return nil
}

// ResourceName is the name as it stands in the service's ARNs and in Ingot's file names and catalog: in lower case,
// with - for each space. Names that differ only in these are the same resource.
func ResourceName(name string) string {
	return strings.ReplaceAll(strings.ToLower(name), " ", "-")
}

// clip bounds text that is repeated in a message.
func clip(text string) string {
	const longest = 64
	if len(text) <= longest {
		return text
	}
	return strings.ToValidUTF8(text[:longest], "") + "…"
}
