package export

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// checksumName is the name of a delivery's checksum file: NAME-VERSION-BUILD.sha256.
func (d Delivery) checksumName() string {
	name := d.Name
	if d.Version != "" {
		name += "-" + strings.ReplaceAll(d.Version, "/", "-")
	}
	return name + ".sha256"
}

// checksums makes the checksum file of items.
func (d Delivery) checksums(items []item) item {
	digests := map[string]string{}
	for _, i := range items {
		digests[i.Name] = i.SHA256
	}
	return ours(d.checksumName(), formatChecksums(digests))
}

func ours(name string, data []byte) item {
	digest := sha256.Sum256(data)
	return item{File: File{Name: name, SHA256: hex.EncodeToString(digest[:]), Size: int64(len(data))}, data: data}
}

// formatChecksums writes digests by name as sha256sum does for binary files (coreutils manual, "md5sum invocation"), sorted by name.
func formatChecksums(digests map[string]string) []byte {
	var b bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(digests)) {
		fmt.Fprintf(&b, "%s *%s\n", digests[name], name)
	}
	return b.Bytes()
}

var checksumLine = regexp.MustCompile(`^([0-9a-f]{64}) [ *](\S.*)$`)

// parseChecksums reads such a file. Anything that is none is no checksum file.
func parseChecksums(data []byte) (digests map[string]string, ok bool) {
	digests = map[string]string{}
	for line := range strings.Lines(string(data)) {
		fields := checksumLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if fields == nil {
			return nil, false
		}
		digests[fields[2]] = fields[1]
	}
	return digests, true
}

// maxChecksums is how long a checksum file may be that is read, in bytes.
const maxChecksums = 1 << 20

// added gives the checksum file with the lines of one that is there, of the same image in other formats, too. It is not ok if that one is no checksum
// file, or one of an image that is not the same.
func (i item) added(there []byte) (both item, ok bool) {
	digests, ok := parseChecksums(there)
	own, _ := parseChecksums(i.data)
	for name, digest := range own {
		if earlier, both := digests[name]; ok && both && earlier != digest {
			return i, false
		}
	}
	if !ok {
		return i, false
	}
	maps.Copy(digests, own)
	return ours(i.Name, formatChecksums(digests)), true
}
