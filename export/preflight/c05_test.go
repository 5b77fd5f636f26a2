package preflight

import (
	"regexp"
	"testing"
)

func TestSupportedSystem(t *testing.T) {
	image := Request{Path: ImportImage}
	raw := good().raw(t)
	passes(t, "C05", raw, image)
	ends(t, "C05", raw, Request{Path: EBSDirect}, Skipped, "ebs-direct")
	for _, c := range []struct {
		name         string
		change       func(f *fixture)
		level        Level
		where, seen  string
		wantPrevents string
	}{
		{"kernel", file("boot/vmlinuz-"+fixtureKernel, bzImage("4.15.0-1021-aws")), Fatal, "/boot/vmlinuz", "4.15.0-1021-aws", "ClientError: Unsupported kernel version 4.15.0-1021-aws"},
		{"distribution", file("usr/lib/os-release", "ID=alpine\nPRETTY_NAME=\"Alpine Linux\"\nVERSION_ID=3.20\n"), Fatal, "os-release", "Alpine Linux", unknownOS},
		{"major version", all(replaced("usr/lib/os-release", "12", "13"), file("etc/debian_version", "13.1\n")), Fatal, "os-release", "Debian 13.1", unknownOS},
		{"minor version", file("etc/debian_version", "12.5\n"), Warning, "os-release", "Debian 12.5", unknownOS},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := good()
			c.change(f)
			if found := fails(t, "C05", f.raw(t), image, c.level, c.where, c.seen); found.Prevents != c.wantPrevents {
				t.Errorf("prevents %q", found.Prevents)
			}
		})
	}
}

func TestOSList(t *testing.T) {
	l, err := ReadOSList()
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^20\d\d-\d\d$`).MatchString(l.Date) || l.Source == "" {
		t.Errorf("the table is of %q, from %q", l.Date, l.Source)
	}
	for _, c := range []struct {
		id, version, kernel string
		takes               bool
	}{
		{"amzn", "2023", "6.1.112-122.189.amzn2023.x86_64", true},
		{"amzn", "2023", "6.12.0-1.amzn2023.x86_64", false},
		{"centos", "7", "3.10.0-1160.el7.x86_64", true},
		{"debian", "12.7", "6.1.0-25-amd64", true},
		{"debian", "12.7", "6.10.0-1-amd64", false},
		{"debian", "11", "5.10.0-32-amd64", true},
		{"fedora", "43", "6.17.1-300.fc43.x86_64", true},
		{"ol", "9.4", "5.15.0-206.153.7.el9uek.x86_64", true},
		{"ol", "9.6", "5.15.0-206.153.7.el9uek.x86_64", false},
		{"ol", "9.6", "6.12.0-1.el9uek.x86_64", true},
		{"ol", "9.6", "5.14.0-570.el9.x86_64", true},
		{"rhel", "6.0", "2.6.32-71.el6.x86_64", false},
		{"rhel", "6.8", "2.6.32-642.el6.x86_64", true},
		{"rhel", "9.7", "5.14.0-611.el9.x86_64", true},
		{"rocky", "10.1", "6.12.0-124.el10.x86_64", true},
		{"sles", "15.5", "5.14.21-150500.55-default", true},
		{"sles", "15.6", "6.4.0-150600.21-default", true},
		{"ubuntu", "24.04", "6.8.0-1016-aws", true},
		{"ubuntu", "24.04", "6.5.0-14-generic", false},
	} {
		d := l.Distribution(c.id)
		if d == nil {
			t.Fatalf("no %s", c.id)
		}
		r, exact := d.Release(c.version)
		if r == nil || !exact || r.Takes(c.kernel) != c.takes {
			t.Errorf("%s %s with %s: %+v, %v", c.id, c.version, c.kernel, r, exact)
		}
	}
	for _, c := range []struct{ id, version string }{{"rhel", "9.8"}, {"debian", "12.5"}} {
		if r, exact := l.Distribution(c.id).Release(c.version); r == nil || exact {
			t.Errorf("%s %s: %+v, %v", c.id, c.version, r, exact)
		}
	}
	if l.Distribution("nixos") != nil {
		t.Error("NixOS is in the table")
	}
}
