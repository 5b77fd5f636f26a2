package diff

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/disk/inspect"
)

// tree is a folder of this machine as a system, with owners and packages that a test chooses.
type tree struct {
	Tree
	packages []Package
	broken   string // a file that cannot be read
}

func (t *tree) Packages(context.Context) inspect.Packages { return inspect.Packages{List: t.packages} }

func (t *tree) Open(name string) (fs.File, error) {
	if name == t.broken {
		return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("input/output error")}
	}
	return t.Tree.Open(name)
}

// system makes a system of files by name: "> TARGET" is a link, "MODE:CONTENT" a file of a mode, a name that ends with / is a folder.
func system(t *testing.T, files map[string]string) *tree {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(content, "> "); ok {
			err = os.Symlink(target, at)
		} else if strings.HasSuffix(name, "/") {
			err = os.MkdirAll(at, 0o755)
		} else {
			mode := os.FileMode(0o644)
			if m, rest, ok := strings.Cut(content, ":"); ok && len(m) == 4 && m[0] < '8' && m[0] >= '0' {
				var n uint32
				fmt.Sscanf(m, "%o", &n)
				mode, content = os.FileMode(n&0o777), rest
				if n&0o4000 != 0 {
					mode |= fs.ModeSetuid
				}
			}
			if err = os.WriteFile(at, []byte(content), 0o600); err == nil {
				err = os.Chmod(at, mode)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return &tree{Tree: os.DirFS(dir).(Tree)}
}

func run(t *testing.T, a, b Tree, o Options) *Report {
	t.Helper()
	r, err := Diff(context.Background(), a, b, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func text(t *testing.T, r *Report, o TextOptions) string {
	t.Helper()
	var b strings.Builder
	if err := r.Text(&b, o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

const hashA, hashB = "$y$j9T$AAAAAAAAAAAAAAAAAAAAAA$bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "$6$CCCCCCCC$dddddddddddddddddddddddddddd"

func pairOfSystems(t *testing.T) (a, b *tree) {
	common := map[string]string{
		"etc/os-release": "ID=debian\n", "bin/sh": "0755:shell", "etc/same": strings.Repeat("x", 600<<10), "usr/lib/systemd/system/ssh.service": "[Service]\n[Install]\nWantedBy=x\n",
		"usr/lib/systemd/system/ssh.socket": "[Socket]\nListenStream=22\n[Install]\nWantedBy=sockets.target\n", "usr/lib/systemd/system/static.service": "[Service]\n",
		"usr/lib/systemd/system/getty@.service": "[Service]\n[Install]\nWantedBy=getty.target\n", "usr/lib/systemd/system/gone.socket": "[Socket]\nListenDatagram=[::1]:53\nListenStream=/run/x\nListenStream=@y\n[Install]\nWantedBy=x\n",
		"lib": "> usr/lib", "boot/vmlinuz-6.1": "k", "boot/initrd.img-6.1": "i", "usr/lib/modules/6.1/modules.dep": "old",
		"var/lib/dpkg/info/tool.list": "/.\n/usr/bin/tool\n/lib/tool\n", "home/a/.ssh/authorized_keys": "# none\n",
	}
	before, after := map[string]string{}, map[string]string{}
	for name, content := range common {
		before[name], after[name] = content, content
	}
	add := func(m map[string]string, more map[string]string) {
		for name, content := range more {
			m[name] = content
		}
	}
	add(before, map[string]string{
		"etc/passwd": "root:x:0:0:root:/root:/bin/bash\na:x:1000:1000::/home/a:/bin/sh\nold:x:5:5::/:/bin/false\n",
		"etc/shadow": "root:*:1:::::\na:" + hashA + ":1:::::\nold:!:1:::::\n", "etc/group": "sudo:x:27:\nold:x:5:\n",
		"etc/conf": "one\n", "etc/kind": "file", "etc/link": "> a", "usr/bin/tool": "0755:v1", "usr/lib/tool": "v1", "etc/removed/x": "1", "etc/removed/y": "22",
		"var/log/syslog": "a", "etc/machine-id": "1\n", "usr/lib/python/__pycache__/m.pyc": "1", "etc/mode": "0644:m",
		"etc/systemd/system/multi-user.target.wants/ssh.service": "> /usr/lib/systemd/system/ssh.service",
	})
	after["usr/lib/modules/6.1/modules.dep"] = "new"
	after["home/a/.ssh/authorized_keys"] = "# one\nssh-ed25519 AAAA a@b\n"
	add(after, map[string]string{
		"etc/passwd": "root:x:0:0:root:/root:/bin/bash\na:x:1000:1000::/home/a:/bin/bash\nnew:x:999:999::/srv:/bin/sh\n",
		"etc/shadow": "root::1:::::\na:" + hashB + ":1:::::\nnew:!" + hashA + ":1:::::\n", "etc/group": "sudo:x:27:new,a\nnew:x:999:\n",
		"etc/conf": "two\n", "etc/kind/inner": "now a folder", "etc/link": "> b", "usr/bin/tool": "0755:v2", "usr/lib/tool": "version 2",
		"opt/app/bin/run": "4755:suid", "opt/data/one": "1", "opt/data/sub/two": "2222", "etc/mode": "0600:m",
		"var/log/syslog": "b", "etc/machine-id": "2\n", "usr/lib/python/__pycache__/m.pyc": "2",
		"etc/systemd/system/sockets.target.wants/ssh.socket": "> /usr/lib/systemd/system/ssh.socket", "etc/systemd/system/ssh.service": "> /dev/null",
		"etc/systemd/system/ssh.socket.d/port.conf": "[Socket]\nListenStream=\nListenStream=0.0.0.0:2222\n", "etc/systemd/system/getty.target.wants/getty@tty1.service": "> /usr/lib/systemd/system/getty@.service",
		"boot/vmlinuz-6.2": "k2",
	})
	delete(after, "usr/lib/systemd/system/gone.socket")
	a, b = system(t, before), system(t, after)
	a.packages = []Package{{Name: "tool", Version: "1"}, {Name: "old", Version: "1"}, {Name: "kernel", Version: "1"}, {Name: "libc", Version: "2", Architecture: "amd64"}}
	b.packages = []Package{{Name: "tool", Version: "2"}, {Name: "new", Version: "1"}, {Name: "kernel", Version: "1"}, {Name: "kernel", Version: "2"}, {Name: "libc", Version: "2", Architecture: "amd64"}}
	return a, b
}

const wantText = `packages: 2 added, 1 removed, 1 changed
  + kernel 2
  + new 1
  - old 1
  ~ tool 1 -> 2
kernels: 1 added
  + 6.2 (without initrd and modules)
units: 1 added, 1 removed, 2 changed
  + getty@tty1.service (enabled)
  - gone.socket (disabled)
  ~ ssh.service: enabled -> masked
  ~ ssh.socket: disabled -> enabled
ports of socket units: 1 added, 2 removed
  + tcp 0.0.0.0:2222 by ssh.socket (enabled)
  - tcp *:22 by ssh.socket (disabled)
  - udp ::1:53 by gone.socket (disabled)
users: 1 added, 1 removed, 2 changed
  + new (uid 999, gid 999, home /srv, shell /bin/sh, password locked)
  - old (uid 5, gid 5, home /, shell /bin/false, password none)
  ~ a: shell /bin/sh -> /bin/bash, another password (set), authorized keys 0 -> 1
  ~ root: password none -> empty
groups: 1 added, 1 removed, 1 changed
  + new (gid 999)
  - old (gid 5)
  ~ sudo: + member a, + member new
`

func TestDiff(t *testing.T) {
	a, b := pairOfSystems(t)
	r := run(t, a, b, Options{})
	got := text(t, r, TextOptions{})
	sections, files, _ := strings.Cut(got, "files: ")
	if sections != wantText {
		t.Errorf("got:\n%s\nwant:\n%s", sections, wantText)
	}
	for _, line := range []string{
		"  ~ /etc/conf (other content of 4 bytes)\n", "  ~ /etc/kind (file -> folder)\n", "  + /etc/kind/inner (12 bytes)\n", "  ~ /etc/link (a -> b)\n", "  ~ /etc/mode (mode 0644 -> 0600)\n",
		"  - /etc/removed/ (2 entries, 3 bytes)\n", "  + /opt/app/bin/run (4 bytes, mode 4755)\n", "  + /opt/data/ (3 entries, 5 bytes)\n", "  ~ /etc/shadow (",
		"files of packages (--files lists them):\n  tool: ~2\n",
	} {
		if !strings.Contains(files, line) {
			t.Errorf("%q is not in:\n%s", line, files)
		}
	}
	for _, hidden := range []string{"/etc/same", "machine-id", "syslog", ".pyc", "modules.dep", "/usr/bin/tool"} {
		if strings.Contains(files, hidden) {
			t.Errorf("%s is in:\n%s", hidden, files)
		}
	}
	if full := text(t, r, TextOptions{Files: true}); !strings.Contains(full, "  ~ /usr/bin/tool (other content of 2 bytes)\n") || !strings.Contains(full, "  + /opt/data/sub/two (4 bytes)\n") {
		t.Errorf("--files:\n%s", full)
	}
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{hashA, hashB, "AAAA", "$y$", "ssh-ed25519", "now a folder"} {
		if strings.Contains(string(data), secret) || strings.Contains(got, secret) {
			t.Errorf("%q is told", secret)
		}
	}
	if strings.Contains(string(data), ":null") {
		t.Errorf("a list is null: %s", data)
	}
}

func TestSame(t *testing.T) {
	a, _ := pairOfSystems(t)
	r := run(t, a, a, Options{})
	if r.Different || !strings.HasPrefix(text(t, r, TextOptions{}), "no differences in ") {
		t.Errorf("%+v", r)
	}
}

func TestAll(t *testing.T) {
	a, b := pairOfSystems(t)
	r := run(t, a, b, Options{All: true})
	var paths []string
	for _, c := range r.Files.Changed {
		paths = append(paths, c.Path)
	}
	for _, p := range []string{"etc/machine-id", "var/log/syslog", "usr/lib/python/__pycache__/m.pyc", "usr/lib/modules/6.1/modules.dep"} {
		if !slices.Contains(paths, p) {
			t.Errorf("%s is not among %v", p, paths)
		}
	}
	if r.Files.Ignored != 0 || !slices.IsSorted(paths) {
		t.Errorf("%d ignored, %v", r.Files.Ignored, paths)
	}
}

func TestUnreadable(t *testing.T) {
	a, b := pairOfSystems(t)
	b.broken = "etc/same"
	r := run(t, a, b, Options{})
	if want := (Problem{"b", "etc/same", "input/output error"}); !slices.Contains(r.Problems, want) {
		t.Errorf("%+v", r.Problems)
	}
	if !strings.Contains(text(t, r, TextOptions{}), "could not be compared: 1\n  ! b: etc/same: input/output error\n") {
		t.Error(text(t, r, TextOptions{}))
	}
}

func TestCancelled(t *testing.T) {
	a, b := pairOfSystems(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Diff(ctx, a, b, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// TestTerminal has a name that would change a terminal.
func TestTerminal(t *testing.T) {
	a, b := system(t, map[string]string{"x": ""}), system(t, map[string]string{"x": "", "e\x1b[2J": "1", "etc/passwd": "a\x1b]0;:x:1:1::/:/bin/sh\n"})
	if got := text(t, run(t, a, b, Options{}), TextOptions{}); strings.Contains(got, "\x1b") {
		t.Errorf("%q", got)
	}
}

// TestAuthorizedKeys has keys in both files that sshd reads, and in the home of several users, which is read once.
func TestAuthorizedKeys(t *testing.T) {
	passwd := "a:x:1:1::/home/a:/bin/sh\nb:x:2:2::/home/a/../a/:/bin/sh\n"
	a := system(t, map[string]string{"etc/passwd": passwd})
	b := system(t, map[string]string{"etc/passwd": passwd, "home/a/.ssh/authorized_keys": "# none\nssh-ed25519 A\n", "home/a/.ssh/authorized_keys2": "ssh-ed25519 B\n"})
	r := run(t, a, b, Options{})
	for i, name := range []string{"a", "b"} {
		if len(r.Users.Changed) != 2 || r.Users.Changed[i].Name != name || r.Users.Changed[i].After.AuthorizedKeys != 2 {
			t.Fatalf("%+v", r.Users)
		}
	}
}

// TestStatic has a unit that its vendor wants, which is not enabled for that, and what dpkg leaves behind.
func TestStatic(t *testing.T) {
	units := map[string]string{"usr/lib/systemd/system/a.service": "[Service]\n", "usr/lib/systemd/system/b.service": "[Service]\n[Install]\nWantedBy=x\n"}
	a := system(t, map[string]string{"etc/x": ""})
	for _, u := range []string{"a", "b"} {
		units["usr/lib/systemd/system/sysinit.target.wants/"+u+".service"] = "> ../" + u + ".service"
	}
	units["usr/share/a.dpkg-tmp"] = ""
	r := run(t, a, system(t, units), Options{})
	if len(r.Services.Added) != 2 || r.Services.Added[0].State != "static" || r.Services.Added[1].State != "disabled" {
		t.Errorf("%+v", r.Services)
	}
	if r.Files.Ignored != 1 || slices.ContainsFunc(r.Files.Added, func(f File) bool { return f.Path == "usr/share/a.dpkg-tmp" }) {
		t.Errorf("%+v", r.Files)
	}
}

func TestPort(t *testing.T) {
	tests := []struct {
		value    string
		datagram bool
		want     Port
	}{
		{"22", false, Port{Port: 22, Protocol: "tcp", Address: "*"}},
		{"[::]:80", false, Port{Port: 80, Protocol: "tcp", Address: "::"}},
		{"127.0.0.1:53", true, Port{Port: 53, Protocol: "udp", Address: "127.0.0.1"}},
		{"vsock::1234", false, Port{Port: 1234, Protocol: "vsock", Address: "*"}},
		{"vsock:3:1234", false, Port{Port: 1234, Protocol: "vsock", Address: "3"}},
	}
	for _, test := range tests {
		if got, ok := port(test.value, test.datagram); !ok || got != test.want {
			t.Errorf("%s: %+v, %v", test.value, got, ok)
		}
	}
	for _, value := range []string{"/run/x", "@x", "%i", "70000", "-1", "a:b:c", "host:name", "netlink"} {
		if got, ok := port(value, false); ok {
			t.Errorf("%s: %+v", value, got)
		}
	}
}
