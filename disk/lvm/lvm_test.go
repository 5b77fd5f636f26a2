package lvm

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/disk/image"
)

const extent = 64 << 10

func TestLinear(t *testing.T) {
	text := groupText(volumeText("root", linear(0, 3, "pv0", 4), linear(3, 2, "pv0", 0)) + volumeText("home-1", linear(0, 1, "pv0", 8)))
	for _, at := range []int{headerSize, 1024, testMetadata - 700} { // the last one goes round the end of the area
		m := craft(4<<20, text, at)
		volumes, err := Volumes(context.Background(), m)
		if err != nil {
			t.Fatal(err)
		}
		if len(volumes) != 2 || volumes[0].Name != "root" || volumes[0].Group != "vg0" || volumes[0].UUID != testUUID || volumes[1].Name != "home-1" {
			t.Fatalf("%+v", volumes)
		}
		want := append(bytes.Clone(m[testStart+4*extent:testStart+7*extent]), m[testStart:testStart+2*extent]...)
		check(t, volumes[0], want)
		check(t, volumes[1], m[testStart+8*extent:testStart+9*extent])
	}
}

// check compares a volume with what it must hold, and what its extents cover with all that is not zero.
func check(t *testing.T, v Volume, want []byte) {
	t.Helper()
	if v.Source == nil {
		t.Fatalf("%s: %s", v.Name, v.Reason)
	}
	got, err := readAll(v.Source)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%s: %d bytes, want %d, equal %v, %v", v.Name, len(got), len(want), bytes.Equal(got, want), err)
	}
	if v.Size != int64(len(want)) || v.Source.Size() != v.Size {
		t.Errorf("%s: size %d, %d", v.Name, v.Size, v.Source.Size())
	}
	// Across all borders.
	for off := int64(0); off < v.Size; off += 5000 {
		b := make([]byte, 70000)
		n, err := v.Source.ReadAt(b, off)
		if !bytes.Equal(b[:n], want[off:off+int64(n)]) || n < len(b) && (err != io.EOF || off+int64(n) != v.Size) {
			t.Fatalf("%s: read at %d: %d, %v", v.Name, off, n, err)
		}
	}
	covered := make([]byte, len(want))
	last := int64(-1)
	err = v.Source.Extents(context.Background(), func(e image.Extent) error {
		if e.Start <= last || e.Size <= 0 || e.End() > v.Size {
			t.Fatalf("%s: extent %+v after %d", v.Name, e, last)
		}
		last = e.End()
		copy(covered[e.Start:e.End()], want[e.Start:e.End()])
		return nil
	})
	if err != nil || !bytes.Equal(covered, want) {
		t.Errorf("%s: its extents do not cover all of it, %v", v.Name, err)
	}
}

func TestStriped(t *testing.T) {
	text := groupText(volumeText("fast", "start_extent = 0\nextent_count = 6\ntype = \"striped\"\nstripe_count = 3\nstripe_size = 8\nstripes = [\n\"pv0\", 9,\n\"pv0\", 0,\n\"pv0\", 5\n]", linear(6, 1, "pv0", 2)))
	m := craft(4<<20, text, 512)
	volumes, err := Volumes(context.Background(), m)
	if err != nil {
		t.Fatal(err)
	}
	var want []byte
	for row := 0; row < 2*extent; row += 4096 {
		for _, e := range []int{9, 0, 5} {
			at := testStart + e*extent + row
			want = append(want, m[at:at+4096]...)
		}
	}
	check(t, volumes[0], append(want, m[testStart+2*extent:testStart+3*extent]...))
}

