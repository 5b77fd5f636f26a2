package disk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/disk/image"
)

func openRaw(t testing.TB, path string) *image.File {
	t.Helper()
	f, err := image.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// allOutputs is one file of every format, with names that programs could take for something else.
func allOutputs(dir string) []Output {
	var outputs []Output
	for _, f := range Formats() {
		outputs = append(outputs, Output{Path: filepath.Join(dir, `json:{}, "web:1"`+f.Extension()), Format: f})
	}
	return outputs
}

// TestWrite writes every format at once, from a source that is read once, and has qemu-img compare and this package read what was written.
// The same disk with other holes, by another number of workers, gives the same files.
func TestWrite(t *testing.T) {
	need(t, qemuImg)
	path := sampleDisk(t, 9<<20+512)
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	raw, dir := openRaw(t, path), t.TempDir()
	outputs := allOutputs(dir)
	for _, o := range outputs { // is replaced
		if err := os.WriteFile(o.Path, []byte("old"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var last, all int64
	counted := &countedSource{Source: raw}
	if err := Write(t.Context(), counted, WriteOptions{Progress: func(done, total int64) { last, all = done, total }}, outputs...); err != nil {
		t.Fatal(err)
	}
	if last != all || all == 0 {
		t.Errorf("progress ended at %d of %d", last, all)
	}
	if read := counted.read.Load(); read > all+4*image.PieceSize {
		t.Errorf("%d bytes were read of a source that holds %d", read, all)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != len(outputs) {
		t.Errorf("files left: %v", entries)
	}
	full := writeFile(t, "full.raw", want)
	again := allOutputs(t.TempDir())
	if err := Write(t.Context(), openRaw(t, full), WriteOptions{Workers: 3}, again...); err != nil {
		t.Fatal(err)
	}
	for i, o := range outputs {
		t.Run(string(o.Format), func(t *testing.T) {
			if driver, ok := Driver(o.Format); ok {
				img := Image{Path: o.Path, Format: o.Format}
				if err := Compare(t.Context(), Image{Path: path, Format: Raw}, img); err != nil {
					t.Error(err)
				}
				if driver == "qcow2" || driver == "vmdk" {
					if err := Check(t.Context(), img); err != nil {
						t.Error(err)
					}
				}
			}
			a, err := os.ReadFile(o.Path)
			if err != nil {
				t.Fatal(err)
			}
			if b, err := os.ReadFile(again[i].Path); err != nil || !bytes.Equal(a, b) {
				t.Errorf("the same disk gives another file: %v", err)
			}
			if allocated, err := Allocated(o.Path); err != nil || allocated > 5<<20 {
				t.Errorf("takes up %d bytes: holes were filled", allocated)
			}
			d, err := Open(t.Context(), o.Path, OpenOptions{TempDir: dir})
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			if got := readBack(t, d); !bytes.Equal(got, want) {
				t.Errorf("content changed: %d bytes", len(got))
			}
		})
	}
}

// TestWriteFails wants no file under its name, and nothing else, whatever goes wrong.
// TestVerify looks at complete files before they have names, so that a program that is killed then leaves nothing. What it says is wrong keeps them away.
func TestVerify(t *testing.T) {
	raw, dir := openRaw(t, sampleDisk(t, 9<<20+512)), t.TempDir()
	wrong := errors.New("wrong")
	for _, end := range []error{wrong, nil} {
		seen := 0
		look := func(file string) error {
			if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
				t.Errorf("%v has a name already (%v)", entries, err)
			}
			d, err := Open(t.Context(), file, OpenOptions{})
			if err != nil {
				t.Error(err)
				return nil
			}
			defer d.Close()
			if d.Size() != raw.Size() || d.Info.Format != VMDK {
				t.Errorf("%d bytes of %s", d.Size(), d.Info.Format)
			}
			seen++
			return end
		}
		if err := Write(t.Context(), raw, WriteOptions{}, Output{Path: filepath.Join(dir, "a.vmdk"), Format: VMDK, Verify: look}); !errors.Is(err, end) || seen != 1 {
			t.Errorf("%v, looked at %d times", err, seen)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "a.vmdk")); err != nil {
		t.Error(err)
	}
}

func TestWriteFails(t *testing.T) {
	need(t, qemuImg)
	path := sampleDisk(t, 9<<20)
	stopped, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("stopped by the test"))
	for _, test := range []struct {
		name   string
		ctx    context.Context
		src    func(t *testing.T) image.Source
		change func(dir string, o []Output) []Output
		want   string
	}{
		{name: "cancelled", ctx: stopped, want: "stopped by the test"},
		{name: "source fails", src: func(t *testing.T) image.Source { return &brokenSource{openRaw(t, path)} }, want: "bad sector"},
		{name: "source truncated", want: "was changed while it was read", src: func(t *testing.T) image.Source {
			copied := writeFile(t, "short.raw", bytes.Repeat([]byte{1}, 9<<20))
			raw := openRaw(t, copied)
			if err := os.Truncate(copied, 5<<20); err != nil {
				t.Fatal(err)
			}
			return raw
		}},
		{name: "source changed", want: "was changed while it was read", src: func(t *testing.T) image.Source {
			copied := writeFile(t, "changed.raw", bytes.Repeat([]byte{1}, 9<<20))
			raw := openRaw(t, copied)
			f, err := os.OpenFile(copied, os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.Write([]byte("more")); err != nil {
				t.Fatal(err)
			}
			return raw
		}},
		{name: "one has no folder", want: "no such file", change: func(dir string, o []Output) []Output {
			return append(o, Output{Path: filepath.Join(dir, "no", "x.raw"), Format: Raw})
		}},
		{name: "one has a wrong option", want: "raw has no option align: it has none", change: func(dir string, o []Output) []Output {
			return append(o, Output{Path: filepath.Join(dir, "x.raw"), Format: Raw, Options: Options{Align: 1 << 20}})
		}},
		{name: "one has a wrong value", want: "adapter", change: func(dir string, o []Output) []Output {
			return append(o, Output{Path: filepath.Join(dir, "x.vmdk"), Format: VMDK, Options: Options{AdapterType: "floppy"}})
		}},
		{name: "a format that is not written", want: "cannot be written", change: func(dir string, o []Output) []Output {
			return append(o, Output{Path: filepath.Join(dir, "x.vdi"), Format: VDI})
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			outputs := allOutputs(dir)
			if test.change != nil {
				outputs = test.change(dir, outputs)
			}
			ctx, src := test.ctx, image.Source(openRaw(t, path))
			if ctx == nil {
				ctx = t.Context()
			}
			if test.src != nil {
				src = test.src(t)
			}
			err := Write(ctx, src, WriteOptions{}, outputs...)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
			if left, _ := os.ReadDir(dir); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// TestOptions sets options as users write them.
func TestOptions(t *testing.T) {
	for _, test := range []struct{ key, value, want string }{
		{"level", "best", ""}, {"level", "9", "must be fast, default or best"},
		{"align", "1MiB", ""}, {"align", "1", "must be 1MiB"}, {"align", "-1MiB", "must be 1MiB"},
		{"hardwareVersion", "19", ""}, {"hardwareVersion", "x", "must be a number from 4 to 99"},
		{"firmware", "efi", ""}, {"firmware", "uefi", "must be bios or efi"},
		{"secureBoot", "true", ""}, {"secureBoot", "maybe", "must be true or false"},
		{"memory", "4096", ""}, {"cpus", "0", "must be a number"},
		{"colour", "red", "no such option: the options are level, "},
	} {
		var o Options
		err := o.Set(test.key, test.value)
		if got := fmt.Sprint(err); (err == nil) != (test.want == "") || !strings.Contains(got, test.want) {
			t.Errorf("%s=%s: %v, want %q", test.key, test.value, err, test.want)
		}
		if err == nil && o == (Options{}) {
			t.Errorf("%s=%s sets nothing", test.key, test.value)
		}
	}
	for _, f := range Formats() { // every key of a format is taken for it, and no other
		var all Options
		for _, key := range OptionKeys(f) {
			for _, value := range []string{"best", "1MiB", "20", "efi", "true", "lsilogic", "e1000", "debian12", "128"} {
				one := Options{}
				if one.Set(key, value) == nil && (one.Check(f) == nil || key == "secureBoot") && all.Set(key, value) == nil {
					break
				}
			}
		}
		if err := all.Check(f); err != nil {
			t.Error(err)
		}
		var back Options
		if text, err := json.Marshal(all); err != nil || json.Unmarshal(text, &back) != nil || back != all {
			t.Errorf("%s: %+v comes back from JSON as %+v, %v", f, all, back, json.Unmarshal(text, &back))
		}
		if f != VHD && f != VHDFixed {
			all.Align = 1 << 20
			if err := all.Check(f); err == nil || !strings.Contains(err.Error(), "align") {
				t.Errorf("%s: %v", f, err)
			}
		}
	}
}

// TestCheckIsWhatWritersTake wants options and sizes that Check and VirtualSize take to be written, and others not to be begun.
func TestCheckIsWhatWritersTake(t *testing.T) {
	for _, test := range []struct {
		format  Format
		options Options
		size    int64
		want    string
		written int64
	}{
		{VagrantVirtualBox, Options{HardwareVersion: 9}, 1 << 20, "controller sata needs hardware version 10", 0},
		{VagrantVirtualBox, Options{HardwareVersion: 10}, 1 << 20, "", 1 << 20},
		{OVA, Options{HardwareVersion: 9}, 1 << 20, "", 1 << 20},
		{VHD, Options{}, 2040 << 30, "", 2040 << 30},
		{VHD, Options{}, 2040<<30 + 512, "at most 2040 GiB", 0},
		{VHDFixed, Options{Align: 1 << 20}, 1<<20 + 512, "", 2 << 20},
		{VMDK, Options{}, 63 << 40, "62 TiB", 0},
		{OVA, Options{}, 63 << 40, "62 TiB", 0},
		{VagrantVirtualBox, Options{}, 1000, "whole sectors", 0},
		{Qcow2, Options{}, 1000, "whole sectors", 0},
		{VHDX, Options{}, 65 << 40, "64 TiB", 0},
		{Raw, Options{}, 1000, "", 1000},
	} {
		written, err := test.options.VirtualSize(test.format, test.size)
		if err == nil {
			err = test.options.Check(test.format)
		}
		if test.want == "" && (err != nil || written != test.written) || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s of %d bytes, %+v: %d, %v, want %d, %q", test.format, test.size, test.options, written, err, test.written, test.want)
		}
	}
}
