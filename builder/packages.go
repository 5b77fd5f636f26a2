package builder

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
)

// dpkg's record of what is installed, and the first of the changes that a dpkg which was stopped half-way has not put there yet.
const (
	dpkgStatus  = "/var/lib/dpkg/status"
	dpkgUpdates = "/var/lib/dpkg/updates/0000"
	maxStatus   = 64 << 20
)

// packageScript lists the installed packages with the distribution's own tool: name, version, architecture.
const packageScript = `if command -v dpkg-query >/dev/null; then
	dpkg-query -W -f '${db:Status-Status}\t${Package}\t${Version}\t${Architecture}\n' | sed -n 's/^installed\t//p'
elif command -v rpm >/dev/null; then
	rpm -qa --qf '%{NAME}\t%{EPOCHNUM}:%{VERSION}-%{RELEASE}\t%{ARCH}\n' | sed 's/\t0:/\t/'
fi`

// packages lists what is installed in the guest. Dpkg's record is read here, which is ten times as fast as to ask dpkg in an emulated guest.
func (g *guest) packages(ctx context.Context) ([]Package, error) {
	var status bytes.Buffer
	if g.agent.Get(ctx, dpkgStatus, maxStatus, &status) == nil && g.agent.Get(ctx, dpkgUpdates, maxStatus, io.Discard) != nil {
		return parseStatus(&status)
	}
	out, err := g.exec(ctx, "the list of packages", packageScript)
	if err != nil {
		return nil, err
	}
	var packages []Package
	for line := range bytes.Lines(out) {
		fields := strings.Split(strings.TrimSpace(string(line)), "\t")
		if len(fields) == 3 {
			packages = append(packages, Package{Name: fields[0], Version: fields[1], Architecture: fields[2]})
		}
	}
	return packages, nil
}

// parseStatus gives the packages that dpkg's status file calls installed, by name. It is in the format of deb-status fields: paragraphs of
// "Name: value" lines, of which those that go on begin with a blank (deb822(5)); Status is "want flag status" (dpkg-query(1)).
func parseStatus(r io.Reader) ([]Package, error) {
	var packages []Package
	var p Package
	installed := false
	end := func() {
		if installed && p.Name != "" {
			packages = append(packages, p)
		}
		p, installed = Package{}, false
	}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if strings.TrimSpace(line) == "" {
			end()
			continue
		}
		if line[0] == ' ' || line[0] == '\t' {
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch strings.ToLower(name) {
		case "package":
			p.Name = value
		case "version":
			p.Version = value
		case "architecture":
			p.Architecture = value
		case "status":
			words := strings.Fields(value)
			installed = len(words) == 3 && words[2] == "installed"
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read dpkg's status: %w", err)
	}
	end()
	slices.SortFunc(packages, func(a, b Package) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Architecture, b.Architecture))
	})
	return packages, nil
}
