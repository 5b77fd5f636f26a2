package inspect

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

const (
	maxPackages    = 100000
	maxPackageText = 64 << 20 // of a package manager's database
)

// Packages lists what the package manager of the system has installed, sorted by name.
func (r *Root) Packages(ctx context.Context) Packages { return r.packages(ctx) }

// packages lists what the package manager has installed, sorted by name.
func (r *Root) packages(ctx context.Context) Packages {
	var p Packages
	var err error
	switch {
	case exists(r, "var/lib/dpkg/status"):
		p.Manager = "dpkg"
		p.List, err = r.dpkg()
	case exists(r, "lib/apk/db/installed"):
		p.Manager = "apk"
		p.List, err = r.apk("lib/apk/db/installed")
	case exists(r, "usr/lib/apk/db/installed"): // from apk 3
		p.Manager = "apk"
		p.List, err = r.apk("usr/lib/apk/db/installed")
	case exists(r, "var/lib/pacman/local"):
		p.Manager = "pacman"
		p.List, err = r.pacman()
	default:
		p.Manager, p.List, err = r.rpm(ctx)
	}
	if err != nil {
		p.Problem = cause(err).Error()
	}
	if len(p.List) > maxPackages {
		p.List, p.Problem = p.List[:maxPackages], "more packages than are looked at"
	}
	slices.SortStableFunc(p.List, func(a, b Package) int { return strings.Compare(a.Name, b.Name) })
	if p.List == nil {
		p.List = []Package{}
	}
	return p
}

// dpkg reads the status file, and what distroless images have in its place: deb-control(5).
func (r *Root) dpkg() ([]Package, error) {
	b, err := readFile(r, "var/lib/dpkg/status", maxPackageText)
	if err != nil {
		return nil, err
	}
	out := stanzas(string(b), ": ", true)
	for _, name := range list(r, "var/lib/dpkg/status.d", "*") {
		if !strings.HasSuffix(name, ".md5sums") && len(out) < maxPackages {
			out = append(out, stanzas(text(r, name), ": ", false)...)
		}
	}
	return out, nil
}

// apk reads the database of Alpine's package manager: P: name, V: version, A: architecture.
func (r *Root) apk(name string) ([]Package, error) {
	b, err := readFile(r, name, maxPackageText)
	if err != nil {
		return nil, err
	}
	return stanzas(string(b), ":", false), nil
}

// stanzas reads paragraphs of fields, those that are installed.
func stanzas(text, separator string, status bool) (out []Package) {
	var p Package
	installed := !status
	flush := func() {
		if p.Name != "" && p.Version != "" && installed && len(out) <= maxPackages {
			out = append(out, p)
		}
		p, installed = Package{}, !status
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			flush()
			continue
		}
		key, value, ok := strings.Cut(line, separator)
		if !ok || strings.HasPrefix(line, " ") {
			continue
		}
		switch key {
		case "Package", "P":
			p.Name = printable(value)
		case "Version", "V":
			p.Version = printable(value)
		case "Architecture", "A":
			p.Architecture = printable(value)
		case "Status":
			installed = strings.HasSuffix(value, " installed")
		}
	}
	flush()
	return out
}

// pacman reads the folders of Arch's package manager.
func (r *Root) pacman() ([]Package, error) {
	folders, err := r.ReadDir("var/lib/pacman/local")
	if err != nil {
		return nil, err
	}
	var out []Package
	for _, d := range folders {
		if !d.IsDir() || len(out) > maxPackages {
			continue
		}
		var p Package
		field := ""
		for line := range strings.Lines(text(r, path.Join("var/lib/pacman/local", d.Name(), "desc"))) {
			line = strings.TrimSpace(line)
			switch {
			case strings.HasPrefix(line, "%"):
				field = line
			case line == "":
				field = ""
			case field == "%NAME%":
				p.Name = printable(line)
			case field == "%VERSION%":
				p.Version = printable(line)
			case field == "%ARCH%":
				p.Architecture = printable(line)
			}
		}
		if p.Name != "" {
			out = append(out, p)
		}
	}
	return out, nil
}

// Where rpm has its database.
var rpmFolders = []string{"usr/lib/sysimage/rpm", "var/lib/rpm"}

// rpm reads the database of rpm.
func (r *Root) rpm(ctx context.Context) (manager string, out []Package, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, rpmTime, fmt.Errorf("the database was not read within %v", rpmTime))
	defer cancel()
	for _, folder := range rpmFolders {
		for _, db := range []struct {
			name string
			read func(context.Context, *Root, string, func(header []byte) error) error
		}{{"rpmdb.sqlite", rpmSQLite}, {"Packages.db", rpmNDB}, {"Packages", rpmBDB}} {
			file := path.Join(folder, db.name)
			if !exists(r, file) {
				continue
			}
			if st, err := r.Stat(file + "-wal"); err == nil && st.Size() > 0 && r.contents != nil { // sqlite.org/wal.html
				r.contents.problem("/"+file, "changes of the packages wait in %s-wal: they are not read", db.name)
			}
			err := db.read(ctx, r, file, func(header []byte) error {
				p, err := rpmHeader(header)
				if err != nil {
					return err
				}
				if p.Name != "gpg-pubkey" && p.Name != "" { // keys are kept like packages
					out = append(out, p)
				}
				if len(out) > maxPackages {
					return errors.New("more packages than are looked at")
				}
				return nil
			})
			return "rpm", out, err
		}
	}
	return "", nil, nil
}
