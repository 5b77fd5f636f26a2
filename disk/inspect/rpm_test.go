package inspect

import (
	"database/sql"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// rpmPackage is a header as rpm's databases have it.
func rpmPackage(name, version, release, arch string, epoch uint32) []byte {
	be := binary.BigEndian
	var index, data []byte
	add := func(tag, kind uint32, value []byte) {
		index = be.AppendUint32(index, tag)
		index = be.AppendUint32(index, kind)
		index = be.AppendUint32(index, uint32(len(data)))
		index = be.AppendUint32(index, 1)
		data = append(data, value...)
	}
	if epoch > 0 {
		add(1003, 4, be.AppendUint32(nil, epoch))
	}
	add(63, 7, make([]byte, 16))
	add(1000, 6, []byte(name+"\x00"))
	add(1001, 6, []byte(version+"\x00"))
	add(1002, 6, []byte(release+"\x00"))
	add(1004, 9, []byte("summary\x00"))
	add(1022, 6, []byte(arch+"\x00"))
	b := be.AppendUint32(nil, uint32(len(index)/16))
	b = be.AppendUint32(b, uint32(len(data)))
	return append(append(b, index...), data...)
}

var rpmPackages = [][]byte{rpmPackage("bash", "5.2", "1.el9", "x86_64", 0), rpmPackage("vim", "9.0", "2", "x86_64", 2), rpmPackage("gpg-pubkey", "1", "2", "", 0)}

// rpmSQLiteFile is a database as rpm 4.16 and later has it, in the mode that it has it in.
func rpmSQLiteFile(t testing.TB, schema string, headers ...[]byte) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rpmdb.sqlite")
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(wal)")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(schema); err != nil {
		t.Fatal(err)
	}
	for i, h := range headers {
		if _, err := db.Exec("INSERT INTO Packages VALUES (?, ?)", i+1, h); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func rpmNDBFile(headers ...[]byte) []byte {
	le := binary.LittleEndian
	b := make([]byte, 4096)
	copy(b, "RpmP")
	le.PutUint32(b[12:], 1)
	for at := 32; at < 4096; at += 16 {
		copy(b[at:], "Slot")
	}
	for i, h := range headers {
		le.PutUint32(b[32+i*16+4:], uint32(i+1))
		le.PutUint32(b[32+i*16+8:], uint32(len(b)/16))
		blob := append([]byte("BlbS"), make([]byte, 12)...)
		le.PutUint32(blob[4:], uint32(i+1))
		le.PutUint32(blob[12:], uint32(len(h)))
		b = append(append(b, blob...), h...)
		b = append(b, make([]byte, -len(b)&15)...)
	}
	return b
}

func rpmBDBFile(headers ...[]byte) []byte {
	const size = 512
	le := binary.LittleEndian
	meta, hash := make([]byte, size), make([]byte, size)
	le.PutUint32(meta[12:], 0x61561)
	le.PutUint32(meta[20:], size)
	hash[25] = 13
	le.PutUint16(hash[20:], uint16(2*len(headers)))
	var pages []byte
	for i, h := range headers {
		item := size - 12*(i+1)
		le.PutUint16(hash[26+4*i:], uint16(size-100))
		le.PutUint16(hash[28+4*i:], uint16(item))
		hash[item] = 3
		le.PutUint32(hash[item+4:], uint32(2+len(pages)/size))
		le.PutUint32(hash[item+8:], uint32(len(h)))
		for len(h) > 0 {
			page := make([]byte, size)
			page[25] = 7
			n := copy(page[26:], h[:min(len(h), 100)])
			le.PutUint16(page[22:], uint16(n))
			h = h[n:]
			if len(h) > 0 {
				le.PutUint32(page[16:], uint32(3+len(pages)/size))
			}
			pages = append(pages, page...)
		}
	}
	le.PutUint32(meta[32:], uint32(1+len(pages)/size))
	return append(append(meta, hash...), pages...)
}

const rpmSchema = "CREATE TABLE Packages (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)"

func rootOfFiles(files map[string][]byte) *Root {
	m := fstest.MapFS{}
	for name, b := range files {
		m[name] = &fstest.MapFile{Data: b, Mode: 0o644}
	}
	return &Root{mounts: []mountPoint{{".", m, "."}}}
}

func TestRPM(t *testing.T) {
	want := []Package{{"bash", "5.2-1.el9", "x86_64"}, {"vim", "2:9.0-2", "x86_64"}}
	for name, b := range map[string][]byte{"usr/lib/sysimage/rpm/rpmdb.sqlite": rpmSQLiteFile(t, rpmSchema, rpmPackages...),
		"var/lib/rpm/Packages.db": rpmNDBFile(rpmPackages...), "var/lib/rpm/Packages": rpmBDBFile(rpmPackages...)} {
		p := rootOfFiles(map[string][]byte{name: b}).packages(t.Context())
		if p.Manager != "rpm" || p.Problem != "" || !slices.Equal(p.List, want) {
			t.Errorf("%s: %+v", name, p)
		}
		for _, damage := range []struct {
			what string
			b    []byte
		}{{"cut off", b[:len(b)/2]}, {"empty", nil}, {"garbage", []byte(strings.Repeat("garbage", 1000))}} {
			p := rootOfFiles(map[string][]byte{name: damage.b}).packages(t.Context())
			if p.Problem == "" {
				t.Errorf("%s, %s: %+v", name, damage.what, p)
			}
		}
	}
	r := rootOfFiles(map[string][]byte{"var/lib/rpm/rpmdb.sqlite": rpmSQLiteFile(t, rpmSchema, rpmPackages...), "var/lib/rpm/rpmdb.sqlite-wal": []byte("x")})
	r.contents = &contents{}
	if p := r.packages(t.Context()); len(p.List) != 2 || len(r.contents.problems) != 1 || r.contents.problems[0].Where != "/var/lib/rpm/rpmdb.sqlite" {
		t.Errorf("with a log: %+v, %v", p, r.contents.problems)
	}
	// A view is a program: it could run for ever.
	p := rootOfFiles(map[string][]byte{"var/lib/rpm/rpmdb.sqlite": rpmSQLiteFile(t, "CREATE VIEW Packages AS WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT n AS hnum, 'x' AS blob FROM r")}).packages(t.Context())
	if !strings.Contains(p.Problem, "no table of packages") {
		t.Errorf("%+v", p)
	}
	for _, test := range []struct{ schema, problem string }{
		{"CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, x, blob BLOB AS (zeroblob(500000000)))", "computes"},
		{"CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob); INSERT INTO Packages VALUES (7, NULL), (8, zeroblob(17000000))", "left out: 2"},
	} {
		p := rootOfFiles(map[string][]byte{"var/lib/rpm/rpmdb.sqlite": rpmSQLiteFile(t, test.schema, rpmPackages[0])}).packages(t.Context())
		if !strings.Contains(p.Problem, test.problem) {
			t.Errorf("%s: %+v", test.schema, p)
		}
	}
	for _, h := range [][]byte{nil, {0, 0, 0, 1}, append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, make([]byte, 100)...)} {
		if p, err := rpmHeader(h); err == nil {
			t.Errorf("%x: %+v", h, p)
		}
	}
}

