package qemu

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// testConsole is a console fed by the returned writer.
func testConsole(t *testing.T, log io.Writer, limit int64) (*Console, *os.File) {
	t.Helper()
	c, stdin, guest, err := openConsole(log, limit)
	if err != nil {
		t.Fatal(err)
	}
	go c.read()
	t.Cleanup(func() {
		guest.Close()
		<-c.done
		stdin.Close()
		c.close()
	})
	return c, guest
}

func feed(t *testing.T, w *os.File, s string) {
	t.Helper()
	if _, err := w.WriteString(s); err != nil {
		t.Fatal(err)
	}
}

// finish ends the guest and waits until all has been read.
func finish(c *Console, guest *os.File) {
	guest.Close()
	<-c.done
}

// TestPatternsOnRealConsoles feeds consoles recorded from real guests (QEMU 7.2, SeaBIOS 1.16, OVMF 2022.11, Debian
// 12), some cut to their end. Of kernel-no-init, initramfs-fsck, dracut-shell and grub-rescue the messages were put
// together from the programs' sources; quoted was made up.
func TestPatternsOnRealConsoles(t *testing.T) {
	for file, want := range map[string]struct {
		pattern, cause string
		notes          []string // causes that must be among the notes
	}{
		"seabios-no-disk":          {"no bootable device", "the BIOS found nothing to boot", []string{"BIOS: could not read the boot disk"}},
		"seabios-junk":             {"no bootable device", "the BIOS found nothing to boot", []string{"BIOS: not a bootable disk"}},
		"ovmf-shell":               {"uefi shell", "the firmware found nothing to boot and stopped at the UEFI shell", nil},
		"ovmf-secure-no-disk":      {"no bootable device", "the firmware found nothing to boot", nil},
		"ovmf-secure-unsigned":     {"no bootable device", "the firmware found nothing to boot", []string{`UEFI could not boot "UEFI Misc Device": Access Denied`}},
		"ovmf-second-option-boots": {"", "", []string{`UEFI could not boot "UEFI Misc Device": Not Found`}},
		"kernel-no-root":           {"kernel panic", "the guest's kernel panicked: VFS: Unable to mount root fs on unknown-block(0,0)", []string{`Cannot open root device "nothing" or unknown-block(0,0): error -6`}},
		"kernel-no-init":           {"kernel panic", "the guest's kernel panicked: No working init found.  Try passing init= option to kernel. See Linux Documentation/admin-guide/init.rst for guidance.", nil},
		"kernel-init-died":         {"kernel panic", "the guest's kernel panicked: Attempted to kill init! exitcode=0x00000100", nil},
		"initramfs-wrong-root":     {"root device missing", "the initramfs did not find the root device: UUID=00000000-dead-4bad-8bad-000000000000 does not exist.", nil},
		"initramfs-fsck":           {"file system check", "the root file system is damaged and was not mounted", nil},
		"dracut-shell":             {"dracut shell", "the boot stopped at the dracut emergency shell", []string{"/dev/disk/by-uuid/dead does not exist"}},
		"systemd-emergency":        {"emergency mode", "the guest came up in emergency mode", nil},
		"systemd-mount-failed":     {"emergency mode", "the guest came up in emergency mode", []string{"timed out waiting for the device /dev/disk/by-uuid/dead-beef", "dependency failed for /data"}},
		"grub-rescue":              {"grub rescue", "GRUB stopped at its rescue prompt", []string{"GRUB: error: unknown filesystem"}},
		"grub-prompt":              {"grub prompt", "GRUB stopped at its prompt", nil},
		"grub-prompt-uefi":         {"grub prompt", "GRUB stopped at its prompt", nil},
		"grub-no-device":           {"grub prompt", "GRUB stopped at its prompt", []string{"GRUB: error: no such device: 183a0778-af43-8a0d-bd67-e839c2cc1ff5"}},
		"grub-secure":              {"secure boot", "Secure Boot refused what GRUB wanted to load: bad shim signature", nil},
		"shim-violation":           {"secure boot", "Secure Boot refused the boot loader", nil},
		"debian-boots":             {"", "", nil},
		"oom-kill":                 {"", "", []string{"out of memory: the kernel killed tail"}},
		"quoted":                   {"", "", nil},
	} {
		t.Run(file, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join("testdata", "console", file+".txt"))
			if err != nil {
				t.Fatal(err)
			}
			c, guest := testConsole(t, nil, 0)
			feed(t, guest, string(data))
			finish(c, guest)
			var notes []string
			for _, n := range c.Notes() {
				notes = append(notes, n.Cause)
			}
			f := c.Finding()
			switch {
			case want.pattern == "":
				if f != nil {
					t.Errorf("found %+v in a console that shows no failure", f)
				}
			case f == nil:
				t.Fatalf("found nothing; notes %q, lines %q", notes, c.Tail(10))
			default:
				if f.Name != want.pattern || f.Cause != want.cause || f.Hint == "" {
					t.Errorf("found %+v, want %+v", f, want)
				}
			}
			for _, n := range want.notes {
				if !slices.Contains(notes, n) {
					t.Errorf("notes %q lack %q", notes, n)
				}
			}
		})
	}
}

