package copyout

import "strings"

// leadsOut tells why a link is not made, "" if it is.
func leadsOut(name, target string) string {
	if target == "" || strings.ContainsRune(target, 0) || len(target) > 4095 {
		return "is no path"
	}
	if strings.HasPrefix(target, "/") {
		return "is absolute"
	}
	depth, down := strings.Count(name, "/"), false
	for part := range strings.SplitSeq(target, "/") {
		switch {
		case part == "" || part == ".":
		case part != "..":
			down = true
		case down:
			return "goes down and up again"
		default:
			if depth--; depth < 0 {
				return "leads out of what is copied"
			}
		}
	}
	return ""
}

func (u *unpacker) makeLinks() error {
	for _, l := range u.links {
		if err := u.root.Symlink(l.target, below(l.name)); err != nil {
			return err
		}
		u.summary.Links++
	}
	return nil
}
