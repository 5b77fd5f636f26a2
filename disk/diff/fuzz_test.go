package diff

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// FuzzDiff compares systems whose files have whatever in them: nothing of it may be told raw, and a system never differs from itself.
// Run it with -fuzzminimizetime=1x: what several goroutines cover is not the same every time, and minimizing takes all the time there is.
func FuzzDiff(f *testing.F) {
	f.Add("root:x:0:0::/root:/bin/sh\n", "root:"+hashA+":1::::::\n", "[Socket]\nListenStream=[::]:22\nListenDatagram=\n[Install]\nWantedBy=x\n", "x@\x1b.socket")
	f.Add("a:*:1:2::/../..:/bin/sh\na::::::\n", "a:!*:1\n", "[Socket]\nListenStream=vsock:3:\\\n1\n", "x@a.socket")
	f.Fuzz(func(t *testing.T, passwd, shadow, unit, name string) {
		began := time.Now()
		a := fstest.MapFS{"etc/passwd": {Data: []byte("x:x:5:5::/:/bin/sh\n")}}
		b := fstest.MapFS{}
		for at, content := range map[string]string{"etc/passwd": passwd, "etc/group": passwd, "etc/shadow": shadow, "root/.ssh/authorized_keys": shadow,
			"usr/lib/systemd/system/x@.socket": unit, "etc/systemd/system/x.socket": unit, "var/lib/dpkg/info/x.list": passwd} {
			b[at] = &fstest.MapFile{Data: []byte(content), Mode: 0o644}
		}
		if name != "" && !strings.ContainsAny(name, "/\x00") && name != "." && name != ".." && len(name) < 256 {
			b["etc/systemd/system/sockets.target.wants/"+name] = &fstest.MapFile{Data: []byte("/usr/lib/systemd/system/x@.socket"), Mode: fs.ModeSymlink}
			b["srv/"+name] = &fstest.MapFile{Data: []byte(unit)}
		}
		for _, pair := range [][2]fstest.MapFS{{a, b}, {b, a}} {
			for _, o := range []TextOptions{{}, {Files: true}} {
				if got := text(t, run(t, pair[0], pair[1], Options{All: true}), o); strings.ContainsAny(got, "\x1b\x00\x07") {
					t.Errorf("%q", got)
				}
			}
		}
		if r := run(t, b, b, Options{}); r.Different {
			t.Errorf("it differs from itself: %+v", r)
		}
		if d := time.Since(began); d > 10*time.Second {
			t.Errorf("took %v", d)
		}
	})
}
