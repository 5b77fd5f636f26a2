package lvm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// unpack reads an image of testdata. They were made by LVM2 2.03.16 on Linux 6.1 (testdata/README).
func unpack(t *testing.T, name string) memory {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestReal compares with what the kernel's device mapper gave: sha256sum /dev/vg0/NAME.
func TestReal(t *testing.T) {
	volumes, err := Volumes(context.Background(), unpack(t, "pv.img.zst"))
	if err != nil {
		t.Fatal(err)
	}
	want := []struct {
		name, uuid string
		size       int64
		sum        string
		reason     string
	}{
		{"root", "ISTSU8-K5zr-EuXv-p7fj-9WRc-3TXU-JX63ls", 3 << 20, "9be4bd0192c3bc42f5b4d4ae58a8ace01ddd699f4f6242a43e19fd6d18dd49f5", ""},
		{"pad", "4I0V0P-CloT-Rp2a-k1yc-4KIk-VsoT-AToZuA", 1 << 20, "317ea95f70f54fa969f110703379bd7a138dee38feedd6e0de7a9a4e5e0a0f1a", ""},
		{"striped", "8GCWUX-8RY7-8jwf-7T3t-mOA1-xIdj-WGaUCC", 2 << 20, "52f5bf1445d2c64ee16e2aaa3f6b570ed684a2762f58546b396d77b3872192d7", ""},
		{"my-data", "Cld3vK-lJEn-qCsd-OKrv-MceI-2fZh-5RtP6N", 2 << 20, "dfae980756f6ba6279fa984bea7ece3c3c27c09c58d0e2d3e7e7f0301d93fb3e", ""},
		{"pool", "fyIh1u-wCao-Ja4A-0BIH-pZUi-ZcAz-hvj50R", 2 << 20, "", `segments of the type "thin-pool" are not read`},
		{"thin1", "JrGI7j-duDC-Rxid-G0y4-I19y-CoFu-Q4ybXp", 4 << 20, "", `segments of the type "thin" are not read`},
		{"r1", "Di5Lvo-vj7A-iARj-ixYE-d1JK-20Rj-xVDMPy", 1 << 20, "", `segments of the type "raid1" are not read`},
		{"m1", "j3oR8e-gGSb-OmbY-A3O2-rf6p-8v1u-uhsTF3", 1 << 20, "", `segments of the type "mirror" are not read`},
		{"snap", "LClHaX-Np40-EZuG-c3FW-G0fY-8RNN-SBHMQT", 2 << 20, "", "it is a snapshot of my-data"},
	}
	if len(volumes) != len(want) {
		t.Fatalf("%d volumes: %+v", len(volumes), volumes)
	}
	for i, w := range want {
		v := volumes[i]
		if v.Group != "vg0" || v.Name != w.name || v.UUID != w.uuid || v.Size != w.size || v.Reason != w.reason {
			t.Errorf("%+v, want %+v", v, w)
		}
		if w.sum == "" {
			continue
		}
		if v.Source == nil {
			t.Errorf("%s cannot be read", v.Name)
			continue
		}
		data, err := readAll(v.Source)
		if sum := sha256.Sum256(data); err != nil || hex.EncodeToString(sum[:]) != w.sum {
			t.Errorf("%s is not what the kernel had, %v", v.Name, err)
		}
		check(t, v, data)
	}
	if data, _ := readAll(volumes[3].Source); !bytes.Contains(data, []byte("hello-from-lvm")) {
		t.Error("the file system on my-data is not there")
	}
}

func TestFirstOfTwo(t *testing.T) {
	volumes, err := Volumes(context.Background(), unpack(t, "first-of-two.img.zst"))
	if err != nil || len(volumes) != 3 {
		t.Fatal(volumes, err)
	}
	for _, v := range volumes {
		if here := v.Name == "here"; here != (v.Source != nil) || !here && !strings.Contains(v.Reason, "a part of it lies on another physical volume (pv1, UUID "+v.Missing+")") {
			t.Errorf("%+v", v)
		}
	}
}
