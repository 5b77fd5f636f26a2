package base

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"sort"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/ingot-image/ingot/disk"
)

//go:embed debian
var scripts embed.FS

// scriptNames are the files of scripts, in the order they count for the digest.
func scriptNames() []string { return []string{"bootstrap.sh", "prepare.sh", "customize.sh"} }

// layoutVersion is part of every bootstrap's digest: raise it when the code that lays out the disk changes.
const layoutVersion = "1"

// DefaultDiskSize is the virtual size of a bootstrapped disk in bytes, unless Store.DiskSize says another one.
const DefaultDiskSize = 4 << 30

// kernelAppend is what every kernel line ends with. The serial console is last so that it is the one init talks to; the NVMe
// time-out and the plain network names are what EC2 asks for.
const kernelAppend = "console=tty0 console=ttyS0,115200n8 net.ifnames=0 biosdevname=0 nvme_core.io_timeout=4294967295"

const debianKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// bootstrap is a Debian base to be made: all inputs, nothing done yet.
type bootstrap struct {
	suite     Suite
	sources   string // sources.list for the bootstrap: may hold credentials and paths of this machine
	inImage   string // sources.list of the image
	packages  []string
	diskSize  int64
	digestHex string
}

// newBootstrap reads the machine's apt sources and fixes all inputs.
func (s *Store) newBootstrap(suite Suite) (*bootstrap, error) {
	if runtime.GOARCH != "amd64" {
		return nil, fmt.Errorf("base %s: bases can be made on amd64 machines only, this one is %s", suite.Name(), runtime.GOARCH)
	}
	b := &bootstrap{suite: suite, packages: suite.packages(), diskSize: s.DiskSize}
	if b.diskSize == 0 {
		b.diskSize = DefaultDiskSize
	}
	if b.diskSize < 2<<30 || b.diskSize%(1<<20) != 0 || b.diskSize > 16<<40 {
		return nil, fmt.Errorf("base %s: disk size of %d bytes: use a multiple of 1 MiB from 2 GiB to 16 TiB", suite.Name(), b.diskSize)
	}
	release, updates, security, err := s.archives(suite)
	if err != nil {
		return nil, fmt.Errorf("base %s: %w", suite.Name(), err)
	}
	add := func(a *archive, name string) {
		if a == nil {
			return
		}
		key := a.signedBy
		if _, err := os.Stat(debianKeyring); key == "" && err == nil {
			key = debianKeyring
		}
		b.sources += a.sourceLine(name, "amd64", key, true)
		b.inImage += a.sourceLine(name, "amd64", "", false)
	}
	add(release, suite.Codename)
	if !suite.rolling() {
		add(updates, suite.Codename+"-updates")
		add(security, suite.security())
	}
	b.digestHex = sha256Hex(b.digestParts()...)
	return b, nil
}

// archives finds where packages come from: the mirror that was asked for, or the machine's own sources.
func (s *Store) archives(suite Suite) (release, updates, security *archive, err error) {
	if s.Mirror != "" {
		u, err := url.Parse(s.Mirror)
		if err != nil || u.Scheme == "" || u.Host == "" && u.Scheme != "file" || strings.ContainsAny(s.Mirror, " \t\n[]\"'") {
			return nil, nil, nil, fmt.Errorf("mirror %q is not a URI", s.Mirror)
		}
		sec := *u
		sec.Path = strings.TrimRight(u.Path, "/") + "-security"
		return &archive{uri: u}, &archive{uri: u}, &archive{uri: &sec}, nil
	}
	root := os.DirFS("/")
	entries, err := readAptSources(root)
	if err != nil {
		return nil, nil, nil, err
	}
	host := readOSRelease(root, "etc/os-release")
	release, updates, security = debianArchives(entries, host.Codename, "amd64")
	if host.ID != "debian" || release == nil {
		return nil, nil, nil, errors.New("this machine's apt sources (/etc/apt/sources.list, sources.list.d) name no Debian archive for its own release: give a mirror")
	}
	return release, updates, security, nil
}

func (b *bootstrap) digestParts() []string {
	parts := []string{"debian", layoutVersion, b.suite.Codename, b.inImage, strings.Join(b.packages, ","), strconv.FormatInt(b.diskSize, 10), kernelAppend, disk.Mke2fsConfig}
	for _, name := range scriptNames() {
		data, _ := scripts.ReadFile("debian/" + name)
		parts = append(parts, string(data))
	}
	return parts
}

func (b *bootstrap) inputs() map[string]string {
	return map[string]string{
		"suite":    b.suite.Codename,
		"sources":  b.inImage,
		"packages": strings.Join(b.packages, " "),
		"diskSize": strconv.FormatInt(b.diskSize, 10),
		"layout":   layoutVersion,
	}
}

// hybrid lays out the disk; all identifiers follow from the digest, so the same inputs give the same ones.
func (b *bootstrap) hybrid() disk.Hybrid {
	id := func(what string) string {
		return uuid.NewHash(sha256.New(), uuid.NameSpaceOID, []byte(b.digestHex+"/"+what), 8).String()
	}
	serial := sha256.Sum256([]byte(b.digestHex + "/esp"))
	return disk.Hybrid{Size: b.diskSize,
		DiskGUID: id("disk"), BIOSGUID: id("bios"), ESPGUID: id("esp-partition"), RootGUID: id("root-partition"),
		RootUUID: id("root"), ESPSerial: binary.BigEndian.Uint32(serial[:])}
}

