package builder

import (
	"slices"
	"strings"
	"testing"
)

func TestParseStatus(t *testing.T) {
	const status = `Package: zlib1g
Status: install ok installed
Priority: optional
Description: compression library
 Package: not a field
 .
	Status: install ok nothing
Architecture: amd64
Version: 1:1.2.13.dfsg-1
Conffiles:
 /etc/x 0123

Package: gone
Status: deinstall ok config-files
Version: 1
Architecture: amd64

Package: half
Status: install reinstreq half-installed
Version: 1
Architecture: amd64

Package: held
Status: hold ok installed
Architecture: i386
Version: 2~rc1

Package: held
Status: hold ok installed
Architecture: amd64
Version: 2~rc1

Status: install ok installed
Version: 1


Package: bash
Status: install ok installed
version: 5.2.15-2+b7
Architecture: amd64`
	want := []Package{{"bash", "5.2.15-2+b7", "amd64"}, {"held", "2~rc1", "amd64"}, {"held", "2~rc1", "i386"}, {"zlib1g", "1:1.2.13.dfsg-1", "amd64"}}
	for _, text := range []string{status, status + "\n", status + "\n\n"} {
		got, err := parseStatus(strings.NewReader(text))
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("got %v, %v", got, err)
		}
	}
	if _, err := parseStatus(strings.NewReader("Package: " + strings.Repeat("x", 2<<20))); err == nil {
		t.Error("a line without an end was taken")
	}
}
