package inspect

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"
)

// lz4 compresses by somebody else's program.
func lz4(t testing.TB, content string, flags ...string) string {
	if _, err := exec.LookPath("lz4"); err != nil {
		t.Skip("no lz4 (Debian package lz4)")
	}
	cmd := exec.Command("lz4", append(flags, "-c")...)
	cmd.Stdin = strings.NewReader(content)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestLZ4(t *testing.T) {
	random := make([]byte, 9<<20)
	source := rand.NewChaCha8([32]byte{1})
	source.Read(random)
	contents := map[string]string{
		"empty": "", "short": "abc", "runs": strings.Repeat("a", 20<<20), "words": strings.Repeat("kernel/drivers/nvme/host/nvme.ko ", 600000), "random": string(random),
		"mixed": string(random[:100000]) + strings.Repeat("x", 70000) + string(random[:100000]),
	}
	for name, content := range contents {
		for _, flags := range [][]string{{"-l"}, {"-l", "-9"}, {}, {"-9", "-B4", "-BD"}, {"-B4", "-BX", "--no-frame-crc"}} {
			z, err := newLZ4(strings.NewReader(lz4(t, content, flags...)))
			if err != nil {
				t.Fatal(name, flags, err)
			}
			if b, err := io.ReadAll(z); err != nil || !bytes.Equal(b, []byte(content)) {
				t.Errorf("%s %v: %d bytes of %d, %v", name, flags, len(b), len(content), err)
			}
		}
	}
}

func TestInitrdLZ4(t *testing.T) {
	archive := cpio("lib/modules/5.4.0/kernel/drivers/nvme/host/nvme.ko")
	for _, flags := range [][]string{{"-l"}, {}} {
		whole := lz4(t, archive, flags...)
		for name, c := range map[string]struct{ file, problem string }{
			"whole":           {whole, ""},
			"microcode first": {cpio("kernel/x86/microcode/AuthenticAMD.bin") + strings.Repeat("\x00", 512) + whole, ""},
			"padded":          {whole + strings.Repeat("\x00", 512), ""},
			"cut off":         {whole[:len(whole)-len(whole)/2], "cut off"},
			"too long":        {whole[:4] + "\xff\xff\xff\x7f", ""},
		} {
			budget := int64(64 << 20)
			i, inside := rootOfFiles(map[string][]byte{"i": []byte(c.file)}).readInitrd("i", &budget)
			if name == "too long" {
				if i.Problem == "" {
					t.Error("a block of 2 GiB is read")
				}
				continue
			}
			if i.Compression != "lz4" || !strings.Contains(i.Problem, c.problem) || (i.Problem == "") != (c.problem == "") || inside["nvme"] != (c.problem == "") {
				t.Errorf("%v %s: %+v %v", flags, name, i, inside)
			}
		}
	}
}

func FuzzLZ4(f *testing.F) {
	f.Add([]byte("\x02\x21\x4c\x18\x04\x00\x00\x00\x30abc"))
	f.Add([]byte("\x02\x21\x4c\x18\x0a\x00\x00\x00\x1fa\x01\x00\xff\xff\x00\x10bc"))
	f.Add([]byte("\x04\x22\x4d\x18\x60\x40\x82\x03\x00\x00\x80abc\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		z, err := newLZ4(bytes.NewReader(b))
		if err != nil {
			return
		}
		n, _ := io.Copy(io.Discard, z)
		if n > int64(len(b))*256 {
			t.Errorf("%d bytes of %d", n, len(b))
		}
	})
}
