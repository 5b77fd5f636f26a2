package action

import (
	"fmt"
	"os/user"
	"strconv"
)

// lookupOwner returns the numbers of a user and a group, given by name or number. Without a group it is that of the user; without an owner
// that is left unchanged (-1).
func lookupOwner(owner, group string) (uid, gid int, err error) {
	uid, gid = -1, -1
	if owner != "" {
		found, err := user.Lookup(owner)
		switch {
		case err == nil:
			uid, gid, err = numbers(found.Uid, found.Gid)
			if err != nil {
				return -1, -1, fmt.Errorf("look up owner %q: %w", owner, err)
			}
		default:
			number, notNumber := strconv.ParseUint(owner, 10, 31)
			if notNumber != nil {
				return -1, -1, fmt.Errorf("look up owner %q: %w", owner, err)
			}
			uid = int(number)
			if found, err := user.LookupId(owner); err == nil {
				_, gid, _ = numbers(found.Uid, found.Gid)
			}
		}
	}
	if group == "" {
		return uid, gid, nil
	}
	found, err := user.LookupGroup(group)
	if err == nil {
		group = found.Gid
	}
	number, notNumber := strconv.ParseUint(group, 10, 31)
	if notNumber != nil {
		return -1, -1, fmt.Errorf("look up group %q: %w", group, err)
	}
	return uid, int(number), nil
}

func numbers(uid, gid string) (int, int, error) {
	u, err := strconv.Atoi(uid)
	if err != nil {
		return -1, -1, err // on Windows ids are no numbers
	}
	g, err := strconv.Atoi(gid)
	return u, g, err
}