func TestExtentsOfHoles(t *testing.T) {
	text := groupText(volumeText("a", linear(0, 10, "pv0", 10), linear(10, 10, "pv0", 0)))
	m := craft(4<<20, text, 512)
	clear(m[testStart:])
	m[testStart+12*extent+5], m[testStart+13*extent], m[testStart+3*extent] = 1, 1, 1
	volumes, err := Volumes(context.Background(), m)
	if err != nil {
		t.Fatal(err)
	}
	var got []image.Extent
	volumes[0].Source.Extents(context.Background(), func(e image.Extent) error { got = append(got, e); return nil })
	if len(got) != 2 || got[0] != (image.Extent{Start: 2 * extent, Size: 2 * extent}) || got[1] != (image.Extent{Start: 13 * extent, Size: extent}) {
		t.Errorf("%v", got)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(io.ErrClosedPipe)
	if err := volumes[0].Source.Extents(ctx, func(image.Extent) error { return nil }); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestReasons(t *testing.T) {
	snapshot := strings.ReplaceAll(volumeText("snap", linear(0, 1, "pv0", 0)), `, "VISIBLE"`, "") +
		volumeText("snapshot0", "start_extent = 0\nextent_count = 1\ntype = \"snapshot\"\norigin = \"root\"\ncow_store = \"snap\"") + volumeText("root", linear(0, 1, "pv0", 1))
	merging := volumeText("root", linear(0, 1, "pv0", 1)) + strings.ReplaceAll(volumeText("snap", linear(0, 1, "pv0", 0))+
		volumeText("snapshot0", "start_extent = 0\nextent_count = 1\ntype = \"snapshot\"\norigin = \"root\"\nmerging_store = \"snap\""), `, "VISIBLE"`, "")
	tests := []struct{ name, text, want string }{
		{"thin", volumeText("v", "start_extent = 0\nextent_count = 1\ntype = \"thin\"\nthin_pool = \"pool\""), `segments of the type "thin" are not read`},
		{"raid1", volumeText("v", linear(0, 1, "pv0", 0), "start_extent = 1\nextent_count = 1\ntype = \"raid1\""), `segment 2: segments of the type "raid1" are not read`},
		{"another physical volume", volumeText("v", linear(0, 1, "pv1", 0)), "a part of it lies on another physical volume (pv1, UUID " + otherUUID + ")"},
		{"no physical volume", volumeText("v", linear(0, 1, "pv7", 0)), "there is no physical volume"},
		{"another volume", volumeText("v", linear(0, 1, "w", 0)) + volumeText("w", linear(0, 1, "pv0", 0)), "it lies on another logical volume (w)"},
		{"snapshot", snapshot, "it is a snapshot of root"},
		{"merging", merging, "the snapshot snap is being merged into it"},
		{"beyond the end", volumeText("v", linear(0, 1, "pv0", 48)), "beyond the end"},
		{"negative", volumeText("v", linear(0, 1, "pv0", -1)), "beyond the end"},
		{"overflow", volumeText("v", linear(0, 1, "pv0", 1<<62)), "beyond the end"},
		{"huge", volumeText("v", linear(0, 1<<60, "pv0", 0)), "segment 1 is 1152921504606846976 extents"},
		{"gap", volumeText("v", linear(0, 1, "pv0", 0), linear(2, 1, "pv0", 1)), "segment 2 is 1 extents from extent 2 on, after 1"},
		{"no segments", volumeText("v"), "it has 0 segments"},
		{"stripes", volumeText("v", "start_extent = 0\nextent_count = 1\ntype = \"striped\"\nstripe_count = 2\nstripe_size = 8\nstripes = [\"pv0\", 0, \"pv0\", 1]"), "1 extents on 2 stripes"},
		{"stripe size", volumeText("v", "start_extent = 0\nextent_count = 2\ntype = \"striped\"\nstripe_count = 2\nstripe_size = 7\nstripes = [\"pv0\", 0, \"pv0\", 1]"), "stripes of 7 sectors"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			volumes, err := Volumes(context.Background(), craft(4<<20, groupText(test.text), 512))
			if err != nil {
				t.Fatal(err)
			}
			if v := volumes[0]; v.Source != nil || !strings.Contains(v.Reason, test.want) {
				t.Errorf("source %v, reason %q", v.Source, v.Reason)
			}
			for _, v := range volumes {
				if v.Name == "snapshot0" || (v.Source == nil) == (v.Reason == "") {
					t.Errorf("%+v", v)
				}
			}
		})
	}
}

func TestDamaged(t *testing.T) {
	text := groupText(volumeText("root", linear(0, 3, "pv0", 4)))
	tests := []struct {
		name string
		make func() memory
		want string
	}{
		{"nothing", func() memory { return make(memory, 1<<20) }, "no label"},
		{"empty", func() memory { return nil }, "no label"},
		{"label's checksum", func() memory { m := craft(4<<20, text, 512); m[sector+80]++; return m }, "the label in sector 1: its checksum is wrong"},
		{"header's checksum", func() memory { m := craft(4<<20, text, 512); m[4096+100]++; return m }, "the checksum of its header is wrong"},
		{"text's checksum", func() memory { m := craft(4<<20, text, 512); m[4096+1000]++; return m }, "the checksum of its text is wrong"},
		{"cut off", func() memory { return craft(4<<20, text, 512)[:8192] }, "reaches beyond the end"},
		{"another volume", func() memory {
			return craft(4<<20, strings.ReplaceAll(text, testUUID, "aaaaaa-6789-abcd-efgh-ijkl-mnop-qrstuv"), 512)
		}, "has no physical volume 012345"},
		{"no group", func() memory { return craft(4<<20, "contents = \"Text Format Volume Group\"\nversion = 1\n", 512) }, "there is no volume group"},
		{"something else", func() memory { return craft(4<<20, "contents = 3", 512) }, "the contents are"},
		{"deep", func() memory { return craft(4<<20, strings.Repeat("a {", 1000), 512) }, "nested more than 16 deep"},
		{"unended", func() memory { return craft(4<<20, "a {\nb = \"x", 512) }, "line 2: a string does not end"},
		{"extents of nothing", func() memory {
			return craft(4<<20, strings.Replace(text, "extent_size = 128", "extent_size = 0", 1), 512)
		}, "extents of 0 sectors"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := test.make()
			_, err := Volumes(context.Background(), m)
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v, want %q", err, test.want)
			}
			if errors.Is(err, ErrNoLabel) != (test.want == "no label") || Probe(m) && errors.Is(err, ErrNoLabel) {
				t.Errorf("%v: ErrNoLabel %v", err, errors.Is(err, ErrNoLabel))
			}
		})
	}
	if volumes, err := Volumes(context.Background(), craft(4<<20, "", 512)); err != nil || len(volumes) != 0 {
		t.Errorf("a physical volume of no group: %v, %v", volumes, err)
	}
}

