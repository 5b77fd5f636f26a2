// Package base makes the disks that builds start from, and keeps them.
//
// A [Store] is a folder of finished bases, each under the digest of everything that went into it: made once, shared by all
// builds, never changed. Where a base comes from is a [Source]: a Debian suite by name, bootstrapped on the spot from the
// machine's own apt sources; a disk image file; an https URL with its digest; or an earlier image.
//
//	store := base.Store{Dir: filepath.Join(home, "bases")}
//	b, err := store.Get(ctx, base.Source{Debian: "debian-12"}, nil)
//	// b.Disk is a raw image: put an overlay on it, never write to it.
//
// Nothing here needs root: see [Store.Get] for what an ordinary user needs.
package base

import (
	"time"

	"github.com/ingot-image/ingot/disk"
)

// Base is a finished base disk in a [Store]. Its files are read-only: give a VM an overlay.
type Base struct {
	Name    string    `json:"name"`    // "debian-12", or the file's base name
	Digest  string    `json:"digest"`  // "sha256:" and 64 hexadecimal digits: of the inputs for a bootstrap, of the content for a file
	Disk    string    `json:"-"`       // path of the raw image
	Size    int64     `json:"size"`    // virtual size of the disk in bytes
	Created time.Time `json:"created"` // when it was made
	OS      OS        `json:"os"`

	// For booting the kernel directly. Kernel is empty when the base must be booted by firmware: a file parent whose initrd
	// was not made by initramfs-tools, or whose root file system is not ext2, ext3 or ext4.
	Kernel string `json:"-"`                // path of the kernel image
	Initrd string `json:"-"`                // path of the initramfs
	Append string `json:"append,omitempty"` // kernel command line with root= and the serial console last

	// Packages is the guest's package list, "name version" sorted by name; empty for file parents.
	Packages []string `json:"packages,omitempty"`
	// Inputs says what the base was made from, for people: sources used, package list, options.
	Inputs map[string]string `json:"inputs,omitempty"`
}

// OS is what /etc/os-release of the base says. Empty fields are unknown.
type OS struct {
	ID           string `json:"id,omitempty"`           // "debian"
	VersionID    string `json:"versionId,omitempty"`    // "12"
	Codename     string `json:"codename,omitempty"`     // "bookworm"
	PrettyName   string `json:"prettyName,omitempty"`   // "Debian GNU/Linux 12 (bookworm)"
	Architecture string `json:"architecture,omitempty"` // "amd64"
}

// Source says where a base comes from: exactly one of Debian, File and URL.
type Source struct {
	// Debian is a suite: "debian-12", "debian-bookworm".
	Debian string
	// File is the path of a disk image: a local parent image, or an earlier image of ours.
	File string
	// URL is an https address; SHA256 is required with it.
	URL string

	// SHA256 of the file as 64 hexadecimal digits. When given, nothing reads the content before it was verified.
	SHA256 string
	// Format of the file; empty: by the extension of File or of the URL's path.
	Format disk.Format
	// Name for people and manifests; empty: made from the above.
	Name string
}

// InputDigest is the digest of what the base was made from as people know it: of an image file its content's, as sha256sum
// tells it; of a bootstrap Digest.
func (b *Base) InputDigest() string { return inputDigest(b.Digest, b.Inputs) }

// InputDigest is that of the base that Get would give.
func (p *Plan) InputDigest() string { return inputDigest(p.Digest, p.Inputs) }

func inputDigest(digest string, inputs map[string]string) string {
	if content := inputs["sha256"]; content != "" {
		return "sha256:" + content
	}
	return digest
}

// Plan is what Get would do.
type Plan struct {
	Name   string            `json:"name"`
	Digest string            `json:"digest"` // as Base.Digest
	Cached bool              `json:"cached"` // Get would return at once
	Inputs map[string]string `json:"inputs,omitempty"`
}

// Progress is told what Get is doing: the stage ("wait", "download", "bootstrap", "convert", ...), and how much is done of a
// total; total is 0 when it is not known. It is called from other goroutines and must not block.
type Progress func(stage string, done, total int64)
