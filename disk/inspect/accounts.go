package inspect

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// Bounds of what is read for accounts.
const (
	maxAccounts = 2000     // in a report
	maxUsers    = 1 << 16  // lines of passwd that count
	maxKeyFile  = 1 << 20  // bytes of a file with authorized keys
	maxKeyBytes = 64 << 20 // bytes of all such files
	maxKeyFiles = 1 << 12  // private keys looked for, in all homes
)

// Account is a user of a system: passwd(5).
type Account struct {
	Name  string `json:"name"`
	UID   int64  `json:"uid"`
	GID   int64  `json:"gid"`
	Home  string `json:"home"`
	Shell string `json:"shell"`
	// Password is "set", "locked" (there is one, and it was locked), "none" (nobody can log in by one) or "empty" (none is asked for): shadow(5).
	Password string `json:"password"`
	// AuthorizedKeys is how many public keys may log in by SSH, by the user's own files.
	AuthorizedKeys int `json:"authorizedKeys"`
	// PrivateKeys are files with private keys in the home's .ssh.
	PrivateKeys []string `json:"privateKeys,omitempty"`

	digest [sha256.Size]byte // of what is stored as the password
}

// SamePassword tells whether two accounts that [ReadAccounts] gave have the same hash of a password, or the same in its place.
func (a Account) SamePassword(b Account) bool { return a.digest == b.digest }

// ReadAccounts reads all accounts of a system, in the order of passwd(5), without those of directories on the network: of a name that is there
// twice the first, as it counts. Hashes of passwords are looked at and not kept. Names are without what a terminal would take for a command. problem
// is told what is there and cannot be read, by its name in the system. The error is ctx's cause.
func ReadAccounts(ctx context.Context, system fs.ReadDirFS, problem func(name string, err error)) ([]Account, error) {
	r := accountReader{system: system, problem: problem, homes: map[string]keys{}, bytes: maxKeyBytes, files: maxKeyFiles}
	shadow := map[string]string{}
	for line := range strings.Lines(r.text("etc/shadow", maxText)) {
		if f := strings.Split(strings.TrimSpace(line), ":"); len(f) > 1 {
			if _, twice := shadow[f[0]]; !twice {
				shadow[f[0]] = f[1]
			}
		}
	}
	var out []Account
	known := map[string]bool{}
	for line := range strings.Lines(r.text("etc/passwd", maxText)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < 7 || f[0] == "" || strings.HasPrefix(f[0], "#") || known[f[0]] {
			continue
		}
		uid, err1 := strconv.ParseInt(f[2], 10, 64)
		gid, err2 := strconv.ParseInt(f[3], 10, 64)
		if err1 != nil || err2 != nil {
			continue
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if len(out) == maxUsers {
			problem("etc/passwd", errors.New("it has more than 65536 accounts, the rest is passed over"))
			break
		}
		known[f[0]] = true
		hash, ok := shadow[f[0]]
		if !ok {
			hash = f[1]
		}
		k := r.keys(f[5])
		out = append(out, Account{Name: printable(f[0]), UID: uid, GID: gid, Home: printable(f[5]), Shell: printable(f[6]),
			Password: passwordState(hash), AuthorizedKeys: k.authorized, PrivateKeys: k.private, digest: sha256.Sum256([]byte(hash))})
	}
	return out, nil
}

// accountReader reads what accounts have in their homes, each home once.
type accountReader struct {
	system  fs.ReadDirFS
	problem func(name string, err error)
	homes   map[string]keys
	bytes   int64 // that may still be read
	files   int
}

// keys are those in a home's .ssh.
type keys struct {
	authorized int
	private    []string
}

// keys looks into a home's .ssh: sshd(8), and sshd_config(5) for the names of the files.
func (r *accountReader) keys(home string) keys {
	folder := strings.Trim(path.Join("/", home, ".ssh"), "/")
	if k, ok := r.homes[folder]; ok {
		return k
	}
	var k keys
	entries, err := r.system.ReadDir(folder)
	if err != nil {
		r.complain(folder, err)
	}
	for _, e := range entries {
		name := path.Join(folder, e.Name())
		switch {
		case e.Name() == "authorized_keys" || e.Name() == "authorized_keys2":
			for line := range strings.Lines(r.text(name, maxKeyFile)) {
				if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
					k.authorized++
				}
			}
		case e.Type().IsRegular() && r.files > 0:
			r.files--
			if r.isPrivate(name) {
				k.private = append(k.private, "/"+printable(name))
			}
		}
	}
	r.homes[folder] = k
	return k
}

// isPrivate tells whether a file begins as PEM with a private key does: RFC 7468, section 10, and PROTOCOL.key of OpenSSH.
func (r *accountReader) isPrivate(name string) bool {
	f, err := r.system.Open(name)
	if err != nil {
		r.complain(name, err)
		return false
	}
	defer f.Close()
	head, err := io.ReadAll(io.LimitReader(f, 100))
	if err != nil {
		r.complain(name, err)
	}
	return strings.Contains(string(head), "PRIVATE KEY-----")
}

// text reads a text file, "" if it is not there.
func (r *accountReader) text(name string, limit int64) string {
	if r.bytes <= 0 {
		r.complain(name, errors.New("too much is to be read for the accounts, it is passed over"))
		return ""
	}
	b, err := readFile(r.system, name, limit)
	if err != nil {
		r.complain(name, err)
	}
	r.bytes -= int64(len(b))
	return string(b)
}

func (r *accountReader) complain(name string, err error) {
	if !errors.Is(err, fs.ErrNotExist) {
		r.problem(name, cause(err))
	}
}

// passwordState says what the second field of shadow(5) is good for: what crypt(3) cannot have made opens nothing.
func passwordState(field string) string {
	hash := strings.TrimLeft(field, "!")
	switch {
	case field == "":
		return "empty"
	case len(hash) < 13 || strings.ContainsAny(hash, "!*:;\\ \t"): // the shortest hash, and what none has: crypt(5)
		return "none"
	case len(hash) < len(field):
		return "locked"
	}
	return "set"
}

// accounts are those who could log in: root, people, and whoever has a password or keys.
func (r *Root) accounts(ctx context.Context) ([]Account, error) {
	all, err := ReadAccounts(ctx, r, func(name string, err error) { r.contents.problem("/"+printable(name), "%v", err) })
	out := []Account{}
	for _, a := range all {
		login := a.Shell != "" && !strings.HasSuffix(a.Shell, "nologin") && !strings.HasSuffix(a.Shell, "/false") && !strings.HasSuffix(a.Shell, "/sync")
		if len(out) < maxAccounts && (a.UID == 0 || login && a.UID >= 1000 || a.Password == "set" || a.Password == "empty" || a.AuthorizedKeys > 0 || len(a.PrivateKeys) > 0) {
			a.digest = [sha256.Size]byte{}
			out = append(out, a)
		}
	}
	return out, err
}
