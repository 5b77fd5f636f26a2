package inspect

import (
	"path"
	"strconv"
	"strings"
)

const maxAccounts = 2000

// Account is a user who could log in: root, people, and whoever has a password or keys.
type Account struct {
	Name     string `json:"name"`
	UID      int64  `json:"uid"`
	GID      int64  `json:"gid"`
	Home     string `json:"home"`
	Shell    string `json:"shell"`
	Password string `json:"password"` // "set", "empty", "locked", "none" (no password was ever set)
	// AuthorizedKeys is how many public keys may log in.
	AuthorizedKeys int `json:"authorizedKeys"`
	// PrivateKeys are files with private keys in the home's .ssh.
	PrivateKeys []string `json:"privateKeys,omitempty"`
}

// accounts reads passwd(5) and shadow(5). Hashes of passwords are looked at and not kept.
func (r *Root) accounts() []Account {
	state := map[string]string{}
	for line := range strings.Lines(text(r, "etc/shadow")) {
		if f := strings.Split(strings.TrimSpace(line), ":"); len(f) > 1 {
			state[f[0]] = passwordState(f[1])
		}
	}
	out := []Account{}
	for line := range strings.Lines(text(r, "etc/passwd")) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < 7 || len(out) >= maxAccounts {
			continue
		}
		a := Account{Name: printable(f[0]), Home: printable(f[5]), Shell: printable(f[6]), Password: state[f[0]]}
		var err1, err2 error
		a.UID, err1 = strconv.ParseInt(f[2], 10, 64)
		a.GID, err2 = strconv.ParseInt(f[3], 10, 64)
		if err1 != nil || err2 != nil {
			continue
		}
		if a.Password == "" {
			a.Password = "none"
			if f[1] != "x" {
				a.Password = passwordState(f[1])
			}
		}
		if home := strings.Trim(path.Clean("/"+f[5]), "/"); home != "" {
			for _, name := range []string{"authorized_keys", "authorized_keys2"} {
				for line := range strings.Lines(text(r, path.Join(home, ".ssh", name))) {
					if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
						a.AuthorizedKeys++
					}
				}
			}
			for _, name := range list(r, path.Join(home, ".ssh"), "*") {
				if b, err := readFile(r, name, 64<<10); err == nil && strings.Contains(string(b[:min(len(b), 100)]), "PRIVATE KEY-----") {
					a.PrivateKeys = append(a.PrivateKeys, "/"+printable(name))
				}
			}
		}
		login := a.Shell != "" && !strings.HasSuffix(a.Shell, "nologin") && !strings.HasSuffix(a.Shell, "/false") && !strings.HasSuffix(a.Shell, "/sync")
		if a.UID == 0 || login && a.UID >= 1000 || a.Password == "set" || a.Password == "empty" || a.AuthorizedKeys > 0 || len(a.PrivateKeys) > 0 {
			out = append(out, a)
		}
	}
	return out
}

func passwordState(field string) string {
	switch {
	case field == "":
		return "empty"
	case field == "*" || field == "!*" || field == "!!" || field == "!" || field == "x":
		return "none"
	case strings.HasPrefix(field, "!"):
		return "locked"
	}
	return "set"
}
