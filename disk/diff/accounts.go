package diff

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/ingot-image/ingot/disk/inspect"
)

// User is a line of /etc/passwd: passwd(5). The password itself is never told.
type User struct {
	Name  string `json:"name"`
	UID   string `json:"uid"`
	GID   string `json:"gid"`
	Home  string `json:"home"`
	Shell string `json:"shell"`
	// Password and AuthorizedKeys are as in [inspect.Account].
	Password       string `json:"password"`
	AuthorizedKeys int    `json:"authorizedKeys"`

	account inspect.Account
}

// UserChange is a user that is in both systems.
type UserChange struct {
	Name   string   `json:"name"`
	What   []string `json:"what"` // "uid", "gid", "home", "shell", "password", "authorizedKeys"
	Before User     `json:"before"`
	After  User     `json:"after"`
}

// Users is what changed of them.
type Users struct {
	Added   []User       `json:"added"`
	Removed []User       `json:"removed"`
	Changed []UserChange `json:"changed"`
}

func (u *Users) empty() bool { return len(u.Added)+len(u.Removed)+len(u.Changed) == 0 }

// Group is a line of /etc/group: group(5).
type Group struct {
	Name    string   `json:"name"`
	GID     string   `json:"gid"`
	Members []string `json:"members"` // sorted
}

// GroupChange is a group that is in both systems.
type GroupChange struct {
	Name   string `json:"name"`
	Before Group  `json:"before"`
	After  Group  `json:"after"`
}

// Groups is what changed of them.
type Groups struct {
	Added   []Group       `json:"added"`
	Removed []Group       `json:"removed"`
	Changed []GroupChange `json:"changed"`
}

func (g *Groups) empty() bool { return len(g.Added)+len(g.Removed)+len(g.Changed) == 0 }

const maxAccounts = 1 << 17

// records gives the fields of the lines of a file such as /etc/group, by the first one.
func (s *side) records(name string, fields int) map[string][]string {
	out := map[string][]string{}
	for line := range strings.Lines(s.text(name)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(f) >= fields && f[0] != "" && !strings.HasPrefix(f[0], "#") && len(out) < maxAccounts {
			if _, twice := out[f[0]]; !twice { // the first counts
				out[f[0]] = f
			}
		}
	}
	return out
}

func (s *side) readAccounts(ctx context.Context) error {
	s.users, s.groups = map[string]User{}, map[string]Group{}
	accounts, err := inspect.ReadAccounts(ctx, s.tree, s.problem)
	if err != nil {
		return err
	}
	for _, a := range accounts {
		s.users[a.Name] = User{Name: a.Name, UID: strconv.FormatInt(a.UID, 10), GID: strconv.FormatInt(a.GID, 10), Home: a.Home, Shell: a.Shell,
			Password: a.Password, AuthorizedKeys: a.AuthorizedKeys, account: a}
	}
	for name, f := range s.records("etc/group", 4) {
		g := Group{Name: name, GID: f[2], Members: []string{}}
		for m := range strings.SplitSeq(f[3], ",") {
			if m != "" {
				g.Members = append(g.Members, m)
			}
		}
		slices.Sort(g.Members)
		s.groups[name] = g
	}
	return nil
}

func diffUsers(before, after map[string]User) Users {
	d := Users{Added: []User{}, Removed: []User{}, Changed: []UserChange{}}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		was := before[name]
		is, ok := after[name]
		if !ok {
			d.Removed = append(d.Removed, was)
			continue
		}
		var what []string
		for _, f := range []struct {
			name string
			same bool
		}{
			{"uid", was.UID == is.UID}, {"gid", was.GID == is.GID}, {"home", was.Home == is.Home}, {"shell", was.Shell == is.Shell},
			{"password", was.Password == is.Password && was.account.SamePassword(is.account)}, {"authorizedKeys", was.AuthorizedKeys == is.AuthorizedKeys},
		} {
			if !f.same {
				what = append(what, f.name)
			}
		}
		if len(what) > 0 {
			d.Changed = append(d.Changed, UserChange{name, what, was, is})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if _, ok := before[name]; !ok {
			d.Added = append(d.Added, after[name])
		}
	}
	return d
}

func diffGroups(before, after map[string]Group) Groups {
	d := Groups{Added: []Group{}, Removed: []Group{}, Changed: []GroupChange{}}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		was := before[name]
		is, ok := after[name]
		switch {
		case !ok:
			d.Removed = append(d.Removed, was)
		case was.GID != is.GID || !slices.Equal(was.Members, is.Members):
			d.Changed = append(d.Changed, GroupChange{name, was, is})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if _, ok := before[name]; !ok {
			d.Added = append(d.Added, after[name])
		}
	}
	return d
}
