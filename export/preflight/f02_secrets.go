package preflight

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

// Files of homes that hold credentials, and histories that inspect does not name.
var (
	credentials = []string{".aws/credentials", ".azure/accessTokens.json", ".azure/msal_token_cache.json", ".config/gcloud/credentials.db",
		".config/gcloud/application_default_credentials.json", ".docker/config.json", ".kube/config", ".git-credentials", ".netrc", ".pgpass", ".my.cnf",
		".vault-token", ".npmrc", ".pypirc", ".config/gh/hosts.yml"}
	histories = []string{".python_history", ".mysql_history", ".psql_history", ".sqlite_history", ".node_repl_history", ".viminfo", ".lesshst"}
)

// secrets is R10 too: who launches an AMI reads all that is in it.
func secrets() Check {
	return Check{
		ID: "F02", Title: "no password, key, credential or history is in the image (R10)", Needs: NeedSystem,
		Looks:       "/etc/shadow, the homes of users, folders of private keys",
		Levels:      Levels{ImportImage: Warning, ImportSnapshot: Warning, EBSDirect: Warning},
		Prevents:    "no message: whoever may launch the AMI, or copy its snapshot, has it",
		Fix:         "remove it in a build by a step of DeleteFile or ExecuteBash, and take it for known: make a new one",
		NoComponent: "what may go, only you know; a build removes authorized keys and histories by itself, passwords and credentials it leaves",
		look: func(_ context.Context, t *Target) ([]Seen, error) {
			level := Warning
			if t.Request.Shared {
				level = Fatal
			}
			var seen []Seen
			add := func(where, format string, v ...any) {
				seen = append(seen, Seen{Where: where, What: fmt.Sprintf(format, v...), Level: level})
			}
			homes := map[string]bool{}
			for _, a := range t.Report.System.Accounts {
				switch a.Password {
				case "set", "locked":
					add("/etc/shadow", "the hash of a password of %s", a.Name)
				case "empty":
					add("/etc/shadow", "%s logs in without a password", a.Name)
				}
				home := path.Clean("/" + a.Home)
				if a.AuthorizedKeys > 0 {
					add(path.Join(home, ".ssh"), "%d public keys that may log in as %s", a.AuthorizedKeys, a.Name)
				}
				if len(a.PrivateKeys) > 0 {
					add(path.Join(home, ".ssh"), "private keys: %s", some(a.PrivateKeys))
				}
				if home == "/" || homes[home] {
					continue
				}
				homes[home] = true
				for _, name := range append(credentials, histories...) {
					file := path.Join(home, name)
					if st, err := t.Root.Lstat(file[1:]); err == nil && st.Mode().IsRegular() && st.Size() > 0 {
						add(file, "%d bytes of credentials or of what somebody typed", st.Size())
					} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
						return nil, err
					}
				}
			}
			for _, file := range t.Report.System.Identity.Histories {
				add(file, "what somebody typed")
			}
			keys, err := t.privateKeys("/etc/ssl/private", "/etc/pki/tls/private", "/etc/nginx", "/etc/letsencrypt/archive", "/etc/wireguard")
			for _, file := range keys {
				add(file, "a private key")
			}
			return seen, err
		},
	}
}

// privateKeys finds files with private keys in folders of the system: PEM, RFC 7468, section 10, and those of wg(8).
func (t *Target) privateKeys(folders ...string) ([]string, error) {
	var keys []string
	for _, folder := range folders {
		files, err := t.matches(folder, "*")
		if err != nil {
			return nil, err
		}
		for _, file := range files[:min(len(files), 100)] {
			if st, err := t.Root.Lstat(file[1:]); err != nil || !st.Mode().IsRegular() {
				continue
			}
			f, err := t.Root.Open(file[1:])
			if err != nil {
				return nil, err
			}
			head, err := io.ReadAll(io.LimitReader(f, 64<<10))
			f.Close()
			if err != nil {
				return nil, err
			}
			if strings.Contains(string(head), "PRIVATE KEY-----") || strings.Contains(string(head), "PrivateKey =") {
				keys = append(keys, file)
			}
		}
	}
	return keys, nil
}