func TestPanicBehindPrompt(t *testing.T) {
	c, guest := testConsole(t, nil, 0)
	feed(t, guest, "localhost login: [   99.100000] Kernel panic - not syncing: sysrq triggered crash\n")
	finish(c, guest)
	if f := c.Finding(); f == nil || f.Cause != "the guest's kernel panicked: sysrq triggered crash" {
		t.Errorf("found %+v", f)
	}
}

func TestTerminal(t *testing.T) {
	for _, test := range []struct {
		name, in string
		want     []string // "~" before an overwritten line
		partial  string
	}{
		{"lines", "one\r\ntwo\r\r\nthree", []string{"one", "two"}, "three"},
		{"colours", "\x1b[0;1;31mred\x1b[0m text\n", []string{"red text"}, ""},
		{"firmware's cursor", "\x1b[2J\x1b[01;01Hfirst\x1b[05;01Hsecond\x1bc", []string{"", "first", "second"}, ""},
		{"cursor moved within a line", "\nerr\x1b[02;05H\x1b[02;06Hor\x1b[02;01Hagain\x1b[Hx", []string{"", "~error", "again"}, "x"},
		{"progress", "10%\r20%\r\x1b[K30%\n", []string{"~10%", "~20%", "30%"}, ""},
		{"title and string", "\x1b]0;title\x07a\x1bP;data\x1b\\b\n", []string{"ab"}, ""},
		{"open string ends with the line", "\x1b]0;never closed\nnext\n", []string{"", "next"}, ""},
		{"backspace", "abx\bc\n", []string{"abc"}, ""},
		{"controls and bad UTF-8", "a\x00b\x01\xff\xc2\x9b31mc\u0085\x7f\n", []string{"ab31mc"}, ""},
		{"character set", "\x1b(Bplain\n", []string{"plain"}, ""},
		{"long", strings.Repeat("x", maxConsoleLine+1) + "\n", []string{strings.Repeat("x", maxConsoleLine), "x"}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			// In one piece and byte by byte.
			for _, step := range []int{len(test.in), 1} {
				var got []string
				term := terminal{line: func(s string, over bool) {
					if over {
						s = "~" + s
					}
					got = append(got, s)
				}}
				for rest := test.in; rest != ""; rest = rest[min(step, len(rest)):] {
					term.Write([]byte(rest[:min(step, len(rest))]))
				}
				if !slices.Equal(got, test.want) || term.partial() != test.partial {
					t.Errorf("step %d: %q and %q, want %q and %q", step, got, term.partial(), test.want, test.partial)
				}
			}
		})
	}
}

