package base

import (
	"fmt"
	"io/fs"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"
)

const debianSources = `# a comment
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main non-free-firmware
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://user:secret@mirror.example/debian-security/
Suites:
 bookworm-security
# a comment within
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
Enabled: no
URIs: http://disabled.example/debian
Suites: bookworm
Components: main
`

func sourcesFS(files map[string]string) fs.FS {
	m := fstest.MapFS{}
	for name, text := range files {
		m["etc/apt/"+name] = &fstest.MapFile{Data: []byte(text)}
	}
	return m
}

func TestDebianArchives(t *testing.T) {
	for _, test := range []struct {
		name                       string
		files                      map[string]string
		release, updates, security string
	}{
		{"deb822", map[string]string{"sources.list.d/debian.sources": debianSources},
			"http://mirror.example/debian", "http://mirror.example/debian", "http://mirror.example/debian-security/"},
		{"one line", map[string]string{"sources.list": "deb http://m.example/debian\tbookworm main # c\n" +
			"deb [arch=amd64,i386 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://m.example/debian bookworm-updates main contrib\n" +
			"deb-src http://m.example/debian bookworm-security main\ndeb http://s.example/debian-security bookworm-security main\n"},
			"http://m.example/debian", "http://m.example/debian", "http://s.example/debian-security"},
		{"third parties", map[string]string{"sources.list.d/a.list": "deb https://docker.example/linux/debian bookworm stable\n" +
			"deb https://db.example/apt bookworm main\n" +
			"deb [signed-by=/etc/apt/keyrings/vendor.gpg] https://vendor.example/debian bookworm main\n",
			"sources.list.d/b.sources": "Types: deb\nURIs: https://inline.example/debian\nSuites: bookworm\nComponents: main\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n",
			"sources.list.d/z.list":    "deb http://m.example/debian bookworm main\n"},
			"http://m.example/debian", "", ""},
		{"odd path", map[string]string{"sources.list": "deb http://m.example/mirror/bookworm bookworm main\n"}, "http://m.example/mirror/bookworm", "", ""},
		{"another architecture", map[string]string{"sources.list": "deb [arch=arm64] http://m.example/debian bookworm main\n"}, "", "", ""},
		{"cdrom", map[string]string{"sources.list": "deb cdrom:[Debian]/ bookworm main\n"}, "", "", ""},
		{"ignored names", map[string]string{"sources.list.d/debian.sources.save": debianSources, "sources.list.d/x.disabled": debianSources}, "", "", ""},
		{"by alias", map[string]string{"sources.list": "deb http://m.example/debian stable main\ndeb http://s.example/debian-security stable-security main\n"}, "http://m.example/debian", "", "http://s.example/debian-security"},
		{"another release", map[string]string{"sources.list": "deb http://m.example/debian trixie main\n"}, "", "", ""},
		{"nothing", nil, "", "", ""},
	} {
		entries, err := readAptSources(sourcesFS(test.files))
		if err != nil {
			t.Fatal(err)
		}
		r, u, s := debianArchives(entries, "bookworm", "amd64")
		for _, c := range []struct {
			what string
			got  *archive
			want string
		}{{"release", r, test.release}, {"updates", u, test.updates}, {"security", s, test.security}} {
			got := ""
			if c.got != nil {
				plain := *c.got.uri
				plain.User = nil
				got = plain.String()
			}
			if got != c.want {
				t.Errorf("%s: %s is %q, want %q", test.name, c.what, got, c.want)
			}
		}
	}
}

func TestSourceLineKeepsSecretsOut(t *testing.T) {
	entries, err := readAptSources(sourcesFS(map[string]string{"sources.list.d/debian.sources": debianSources}))
	if err != nil {
		t.Fatal(err)
	}
	_, _, a := debianArchives(entries, "bookworm", "amd64")
	if got, want := a.sourceLine("trixie-security", "amd64", "/k.gpg", true), "deb [arch=amd64 signed-by=/k.gpg] http://user:secret@mirror.example/debian-security/ trixie-security main\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := a.sourceLine("trixie-security", "amd64", "", false), "deb http://mirror.example/debian-security/ trixie-security main\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestMirror(t *testing.T) {
	for mirror, want := range map[string]string{
		"http://m.example/debian":  "deb http://m.example/debian bookworm main\ndeb http://m.example/debian bookworm-updates main\ndeb http://m.example/debian-security bookworm-security main\n",
		"http://m.example/debian/": "deb http://m.example/debian/ bookworm main\ndeb http://m.example/debian/ bookworm-updates main\ndeb http://m.example/debian-security bookworm-security main\n",
		"m.example":                "", "http://m.example/a b": "", "http://m.example/\ndeb http://x": "",
	} {
		b, err := (&Store{Dir: "/nowhere", Mirror: mirror}).newBootstrap(Suite{"bookworm", 12})
		if want == "" {
			if err == nil {
				t.Errorf("%q accepted", mirror)
			}
		} else if err != nil || b.inImage != want {
			t.Errorf("%q: %v, %q", mirror, err, b.inImage)
		}
	}
}