// TestHuge has a volume of 2 TiB on a disk that holds next to nothing.
func TestHuge(t *testing.T) {
	text := strings.ReplaceAll(groupText(volumeText("v", linear(0, 1<<25-100, "pv0", 0))), "pe_count = 100", "pe_count = 33554432")
	src := sparse{craft(2<<20, text, 512), 2 << 40}
	volumes, err := Volumes(context.Background(), src)
	if err != nil || volumes[0].Source == nil {
		t.Fatal(volumes, err)
	}
	n := 0
	if err := volumes[0].Source.Extents(context.Background(), func(image.Extent) error { n++; return nil }); err != nil || n != 1 {
		t.Errorf("%d extents, %v", n, err)
	}
}

// sparse is a disk with zeros behind its beginning.
type sparse struct {
	memory
	size int64
}

func (s sparse) Size() int64 { return s.size }

func (s sparse) ReadAt(b []byte, off int64) (int, error) {
	n := 0
	if off < int64(len(s.memory)) {
		n = copy(b, s.memory[off:])
	}
	clear(b[n:])
	return len(b), nil
}

func FuzzText(f *testing.F) {
	f.Add([]byte(groupText(volumeText("root", linear(0, 3, "pv0", 4), linear(3, 2, "pv0", 0)))))
	f.Add([]byte(groupText(volumeText("v", "start_extent = 0\nextent_count = 6\ntype = \"striped\"\nstripe_count = 3\nstripe_size = 8\nstripes = [\"pv0\", 9, \"pv0\", 0, \"pv0\", 5]"))))
	f.Add([]byte("a { b = [1, 'x', 2.5] # c\n}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > testMetadata-headerSize {
			return
		}
		useAll(t, craft(testStart+4*extent, string(text), 512))
	})
}

func FuzzHeaders(f *testing.F) {
	m := craft(testStart+4*extent, groupText(volumeText("root", linear(0, 3, "pv0", 0))), 512)
	f.Add([]byte(m[sector:2*sector]), []byte(m[4096:4096+headerSize]))
	f.Fuzz(func(t *testing.T, label, header []byte) {
		m := craft(testStart+4*extent, groupText(volumeText("root", linear(0, 3, "pv0", 0))), 512)
		copy(m[sector:2*sector], label)
		copy(m[4096:4096+headerSize], header)
		fix(m)
		useAll(t, m)
	})
}
