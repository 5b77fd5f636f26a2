package inspect

import (
	"bytes"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf16"
)

// Bounds of what is looked at in EFI system partitions.
const (
	maxLoaders     = 64
	maxLoaderSize  = 32 << 20 // larger ones are unified kernel images: only their headers are read
	maxEFIEntries  = 2048
	maxCertificate = 1 << 20
)

// The names under which firmware starts a loader that nobody chose: UEFI specification 2.10, section 3.5.1.1.
var defaultLoaders = map[string]string{"bootx64.efi": "x86_64", "bootaa64.efi": "aarch64", "bootia32.efi": "i386", "bootriscv64.efi": "riscv64", "bootarm.efi": "arm"}

// efiLoaders finds the programs in all EFI system partitions.
func (c *contents) efiLoaders() []EFILoader {
	var out []EFILoader
	for _, v := range c.volumes {
		if !c.isESP(v) || v.files == nil {
			continue
		}
		n := 0
		_ = fs.WalkDir(v.files, "EFI", func(name string, d fs.DirEntry, err error) error {
			if n++; n > maxEFIEntries || len(out) >= maxLoaders {
				c.problem(v.Device, "more than %d files, or %d loaders, are in its EFI folder: the others are not looked at", maxEFIEntries, maxLoaders)
				return fs.SkipAll
			}
			switch {
			case err != nil:
				if !errors.Is(err, fs.ErrNotExist) {
					c.problem(v.Device, "%v", err)
				}
				return nil
			case d.IsDir():
				if strings.Count(name, "/") > 3 {
					return fs.SkipDir
				}
				return nil
			case !strings.EqualFold(path.Ext(name), ".efi"):
				return nil
			}
			l := EFILoader{Partition: v.Partition, Path: name, Loader: "unknown"}
			_, l.Default = defaultLoaders[strings.ToLower(path.Base(name))]
			l.Default = l.Default && strings.EqualFold(path.Dir(name), "EFI/BOOT")
			if err := l.read(v.files); err != nil {
				c.problem(v.Device, "%s: %v", name, err)
				l.Default = false
			}
			out = append(out, l)
			return nil
		})
	}
	return out
}

// read looks into the program: "Microsoft Portable Executable and Common Object File Format Specification", revision 11.
func (l *EFILoader) read(f fs.FS) error {
	file, err := f.Open(l.Path)
	if err != nil {
		return cause(err)
	}
	defer file.Close()
	st, err := file.Stat()
	if err != nil {
		return cause(err)
	}
	l.Size = st.Size()
	r, ok := file.(io.ReaderAt)
	if !ok {
		b, err := io.ReadAll(io.LimitReader(file, maxLoaderSize))
		if err != nil {
			return cause(err)
		}
		r = bytes.NewReader(b)
	}
	return l.parse(r)
}

type section struct {
	name     string
	at, size int64
}

func (l *EFILoader) parse(r io.ReaderAt) error {
	le := binary.LittleEndian
	head := make([]byte, min(l.Size, 4096))
	if err := readAt(r, head, 0); err != nil {
		return cause(err)
	}
	notPE := errors.New("is no program for UEFI")
	if len(head) < 512 || head[0] != 'M' || head[1] != 'Z' {
		return notPE
	}
	pe := int64(le.Uint32(head[0x3c:]))
	if pe < 0x40 || pe > int64(len(head))-24-112-5*8 || string(head[pe:pe+4]) != "PE\x00\x00" {
		return notPE
	}
	coff := head[pe+4:]
	l.Architecture = map[uint16]string{0x8664: "x86_64", 0xaa64: "aarch64", 0x14c: "i386", 0x5064: "riscv64", 0x1c2: "arm", 0x1c0: "arm"}[le.Uint16(coff)]
	optional := coff[20:]
	directories := 96
	if le.Uint16(optional) == 0x20b { // PE32+
		directories = 112
	}
	security := optional[directories+4*8:]
	signature := section{at: int64(le.Uint32(security)), size: int64(le.Uint32(security[4:]))}
	var sections []section
	table := optional[min(int(le.Uint16(coff[16:])), len(optional)):]
	for range min(int(le.Uint16(coff[2:])), 32) {
		if len(table) < 40 {
			break
		}
		name, _, _ := bytes.Cut(table[:8], []byte{0})
		sections = append(sections, section{string(name), int64(le.Uint32(table[20:])), int64(le.Uint32(table[16:]))})
		table = table[40:]
	}
	l.recognise(r, head, sections)
	l.Signed, l.Signers = signers(r, l.Size, signature)
	return nil
}

// content reads a part of the program, at most limit bytes.
func (s section) content(r io.ReaderAt, size, limit int64) []byte {
	if s.at < 0 || s.at >= size {
		return nil
	}
	b := make([]byte, max(min(s.size, limit, size-s.at), 0))
	if readAt(r, b, s.at) != nil {
		return nil
	}
	return b
}