func TestParseSuite(t *testing.T) {
	for name, want := range map[string]Suite{
		"debian-12": {"bookworm", 12}, "debian-bookworm": {"bookworm", 12}, "debian-13": {"trixie", 13}, "debian-11": {"bullseye", 11},
		"debian-sid": {"sid", 0}, "debian-unstable": {"sid", 0}, "debian-future": {"future", 0},
	} {
		if got, ok, err := ParseSuite(name); err != nil || !ok || got != want {
			t.Errorf("%s: %+v, %v, %v", name, got, ok, err)
		}
	}
	for _, name := range []string{"debian-", "debian-99", "debian-12.1", "debian-../etc", "debian-Bookworm", "debian-a b", "debian-x;reboot"} {
		if _, ok, err := ParseSuite(name); !ok || err == nil {
			t.Errorf("%q: %v, %v", name, ok, err)
		}
	}
	if _, ok, err := ParseSuite("web-server/1.0.x"); ok || err != nil {
		t.Errorf("not Debian: %v, %v", ok, err)
	}
	if (Suite{"buster", 10}).security() != "buster/updates" || (Suite{"trixie", 13}).security() != "trixie-security" {
		t.Error("security suite")
	}
	if p := strings.Join((Suite{"bullseye", 11}).packages(), " "); strings.Contains(p, "systemd-resolved") {
		t.Error("bullseye has no package systemd-resolved")
	}
}

// Everything that goes into a base must change its digest, and the machine's secrets must not.
func TestBootstrapDigest(t *testing.T) {
	digest := func(s Store, suite Suite) string {
		t.Helper()
		s.Dir = "/nowhere"
		b, err := s.newBootstrap(suite)
		if err != nil {
			t.Fatal(err)
		}
		return b.digestHex
	}
	m := Store{Mirror: "http://m.example/debian"}
	first := digest(m, Suite{"bookworm", 12})
	seen := map[string]string{first: "first"}
	for name, d := range map[string]string{
		"suite":  digest(m, Suite{"trixie", 13}),
		"mirror": digest(Store{Mirror: "http://n.example/debian"}, Suite{"bookworm", 12}),
		"size":   digest(Store{Mirror: m.Mirror, DiskSize: 8 << 30}, Suite{"bookworm", 12}),
	} {
		if other, dup := seen[d]; dup {
			t.Errorf("%s has the digest of %s", name, other)
		}
		seen[d] = name
	}
	if digest(Store{Mirror: "http://user:secret@m.example/debian"}, Suite{"bookworm", 12}) != first {
		t.Error("credentials change the digest")
	}
	b, _ := (&Store{Mirror: "http://user:secret@m.example/debian"}).newBootstrap(Suite{"bookworm", 12})
	if text := fmt.Sprint(b.inputs(), b.inImage, b.digestParts()); strings.Contains(text, "secret") {
		t.Error("credentials get into the image or the manifest")
	}
	h, h2 := b.hybrid(), b.hybrid()
	if h != h2 || h.RootUUID == h.DiskGUID || len(h.RootUUID) != 36 {
		t.Errorf("identifiers: %+v, %+v", h, h2)
	}
	for _, size := range []int64{1 << 20, 4<<30 + 1, 1 << 60, -1} {
		if _, err := (&Store{Mirror: m.Mirror, DiskSize: size}).newBootstrap(Suite{"bookworm", 12}); err == nil {
			t.Errorf("disk size %d accepted", size)
		}
	}
}

func TestOSRelease(t *testing.T) {
	got := parseOSRelease("PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID='12'\r\n# x\nID=debian\nVERSION_CODENAME=bookworm\nBROKEN\n")
	if want := (OS{ID: "debian", VersionID: "12", Codename: "bookworm", PrettyName: "Debian GNU/Linux 12 (bookworm)"}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}

func FuzzAptSources(f *testing.F) {
	f.Add(debianSources)
	f.Add("deb [arch=amd64 signed-by=/k] http://m.example/debian bookworm main\n")
	f.Add("deb [ http://m.example\nTypes: deb\nURIs: a b c\nSuites: d e f\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, entries := range [][]aptEntry{parseOneLine(text), parseDeb822(text)} {
			if len(entries) > maxEntries {
				t.Errorf("%d entries", len(entries))
			}
			release, updates, security := debianArchives(entries, "bookworm", "amd64")
			for _, a := range []*archive{release, updates, security} {
				if a == nil {
					continue
				}
				// One archive must stay one line, with nothing smuggled in.
				line := a.sourceLine("bookworm", "amd64", "", false)
				if strings.Count(line, "\n") != 1 || len(strings.Fields(line)) != 4 {
					t.Errorf("line %q", line)
				}
			}
		}
		parseOSRelease(text)
	})
}
