package qemu

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxVars bounds a template of UEFI variables, which is 128 KiB to 528 KiB in practice (64 MiB on arm64).
const maxVars = 64 << 20

// FirmwareKind is what a user means by firmware.
type FirmwareKind string

// The kinds of firmware.
const (
	BIOS           FirmwareKind = "bios"             // the machine's built-in BIOS
	UEFI           FirmwareKind = "uefi"             // UEFI, Secure Boot off
	UEFISecureBoot FirmwareKind = "uefi-secure-boot" // UEFI, Secure Boot on with the usual keys enrolled
)

// Firmware is one usable firmware. Its Code is mapped read-only; each VM gets its own copy of Vars, the template
// of the UEFI variables.
type Firmware struct {
	Kind        FirmwareKind
	Description string
	Descriptor  string // the descriptor file it was found by; "" for the built-in one
	Code, Vars  Image  // empty for the built-in one
	SecureBoot  bool   // writes to the variables are restricted to code in SMM
	RequiresSMM bool
}

// FirmwareSearch says where to look for firmware and for which machine.
type FirmwareSearch struct {
	Architecture string // as in Config
	// Dirs are the descriptor folders, the most specific first.
	Dirs []string
}

// FindFirmware looks for firmware of a kind for the default architecture in the folders of FirmwareDirs. It is a
// FirmwareNotFoundError if there is none.
func FindFirmware(kind FirmwareKind) (*Firmware, error) {
	return FirmwareSearch{Dirs: FirmwareDirs("")}.Find(kind)
}

// FirmwareDirs returns the folders in which QEMU's firmware descriptors are searched, the most specific first:
// the user's, the system administrator's, and the distribution's. For a QEMU installed elsewhere than under /usr
// (binary is its path, "" for the usual one) its own prefix comes before the distribution's.
// See docs/interop/firmware.json of QEMU, "Firmware".
func FirmwareDirs(binary string) []string {
	var dirs []string
	if config, err := os.UserConfigDir(); err == nil {
		dirs = append(dirs, filepath.Join(config, "qemu", "firmware"))
	}
	dirs = append(dirs, "/etc/qemu/firmware")
	if path, err := FindBinary(binary, ""); err == nil {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			path = real
		}
		if prefix := filepath.Dir(filepath.Dir(path)); prefix != "/usr" && prefix != "/" {
			dirs = append(dirs, filepath.Join(prefix, "etc", "qemu", "firmware"), filepath.Join(prefix, "share", "qemu", "firmware"))
		}
	}
	return append(dirs, "/usr/share/qemu/firmware")
}

// FirmwareNotFoundError says what was looked for, where, and why the descriptors there did not do.
type FirmwareNotFoundError struct {
	Kind     FirmwareKind
	Machine  string   // "x86_64 q35"
	Dirs     []string // searched
	Rejected []string // "FILE: reason"
	Package  string   // Debian's package that has it
}

func (e *FirmwareNotFoundError) Error() string {
	msg := fmt.Sprintf("find firmware: no %s firmware for %s is described in %s", e.Kind, e.Machine, strings.Join(e.Dirs, ", "))
	if len(e.Rejected) > 0 {
		msg += " (" + strings.Join(e.Rejected, "; ") + ")"
	}
	return msg + "; install the package " + e.Package
}

// firmwareNeed is one acceptable set of features; a kind has several, the best first.
type firmwareNeed struct{ require, forbid []string }

func (k FirmwareKind) needs() []firmwareNeed {
	switch k {
	case UEFI:
		return []firmwareNeed{
			{forbid: []string{"enrolled-keys", "requires-smm"}},
			{forbid: []string{"enrolled-keys"}}, // Secure Boot firmware with no keys runs anything
		}
	case UEFISecureBoot:
		return []firmwareNeed{{require: []string{"secure-boot", "enrolled-keys", "requires-smm"}}}
	}
	return nil
}

// Find returns the first firmware of the kind, in the order of the descriptors' file names, of which the files
// exist.
func (s FirmwareSearch) Find(kind FirmwareKind) (*Firmware, error) {
	m, err := machineFor(s.Architecture)
	if err != nil {
		return nil, fmt.Errorf("find firmware: %w", err)
	}
	if kind == BIOS && m.bios != "" {
		return &Firmware{Kind: BIOS, Description: m.bios + ", built into the machine"}, nil
	}
	needs := kind.needs()
	if needs == nil {
		return nil, fmt.Errorf("find firmware: unknown kind %q: use %s, %s or %s", kind, BIOS, UEFI, UEFISecureBoot)
	}
	missing := &FirmwareNotFoundError{Kind: kind, Machine: m.architecture + " " + m.typ, Dirs: s.Dirs, Package: m.uefiPackage}
	var fit []*descriptor
	for _, file := range descriptorFiles(s.Dirs) {
		d, err := readDescriptor(file)
		if err != nil {
			missing.Rejected = append(missing.Rejected, err.Error())
			continue
		}
		if !d.fits(m, "uefi") {
			continue
		}
		fit = append(fit, d)
	}
	for _, need := range needs {
		for _, d := range fit {
			if !d.has(need) {
				continue
			}
			if err := d.filesExist(); err != nil {
				if r := fmt.Sprintf("%s: %v", d.file, err); !slices.Contains(missing.Rejected, r) {
					missing.Rejected = append(missing.Rejected, r)
				}
				continue
			}
			return d.firmware(kind), nil
		}
	}
	return nil, missing
}

// descriptorFiles merges the folders, the most specific first: of several files with one name the most specific
// counts, and if that is empty (or a link to /dev/null) it hides the others. The result is sorted by file name.
func descriptorFiles(dirs []string) []string {
	chosen := map[string]string{}
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			name := e.Name()
			if !strings.HasSuffix(name, ".json") || strings.HasPrefix(name, ".") {
				continue
			}
			if _, taken := chosen[name]; taken {
				continue
			}
			path := filepath.Join(dir, name)
			info, err := os.Stat(path)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				continue // a dangling link
			case err == nil && info.IsDir():
				continue
			case err == nil && info.Size() == 0:
				path = "" // masked
			}
			chosen[name] = path
		}
	}
	names := make([]string, 0, len(chosen))
	for name, path := range chosen {
		if path != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for i, name := range names {
		names[i] = chosen[name]
	}
	return names
}

// CopyVars makes a private copy of the template of UEFI variables at path, which must not exist.
func (f *Firmware) CopyVars(path string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("copy UEFI variables: %w", err)
		}
	}()
	src, err := os.Open(f.Vars.Path)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	n, err := io.Copy(dst, io.LimitReader(src, maxVars+1))
	if err == nil && n > maxVars {
		err = fmt.Errorf("%s is larger than %d MiB", f.Vars.Path, maxVars>>20)
	}
	if err = errors.Join(err, dst.Close()); err != nil {
		os.Remove(path)
	}
	return err
}
