package ec2sim

import (
	"cmp"
	"regexp"
	"slices"
	"time"
)

// launchFields are the members of a launch permission: its fields in requests and in answers, the field of the older form of the request, and what
// values look like.
var launchFields = []struct {
	field, element, old string
	value               *regexp.Regexp
}{
	{"UserId", "userId", "UserId", regexp.MustCompile(`^\d{12}$`)},
	{"Group", "group", "UserGroup", regexp.MustCompile(`^all$`)},
	{"OrganizationArn", "organizationArn", "OrganizationArn", regexp.MustCompile(`^arn:aws[a-z-]*:organizations::\d{12}:organization/o-[a-z0-9]{10,32}$`)},
	{"OrganizationalUnitArn", "organizationalUnitArn", "OrganizationalUnitArn",
		regexp.MustCompile(`^arn:aws[a-z-]*:organizations::\d{12}:ou/o-[a-z0-9]{10,32}/ou-[0-9a-z]{4,32}-[0-9a-z]{8,32}$`)},
}

// permissionsOf reads launch permissions to add and to remove, in both of the forms that ModifyImageAttribute takes.
func permissionsOf(f form) (add, remove []permission, err error) {
	read := func(of []form, into *[]permission) {
		for _, member := range of {
			for _, l := range launchFields {
				if value := member.get(l.field); value != "" {
					*into = append(*into, permission{l.element, value})
				}
			}
		}
	}
	read(f.sub("LaunchPermission").subs("Add"), &add)
	read(f.sub("LaunchPermission").subs("Remove"), &remove)
	for _, l := range launchFields {
		for _, value := range f.list(l.old) {
			switch f.get("OperationType") {
			case "add":
				add = append(add, permission{l.element, value})
			case "remove":
				remove = append(remove, permission{l.element, value})
			default:
				return nil, nil, refuse("MissingParameter", "The request must contain the parameter operationType")
			}
		}
	}
	for _, p := range slices.Concat(add, remove) {
		for _, l := range launchFields {
			if l.element == p.kind && !l.value.MatchString(p.value) {
				return nil, nil, refuse("InvalidAMIAttributeItemValue", `Invalid attribute item value "%s" for %s item type.`, p.value, l.field)
			}
		}
	}
	return add, remove, nil
}

func (s *Server) modifyImageAttribute(c *call) ([]element, error) {
	i, err := s.image(c, c.form.get("ImageId"))
	if err != nil {
		return nil, err
	}
	add, remove, err := permissionsOf(c.form)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if i.state != "available" {
		return nil, refuse("IncorrectState", "The image %s is not in a valid state: %s", i.id, i.state)
	}
	if s.blocked[i.place] && slices.Contains(add, permission{"group", "all"}) {
		return nil, refuse("OperationNotPermitted", "You can't publicly share this image because block public access for AMIs is enabled")
	}
	for _, d := range i.devices {
		switch {
		case len(add) > 0 && d.kmsKey == defaultKey(i.place):
			return nil, refuse("InvalidParameter", "Snapshot %s of the image is encrypted with the default key, and the image cannot be shared", d.snapshot)
		case d.encrypted && slices.Contains(add, permission{"group", "all"}):
			return nil, refuse("InvalidParameter", "Images with encrypted snapshots cannot be made public")
		}
	}
	for _, p := range add {
		if !slices.Contains(i.permissions, p) {
			i.permissions = append(i.permissions, p)
		}
	}
	i.permissions = slices.DeleteFunc(i.permissions, func(p permission) bool { return slices.Contains(remove, p) })
	switch {
	case c.form.given("Description"):
		i.description = c.form.sub("Description").get("Value")
	case c.form.get("Attribute") == "description":
		i.description = c.form.get("Value")
	case c.form.given("ImdsSupport"):
		i.imds = c.form.sub("ImdsSupport").get("Value")
	}
	return []element{flag("return", true)}, nil
}

func (s *Server) describeImageAttribute(c *call) ([]element, error) {
	i, err := s.image(c, c.form.get("ImageId"))
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	value := func(v string) element { return el(c.form.get("Attribute"), text("value", v)) }
	var attribute element
	switch c.form.get("Attribute") {
	case "launchPermission":
		attribute = list("launchPermission", items(i.permissions, func(p permission) []element { return []element{text(p.kind, p.value)} })...)
	case "description":
		attribute = value(i.description)
	case "bootMode":
		attribute = value(i.bootMode)
	case "tpmSupport":
		attribute = value(i.tpm)
	case "imdsSupport":
		attribute = value(i.imds)
	case "uefiData":
		attribute = value(i.uefiData)
	case "deregistrationProtection":
		attribute = value(i.protection)
	default:
		return nil, refuse("InvalidParameterValue", "Value (%s) for parameter attribute is invalid.", c.form.get("Attribute"))
	}
	return []element{text("imageId", i.id), attribute}, nil
}

// maxDeprecation is how far off a deprecation may be: two years for a public image, ten for others.
func maxDeprecation(i *amiImage) time.Time {
	if i.public() {
		return time.Now().AddDate(2, 0, 0)
	}
	return time.Now().AddDate(10, 0, 0)
}

func (s *Server) enableImageDeprecation(c *call) ([]element, error) {
	i, err := s.image(c, c.form.get("ImageId"))
	if err != nil {
		return nil, err
	}
	at, err := time.Parse(time.RFC3339, c.form.get("DeprecateAt"))
	if err != nil {
		return nil, refuse("InvalidParameterValue", "Value (%s) for parameter deprecateAt is invalid.", c.form.get("DeprecateAt"))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if at.Before(time.Now()) || at.After(maxDeprecation(i)) {
		return nil, refuse("InvalidParameterValue", "The deprecation date %s is in the past, or too far in the future", c.form.get("DeprecateAt"))
	}
	i.deprecation = at.Round(time.Minute)
	return []element{flag("return", true)}, nil
}

func (s *Server) disableImageDeprecation(c *call) ([]element, error) {
	i, err := s.image(c, c.form.get("ImageId"))
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i.deprecation = time.Time{}
	return []element{flag("return", true)}, nil
}

func (s *Server) enableDeregistrationProtection(c *call) ([]element, error) {
	return s.protect(c, map[bool]string{false: "enabled-without-cooldown", true: "enabled-with-cooldown"}[c.form.flag("WithCooldown")])
}

func (s *Server) disableDeregistrationProtection(c *call) ([]element, error) {
	return s.protect(c, "disabled")
}

// protect sets the protection from deregistration. The answer is a word, not a boolean, as the reference has it.
func (s *Server) protect(c *call, how string) ([]element, error) {
	i, err := s.image(c, c.form.get("ImageId"))
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i.protection = how
	return []element{text("return", cmp.Or(how, "disabled"))}, nil
}