// make bootstraps into dir, which must be empty, and leaves disk.raw, vmlinuz and initrd.img there.
func (b *bootstrap) make(ctx context.Context, dir string, progress Progress) (*Base, error) {
	h := b.hybrid()
	settings := fmt.Sprintf("ROOT_UUID='%s'\nESP_UUID='%s'\nKERNEL_APPEND='%s'\n", h.RootUUID, h.ESPUUID(), kernelAppend)
	apt, err := aptAcquireSettings(ctx)
	if err != nil {
		return nil, err
	}
	files := map[string]string{
		"settings": settings, "packages": strings.Join(b.packages, ","), "mke2fs.conf": disk.Mke2fsConfig,
		"sources.list": b.sources, "image-sources.list": b.inImage, "apt.conf": apt,
	}
	for _, name := range scriptNames() {
		data, err := scripts.ReadFile("debian/" + name)
		if err != nil {
			return nil, err
		}
		files[name] = string(data)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
			return nil, err
		}
	}
	image := filepath.Join(dir, "disk.raw")
	if err := h.Partition(image); err != nil {
		return nil, err
	}
	progress("bootstrap", 0, 0)
	args := append([]string{"/bin/sh", "./bootstrap.sh", b.suite.Codename}, h.Mke2fsArgs("root")...)
	args = append(args, "disk.raw", strconv.FormatInt(h.Root().Size/1024, 10)+"k")
	log := &stageWriter{progress: progress}
	if err := inNamespace(ctx, dir, log, args...); err != nil {
		err = disk.ExplainSpace(err, filepath.Dir(dir), bootstrapSpace)
		var te *disk.ToolError
		if errors.As(err, &te) && len(log.errors) > 0 {
			err = &BootstrapError{Suite: b.suite.Codename, Lines: log.errors, Err: err}
		}
		return nil, fmt.Errorf("bootstrap %s: %w", b.suite.Codename, err)
	}
	progress("boot loaders", 0, 0)
	boot, err := readBootFiles(filepath.Join(dir, "out"))
	if err != nil {
		return nil, err
	}
	if err := h.InstallBoot(ctx, image, boot); err != nil {
		return nil, err
	}
	out := os.DirFS(filepath.Join(dir, "out"))
	packages, err := fs.ReadFile(out, "packages")
	if err != nil {
		return nil, err
	}
	base := &Base{Append: "root=UUID=" + h.RootUUID + " ro " + kernelAppend, Size: h.Size, Inputs: b.inputs(),
		OS: readOSRelease(out, "os-release"), Packages: strings.Split(strings.TrimSpace(string(packages)), "\n")}
	base.OS.Architecture = "amd64"
	sort.Strings(base.Packages)
	for _, name := range []string{"vmlinuz", "initrd.img"} {
		if err := os.Rename(filepath.Join(dir, "out", name), filepath.Join(dir, name)); err != nil {
			return nil, err
		}
	}
	for name := range files {
		os.Remove(filepath.Join(dir, name))
	}
	return base, os.RemoveAll(filepath.Join(dir, "out"))
}

func readBootFiles(out string) (disk.BootFiles, error) {
	b := disk.BootFiles{ESP: map[string][]byte{}}
	var err error
	read := func(name string) []byte {
		data, e := os.ReadFile(filepath.Join(out, name))
		err = errors.Join(err, e)
		return data
	}
	b.Boot, b.Core = read("boot.img"), read("core.img")
	// The removable-media path: the firmware needs no boot entry. Shim starts grubx64.efi from its own folder.
	b.ESP["EFI/BOOT/BOOTX64.EFI"] = read("shimx64.efi")
	b.ESP["EFI/BOOT/grubx64.efi"] = read("grubx64.efi")
	b.ESP["EFI/BOOT/mmx64.efi"] = read("mmx64.efi")
	b.ESP["EFI/debian/grub.cfg"] = read("grub.cfg")
	return b, err
}

// bootstrapSpace is about what a bootstrap takes up on the disk, in bytes: the tree, and the file system made of it.
const bootstrapSpace = 1500 << 20

// BootstrapError says why a bootstrap failed, in the words of apt and mmdebstrap.
type BootstrapError struct {
	Suite string
	Lines []string // error lines, without what only says that something else failed
	Err   error
}

func (e *BootstrapError) Error() string {
	s := strings.Join(e.Lines, "; ")
	if strings.Contains(s, "404") {
		s += "; the mirror does not have the whole suite: an old release may have moved to the archive mirror"
	}
	return s
}

func (e *BootstrapError) Unwrap() error { return e.Err }

// stageWriter turns mmdebstrap's "I: ..." lines into progress and keeps its error lines.
type stageWriter struct {
	progress Progress
	line     []byte
	errors   []string
}

func (w *stageWriter) Write(p []byte) (int, error) {
	for _, c := range p {
		if c != '\n' && c != '\r' {
			if len(w.line) < 400 {
				w.line = append(w.line, c)
			}
			continue
		}
		w.take(strings.ToValidUTF8(string(w.line), "?"))
		w.line = w.line[:0]
	}
	return len(p), nil
}

func (w *stageWriter) take(line string) {
	kind, text, _ := strings.Cut(line, ": ")
	switch {
	case kind == "I":
		for _, noise := range []string{"running --", "success ", "main() received"} {
			if strings.HasPrefix(text, noise) {
				return
			}
		}
		w.progress(strings.TrimRight(text, "."), 0, 0)
	case kind == "E" && len(w.errors) < 5:
		for _, noise := range []string{"setup failed", "mmdebstrap failed", "Unable to fetch some", "Sub-process "} {
			if strings.HasPrefix(text, noise) {
				return
			}
		}
		w.errors = append(w.errors, text)
	}
}
