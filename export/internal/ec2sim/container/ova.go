package container

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"hash"
	"io"
	"os"
	"regexp"
	"strings"
)

var errOVA = invalid("Unsupported OVA format")

// ovfError is a description that AWS cannot use.
func ovfError(reason string) error { return invalid("OVF file parsing error: %s", reason) }

// envelope is what of an OVF description matters here (DMTF DSP0243).
type envelope struct {
	Files []struct {
		ID          string `xml:"id,attr"`
		Href        string `xml:"href,attr"`
		Size        int64  `xml:"size,attr"`
		ChunkSize   string `xml:"chunkSize,attr"`
		Compression string `xml:"compression,attr"`
	} `xml:"References>File"`
	Disks []struct {
		File   string `xml:"fileRef,attr"`
		Format string `xml:"format,attr"`
	} `xml:"DiskSection>Disk"`
	Systems []struct{} `xml:"VirtualSystem"`
}

// member is a file of an archive.
type member struct {
	name string
	file *os.File // without a name
	size int64
	sums map[string]string // hexadecimal, by algorithm
}

func expandOVA(ctx context.Context, src io.ReaderAt, size int64, dir string) (disks []Disk, err error) {
	members, err := unpack(ctx, src, size, dir)
	defer func() {
		for _, m := range members {
			m.file.Close()
		}
		if err != nil {
			for _, d := range disks {
				d.File.Close()
			}
		}
	}()
	if err != nil {
		return nil, err
	}
	if len(members) == 0 || !strings.HasSuffix(members[0].name, ".ovf") {
		return nil, errOVA
	}
	byName := map[string]member{}
	for _, m := range members {
		byName[m.name] = m
	}
	var e envelope
	if err := xml.NewDecoder(io.NewSectionReader(members[0].file, 0, min(members[0].size, 16<<20))).Decode(&e); err != nil || len(e.Systems) != 1 {
		return nil, ovfError("Could not parse DOM tree")
	}
	files := map[string]member{}
	for _, f := range e.Files {
		m, found := byName[f.Href]
		switch {
		case f.ChunkSize != "":
			return nil, ovfError("OVA with chunked disk files is not supported")
		case f.Compression != "" && f.Compression != "identity":
			return nil, ovfError("OVA with compressed disk files is not supported")
		case !found:
			return nil, ovfError("The file " + f.Href + " is not in the OVA")
		case f.Size != 0 && f.Size != m.size:
			return nil, ovfError("The file " + f.Href + " has another size")
		}
		files[f.ID] = m
	}
	for _, m := range members {
		if strings.HasSuffix(m.name, ".mf") {
			if err := checkManifest(m, byName); err != nil {
				return nil, err
			}
		}
	}
	for _, d := range e.Disks {
		m, found := files[d.File]
		if !found || !strings.HasSuffix(d.Format, "#streamOptimized") {
			return disks, errOVA
		}
		more, err := Expand(ctx, VMDK, m.file, m.size, dir)
		if err != nil {
			return disks, err
		}
		disks = append(disks, more...)
	}
	if len(disks) == 0 {
		return nil, ovfError("The OVA has no disk")
	}
	return disks, nil
}

// unpack takes the archive apart and sums up its members.
func unpack(ctx context.Context, src io.ReaderAt, size int64, dir string) (members []member, err error) {
	archive := tar.NewReader(bufio.NewReaderSize(io.NewSectionReader(src, 0, size), 1<<20))
	for {
		header, err := archive.Next()
		switch {
		case errors.Is(err, io.EOF):
			return members, nil
		case err != nil || header.Typeflag != tar.TypeReg || strings.Contains(header.Name, "/") || len(members) > 1000:
			return members, errOVA
		case ctx.Err() != nil:
			return members, context.Cause(ctx)
		}
		f, err := temporary(dir)
		if err != nil {
			return members, err
		}
		sums := map[string]hash.Hash{"SHA1": sha1.New(), "SHA256": sha256.New()}
		m := member{header.Name, f, header.Size, map[string]string{}}
		members = append(members, m)
		if _, err := io.Copy(io.MultiWriter(f, sums["SHA1"], sums["SHA256"]), archive); err != nil {
			return members, errOVA
		}
		for name, sum := range sums {
			m.sums[name] = hex.EncodeToString(sum.Sum(nil))
		}
	}
}

var manifestLine = regexp.MustCompile(`^(SHA1|SHA256)\s*\((.+)\)\s*=\s*([0-9A-Fa-f]+)\s*$`)

// checkManifest compares the members with the digests that the manifest has of them.
func checkManifest(manifest member, members map[string]member) error {
	lines := bufio.NewScanner(io.NewSectionReader(manifest.file, 0, manifest.size))
	for lines.Scan() {
		if strings.TrimSpace(lines.Text()) == "" {
			continue
		}
		m := manifestLine.FindStringSubmatch(lines.Text())
		if m == nil {
			return ovfError("The manifest cannot be read")
		}
		if file, found := members[m[2]]; !found || !strings.EqualFold(file.sums[m[1]], m[3]) {
			return ovfError("The manifest's digest of " + m[2] + " is not that of the file")
		}
	}
	return lines.Err()
}