var (
	loaderInfo = regexp.MustCompile(`#### LoaderInfo: (systemd-boot|systemd-stub) ([0-9A-Za-z.~+()-]{1,64}) ####`)
	sbatLine   = regexp.MustCompile(`(?m)^(shim|grub|systemd-boot|systemd-stub|systemd|refind|uki|fwupd|MokManager)[.\w]*,\d+,[^,\n]*,[^,\n]*,([^,\n]{1,64}),`)
)

// recognise tells what the program is by its sections: SBAT is in all that shim starts (shim's SBAT.md), GRUB has its modules in "mods", a
// unified kernel image its kernel in ".linux".
func (l *EFILoader) recognise(r io.ReaderAt, head []byte, sections []section) {
	has := map[string]section{}
	for _, s := range sections {
		has[s.name] = s
	}
	sbat := lastMatch(sbatLine.FindAllSubmatch(has[".sbat"].content(r, l.Size, 64<<10), 64))
	magic := loaderInfo.FindSubmatch(has[".sdmagic"].content(r, l.Size, 4096))
	_, linux := has[".linux"]
	_, mods := has["mods"]
	switch {
	case linux:
		l.Loader = "uki"
		if name := has[".uname"].content(r, l.Size, 256); len(name) > 0 {
			l.Version = printable(string(bytes.TrimRight(name, "\x00\n")))
		}
		return
	case len(head) >= 0x206 && string(head[0x202:0x206]) == "HdrS", string(head[0x38:0x3c]) == "ARM\x64":
		l.Loader = "linux"
		return
	case magic != nil:
		l.Loader, l.Version = string(magic[1]), printable(string(magic[2]))
		return
	case mods:
		l.Loader = "grub"
	}
	if sbat != nil {
		name := string(sbat[1])
		if l.Loader == "unknown" {
			l.Loader = strings.ToLower(name)
		}
		if l.Loader == name {
			l.Version = printable(string(sbat[2]))
		}
	}
	if l.Loader != "unknown" && l.Loader != "shim" || l.Size > maxLoaderSize {
		return
	}
	all := make([]byte, l.Size)
	if readAt(r, all, 0) != nil {
		return
	}
	contains := func(text string) bool { return bytes.Contains(all, []byte(text)) || bytes.Contains(all, utf16le(text)) }
	if m := loaderInfo.FindSubmatch(all); m != nil { // before .sdmagic came
		l.Loader, l.Version = string(m[1]), printable(string(m[2]))
		return
	}
	switch { // shim's three programs share its SBAT
	case contains("Perform MOK management"):
		l.Loader = "mokmanager"
	case contains("BOOTX64.CSV") || contains("BOOTAA64.CSV"):
		l.Loader = "fallback"
	case l.Loader == "shim":
	case contains("bootmgfw.efi") || contains("bootmgr.efi") || contains("Windows Boot Manager"):
		l.Loader = "windows"
	case contains("shim_lock") || contains("UEFI SHIM"), contains("$Version: "):
		l.Loader = "shim"
	case contains("rEFInd"):
		l.Loader = "refind"
	case contains("GRUB"), contains("grub_"):
		l.Loader = "grub"
	}
}

// lastMatch is the last line about the first one's program: the distribution's own, which tells its version.
func lastMatch(lines [][][]byte) (last [][]byte) {
	for _, m := range lines {
		if last == nil || bytes.Equal(m[1], last[1]) {
			last = m
		}
	}
	return last
}

func utf16le(s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

// signers lists the names in the certificates of a signature (PE specification, "The Attribute Certificate Table"). Nothing is verified: that
// takes the keys that the firmware has.
func signers(r io.ReaderAt, size int64, at section) (signed bool, names []string) {
	if at.at == 0 || at.size < 8 || at.at > size-8 || at.size > size-at.at {
		return false, nil
	}
	b := at.content(r, size, maxCertificate)
	if len(b) < 8 || binary.LittleEndian.Uint16(b[6:]) != 2 { // WIN_CERT_TYPE_PKCS_SIGNED_DATA
		return false, nil
	}
	// Names follow the object identifier of a common name (2.5.4.3) as a string: looked for, since PKCS #7 parsers expect well-meant input.
	oid := []byte{0x06, 0x03, 0x55, 0x04, 0x03}
	for rest := b; len(names) < 16; {
		i := bytes.Index(rest, oid)
		if i < 0 {
			break
		}
		rest = rest[i+len(oid):]
		var v asn1.RawValue
		if _, err := asn1.Unmarshal(rest[:min(len(rest), 300)], &v); err != nil || v.Class != 0 || v.IsCompound {
			continue
		}
		text := string(v.Bytes)
		if v.Tag == asn1.TagBMPString {
			var units []uint16
			for k := 0; k+1 < len(v.Bytes); k += 2 {
				units = append(units, binary.BigEndian.Uint16(v.Bytes[k:]))
			}
			text = string(utf16.Decode(units))
		}
		if text = printable(text); text != "" && !slices.Contains(names, text) {
			names = append(names, text)
		}
	}
	return true, names
}

func isMicrosoft(name string) bool {
	return name == "Microsoft Corporation UEFI CA 2011" || name == "Microsoft UEFI CA 2023" || strings.HasPrefix(name, "Microsoft Windows Production PCA") ||
		strings.HasPrefix(name, "Windows UEFI CA 20")
}