func TestPackages(t *testing.T) {
	apk := "C:Q1\nP:musl\nV:1.2.4-r2\nA:x86_64\nF:lib\nR:ld\n\nP:busybox\nV:1.36-r1\nA:x86_64\n"
	for _, test := range []struct {
		manager string
		files   map[string][]byte
		want    []Package
	}{
		{"apk", map[string][]byte{"lib/apk/db/installed": []byte(apk)}, []Package{{"busybox", "1.36-r1", "x86_64"}, {"musl", "1.2.4-r2", "x86_64"}}},
		{"pacman", map[string][]byte{"var/lib/pacman/local/bash-5/desc": []byte("%NAME%\nbash\n\n%VERSION%\n5.2-1\n\n%ARCH%\nx86_64\n"), "var/lib/pacman/local/ALPM_DB_VERSION": []byte("9\n")}, []Package{{"bash", "5.2-1", "x86_64"}}},
		{"dpkg", map[string][]byte{"var/lib/dpkg/status": nil, "var/lib/dpkg/status.d/base": []byte("Package: base-files\nVersion: 12\nArchitecture: amd64\n"), "var/lib/dpkg/status.d/base.md5sums": []byte("x")}, []Package{{"base-files", "12", "amd64"}}},
		{"", nil, []Package{}},
	} {
		p := rootOfFiles(test.files).packages(t.Context())
		if p.Manager != test.manager || p.Problem != "" || !slices.Equal(p.List, test.want) {
			t.Errorf("%s: %+v", test.manager, p)
		}
	}
}
