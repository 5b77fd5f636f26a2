package layer

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzRecord gives the reader records of anybody, with a right MAC, as if the secret were known: nothing they say may lead out of the layer's
// folder, or make the finder run away.
func FuzzRecord(f *testing.F) {
	const id = "0123456789ab"
	l := Layer{ID: id, Root: machine, Disks: []string{"disk-0.qcow2"}, Memory: "memory", Files: map[string]File{"disk-0.qcow2": {}, "memory": {}}}
	body, err := json.Marshal(l)
	if err != nil {
		f.Fatal(err)
	}
	seed := string(body)
	f.Add(seed)
	for _, change := range [][2]string{
		{"disk-0.qcow2", "../../secret"}, {"disk-0.qcow2", "/etc/passwd"}, {"disk-0.qcow2", "layer.json"}, {"disk-0.qcow2", ".."},
		{`"position":0`, `"position":-1`}, {`"depth":0`, `"depth":1000000000`}, {`"depth":0`, `"depth":1,"parentId":"` + id + `"`},
		{`"depth":0`, `"depth":1,"parentId":"../../.."`}, {id, "../../../etc"}, {`"steps":null`, `"steps":["a","a"]`}, {`"totalNs":0`, `"totalNs":-5`},
		{`"size":0`, `"size":-1`}, {`"memory":"memory"`, `"memory":"disk-0.qcow2"`},
	} {
		f.Add(strings.ReplaceAll(seed, change[0], change[1]))
	}
	f.Fuzz(func(t *testing.T, body string) {
		if len(body) > 1<<16 {
			return
		}
		s := &Store{dir: filepath.Join(t.TempDir(), "layers"), secret: []byte("secret"), o: Options{}.withDefaults()}
		dir := filepath.Join(s.dir, "root-"+id)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		body = strings.ReplaceAll(body, "\n", " ")
		text := `{"version":1,"mac":"` + s.seal(recordName, id, []byte(body)) + "\"}\n" + body + "\n"
		if err := os.WriteFile(filepath.Join(dir, recordName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := s.writeSealed(dir, stateName, id, state{}, maxState); err != nil {
			t.Fatal(err)
		}
		outside := filepath.Join(filepath.Dir(s.dir), "outside")
		if err := os.WriteFile(outside, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := s.Find(t.Context(), Query{Root: machine, Steps: steps("a a a"), Until: -1})
		if err != nil {
			t.Fatal(err)
		}
		if c != nil {
			for _, l := range c.Layers {
				for _, name := range append(l.names(), c.Images()...) {
					if !filepath.IsAbs(name) {
						name = c.Path(l, name)
					}
					if filepath.Dir(name) != dir {
						t.Errorf("%s is outside of %s", name, dir)
					}
				}
			}
			c.Verify(t.Context())
			c.Close()
		}
		if _, err := s.List(); err != nil {
			t.Error(err)
		}
		if _, err := s.Prune(t.Context(), PruneOptions{All: true}); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Error("the layer is still there")
		}
		if _, err := os.Stat(outside); err != nil {
			t.Error(err)
		}
	})
}

// FuzzSealed gives the reader files of anybody, who does not know the secret.
func FuzzSealed(f *testing.F) {
	f.Add([]byte("{\"version\":1,\"mac\":\"hmac:00\"}\n{}\n"))
	f.Add([]byte("{\"version\":1}\n"))
	f.Add([]byte("{}"))
	f.Add([]byte("\n\n"))
	f.Add([]byte(strings.Repeat("[", 100_000)))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := &Store{secret: []byte("secret")}
		var v any
		if err := s.unseal(data, recordName, "0123456789ab", &v); err == nil {
			t.Errorf("took %q", data)
		}
	})
}