func FuzzTerminal(f *testing.F) {
	f.Add([]byte("\x1b[2J\x1b[01;01HBdsDxe: loading\r\n"))
	f.Add([]byte("\x1b]0;x\x1b\x1b\\\x1b[\x1b[31m\b\b"))
	f.Fuzz(func(t *testing.T, data []byte) {
		check := func(s string) {
			if len(s) > maxConsoleLine {
				t.Errorf("a line of %d bytes", len(s))
			}
			if i := strings.IndexFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r >= 0x7f && r < 0xa0 }); i >= 0 {
				t.Errorf("control character in %q", s)
			}
		}
		term := terminal{line: func(s string, _ bool) { check(s) }}
		term.Write(data)
		check(term.partial())
	})
}

func TestConsoleIsBounded(t *testing.T) {
	log := new(syncBuffer)
	c, guest := testConsole(t, log, 1000)
	line := strings.Repeat("flood ", 10) + "\n"
	for range 5000 {
		feed(t, guest, line)
	}
	feed(t, guest, "the end\n")
	finish(c, guest)
	got := log.String()
	if !strings.HasPrefix(got, line) || !strings.Contains(got, "the console log ends here") || len(got) > 1200 {
		t.Errorf("log of %d bytes ends with %q", len(got), got[max(0, len(got)-100):])
	}
	tail := c.Tail(1 << 20)
	if len(tail) > 2*keptLines || tail[len(tail)-1] != "the end" {
		t.Errorf("%d lines, last %q", len(tail), tail[len(tail)-1])
	}
	if got := c.Tail(2); len(got) != 2 || c.Tail(-1) == nil && len(c.Tail(0)) != 0 {
		t.Errorf("Tail(2) = %q", got)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestConsoleLogFails(t *testing.T) {
	c, guest := testConsole(t, brokenWriter{}, 0)
	feed(t, guest, "one\ntwo\n")
	finish(c, guest)
	if c.logErr == nil || len(c.Tail(10)) != 2 {
		t.Errorf("error %v, lines %q", c.logErr, c.Tail(10))
	}
}

func TestExpect(t *testing.T) {
	c, guest := testConsole(t, nil, 0)
	login := regexp.MustCompile(`login:( |$)`)
	feed(t, guest, "debian login: ") // a prompt: no newline ever comes
	if line, err := c.Expect(t.Context(), login); err != nil || line != "debian login:" {
		t.Errorf("%q, %v", line, err)
	}
	feed(t, guest, "\nrestarting\n")
	if _, err := c.Expect(t.Context(), regexp.MustCompile("restarting")); err != nil {
		t.Fatal(err)
	}
	c.restarted()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if line, err := c.Expect(ctx, login); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("found %q of the boot before, %v", line, err)
	}
	result := make(chan error)
	go func() {
		_, err := c.Expect(t.Context(), login)
		result <- err
	}()
	time.Sleep(20 * time.Millisecond)
	feed(t, guest, "debian login: ")
	if err := <-result; err != nil {
		t.Error(err)
	}
	c.restarted()
	feed(t, guest, "\ndebian login: [   62.370466] powernow_k8: Power state transitions not supported\n") // no silence after the prompt
	if _, err := c.Expect(t.Context(), login); err != nil {
		t.Error(err)
	}
	go func() {
		_, err := c.Expect(t.Context(), regexp.MustCompile("never"))
		result <- err
	}()
	time.Sleep(20 * time.Millisecond)
	finish(c, guest)
	if err := <-result; !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}

// A prompt without a newline is found when the console falls silent, and only once.
func TestPromptIsFatal(t *testing.T) {
	c, guest := testConsole(t, nil, 0)
	feed(t, guest, "error: no such device: 9045-A1DF.\r\nEntering rescue mode...\r\ngrub rescue> ")
	select {
	case <-c.Failed():
	case <-time.After(10 * time.Second):
		t.Fatalf("not found; lines %q", c.Tail(5))
	}
	if f := c.Finding(); f.Name != "grub rescue" || f.Line != "grub rescue>" {
		t.Errorf("%+v", f)
	}
	feed(t, guest, "\r\n(initramfs) ")
	time.Sleep(2 * quiet)
	if f := c.Finding(); f.Name != "grub rescue" {
		t.Errorf("a later failure took the place of the first: %+v", f)
	}
}
