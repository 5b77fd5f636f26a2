package ova

import (
	"archive/tar"
	"bytes"
	"strings"
	"testing"
)

func archiveOf(t *testing.T, files ...string) *bytes.Reader {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		if err := w.WriteHeader(&tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1])), Format: tar.FormatUSTAR}); err != nil {
			t.Fatal(err)
		}
		w.Write([]byte(files[i+1]))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return bytes.NewReader(b.Bytes())
}

// What Open refuses is told by Look, as far as it can be read.
func TestLook(t *testing.T) {
	const two = `<Envelope><References><File id="a" href="a.vmdk" chunkSize="1000"/><File id="b" href="b.vmdk" compression="gzip"/></References>
<DiskSection><Disk diskId="1" fileRef="a" capacity="1" capacityAllocationUnits="byte * 2^30" format="x#streamOptimized"/><Disk diskId="2" fileRef="b" capacity="2"/>
<Disk diskId="3" capacity="5"/></DiskSection><VirtualSystem/></Envelope>`
	r := archiveOf(t, "a.vmdk.000000000", "KDMV", "m.ovf", two, "m.mf", "SHA256(m.ovf)= 00\n")
	s, err := Look(r, r.Size())
	if err != nil {
		t.Fatal(err)
	}
	if s.DescriptorFirst() || len(s.Members) != 3 || len(s.Disks) != 2 || s.Disks[0].Name != "a.vmdk" || s.Disks[0].Capacity != 1<<30 || s.Disks[1].Capacity != 2 {
		t.Errorf("%+v", s)
	}
	if len(s.Files) != 2 || !s.Files[0].Chunked || s.Files[1].Chunked || s.Files[1].Compression != "gzip" {
		t.Errorf("%+v", s.Files)
	}
	if err := s.Verify(t.Context()); err == nil || !strings.Contains(err.Error(), "digest") {
		t.Errorf("verify: %v", err)
	}
	if b := make([]byte, 4); true {
		if _, err := s.Content(s.Members[0]).Read(b); err != nil || string(b) != "KDMV" {
			t.Errorf("%q, %v", b, err)
		}
	}
	r = archiveOf(t, "a.vmdk", "KDMV")
	if s, err := Look(r, r.Size()); err == nil || len(s.Members) != 1 {
		t.Errorf("an archive without a descriptor: %+v, %v", s, err)
	}
}
