package base

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/ingot-image/ingot/disk"
)

// Tools returns the host programs that making a Debian base needs, besides those of package disk.
func Tools() []disk.Tool {
	return []disk.Tool{unshare, mmdebstrap, newuidmap, aptConfig}
}

var (
	unshare    = disk.Tool{Name: "unshare", Package: "util-linux"}
	mmdebstrap = disk.Tool{Name: "mmdebstrap", Package: "mmdebstrap"}
	newuidmap  = disk.Tool{Name: "newuidmap", Package: "uidmap"}
	aptConfig  = disk.Tool{Name: "apt-config", Package: "apt"}
)

// NamespaceError says that this user cannot get the namespaces that a bootstrap needs.
type NamespaceError struct{ Err error }

func (e *NamespaceError) Error() string {
	hint := "the kernel or the container this runs in does not allow it"
	if os.Geteuid() != 0 {
		hint = "an ordinary user needs the package uidmap, a range in /etc/subuid and /etc/subgid, and a kernel that allows " +
			"unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0); or run as root"
	}
	return fmt.Sprintf("cannot make a namespace: %v; %s", e.Err, hint)
}

func (e *NamespaceError) Unwrap() error { return e.Err }

// CheckNamespace tries the namespaces that a bootstrap runs in. The error is a [disk.MissingToolError] or a [NamespaceError].
func CheckNamespace(ctx context.Context) error {
	return inNamespace(ctx, "/", nil, "/bin/true")
}

// inNamespace runs a program as root in mount and PID namespaces of its own; an ordinary user's root is that of a user
// namespace with the user's subordinate IDs. Everything in it dies when this process does: the kernel kills unshare, which is
// our direct child, and --kill-child the namespace's first process, and with it all others.
func inNamespace(ctx context.Context, dir string, stderr io.Writer, args ...string) error {
	flags := []string{"--mount", "--pid", "--fork", "--kill-child"}
	if os.Geteuid() != 0 {
		if _, err := newuidmap.Find(); err != nil {
			return err
		}
		flags = append([]string{"--map-root-user", "--map-auto"}, flags...)
	}
	err := disk.Run(ctx, disk.Command{Tool: unshare, Args: append(append(flags, "--"), args...), Dir: dir, Stderr: stderr,
		Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}})
	var te *disk.ToolError
	if errors.As(err, &te) && (strings.HasPrefix(te.Stderr, "unshare:") || strings.HasPrefix(te.Stderr, "newuidmap:")) {
		return &NamespaceError{err}
	}
	return err
}

// aptAcquireSettings returns this machine's apt settings for fetching, as an apt.conf(5): proxies, and whether release files'
// dates are checked. They are for the bootstrap only and do not get into the image.
func aptAcquireSettings(ctx context.Context) (string, error) {
	var out bytes.Buffer
	if err := disk.Run(ctx, disk.Command{Tool: aptConfig, Args: []string{"dump"}, Stdout: &out}); err != nil {
		return "", fmt.Errorf("read apt's settings: %w", err)
	}
	keep := "Acquire::Languages \"none\";\n"
	for line := range strings.Lines(out.String()) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || value == `"";` || !strings.HasSuffix(value, `";`) {
			continue
		}
		k := strings.ToLower(key)
		switch {
		case strings.HasPrefix(k, "acquire::http::proxy"), strings.HasPrefix(k, "acquire::https::proxy"), strings.HasPrefix(k, "acquire::ftp::proxy"),
			k == "acquire::check-valid-until", k == "acquire::check-date", k == "acquire::retries":
			keep += key + " " + value + "\n"
		}
	}
	return keep, nil
}
