package qemu

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// maxDescriptor bounds a firmware descriptor, which is about 1 KiB in practice.
const maxDescriptor = 64 << 10

// descriptor is QEMU's firmware descriptor: docs/interop/firmware.json of QEMU, struct Firmware.
type descriptor struct {
	Description    string   `json:"description"`
	InterfaceTypes []string `json:"interface-types"`
	Mapping        struct {
		Device     string     `json:"device"` // flash, kernel or memory
		Mode       string     `json:"mode"`   // of flash: split (the default), combined or stateless
		Executable *flashFile `json:"executable"`
		NVRAM      *flashFile `json:"nvram-template"`
	} `json:"mapping"`
	Targets []struct {
		Architecture string   `json:"architecture"`
		Machines     []string `json:"machines"` // shell patterns of concrete machine types
	} `json:"targets"`
	Features []string `json:"features"`

	file string
}

type flashFile struct {
	Filename string `json:"filename"`
	Format   string `json:"format"`
}

// readDescriptor reads one file; its errors begin with the file's name.
func readDescriptor(file string) (*descriptor, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", file)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxDescriptor+1))
	if err != nil {
		return nil, err
	}
	d, err := parseDescriptor(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	d.file = file
	return d, nil
}

// parseDescriptor parses and checks what this package uses of a descriptor.
func parseDescriptor(data []byte) (*descriptor, error) {
	if len(data) > maxDescriptor {
		return nil, fmt.Errorf("larger than %d KiB", maxDescriptor>>10)
	}
	d := new(descriptor)
	if err := json.Unmarshal(data, d); err != nil {
		return nil, err
	}
	if len(d.InterfaceTypes) == 0 || len(d.Targets) == 0 {
		return nil, errors.New("not a firmware descriptor: interface-types or targets are missing")
	}
	switch d.Mapping.Device {
	case "flash":
		if d.Mapping.Executable == nil || d.split() && d.Mapping.NVRAM == nil {
			return nil, errors.New("mapping: executable or nvram-template is missing")
		}
	case "kernel", "memory":
	default:
		return nil, fmt.Errorf("mapping: unknown device %q", d.Mapping.Device)
	}
	for _, f := range []*flashFile{d.Mapping.Executable, d.Mapping.NVRAM} {
		if f == nil {
			continue
		}
		if !filepath.IsAbs(f.Filename) || strings.ContainsRune(f.Filename, 0) {
			return nil, fmt.Errorf("mapping: file name %q is not absolute", f.Filename)
		}
		if f.Format == "" {
			f.Format = "raw"
		}
		if f.Format != "raw" && f.Format != "qcow2" {
			return nil, fmt.Errorf("mapping: unknown format %q", f.Format)
		}
	}
	return d, nil
}

// split tells whether code and variables are separate files, the only mode used here: stateless builds are made
// for confidential computing and forget the boot order.
func (d *descriptor) split() bool {
	return d.Mapping.Device == "flash" && (d.Mapping.Mode == "" || d.Mapping.Mode == "split")
}

// fits tells whether the firmware runs on the machine and offers the interface.
func (d *descriptor) fits(m *machine, iface string) bool {
	if !slices.Contains(d.InterfaceTypes, iface) || !d.split() {
		return false
	}
	for _, t := range d.Targets {
		if t.Architecture != m.architecture {
			continue
		}
		for _, pattern := range t.Machines {
			// Descriptors name versioned machines (pc-q35-7.2), nearly always by pattern (pc-q35-*); any
			// version stands for ours.
			if ok, err := path.Match(pattern, m.family+"0"); err == nil && ok || pattern == m.typ {
				return true
			}
		}
	}
	return false
}

func (d *descriptor) has(need firmwareNeed) bool {
	for _, f := range need.require {
		if !slices.Contains(d.Features, f) {
			return false
		}
	}
	return !slices.ContainsFunc(need.forbid, func(f string) bool { return slices.Contains(d.Features, f) })
}

func (d *descriptor) filesExist() error {
	for _, f := range []*flashFile{d.Mapping.Executable, d.Mapping.NVRAM} {
		r, err := os.Open(f.Filename)
		if err != nil {
			return err
		}
		r.Close()
	}
	return nil
}

func (d *descriptor) firmware(kind FirmwareKind) *Firmware {
	return &Firmware{
		Kind:        kind,
		Description: d.Description,
		Descriptor:  d.file,
		Code:        Image{d.Mapping.Executable.Filename, d.Mapping.Executable.Format},
		Vars:        Image{d.Mapping.NVRAM.Filename, d.Mapping.NVRAM.Format},
		SecureBoot:  slices.Contains(d.Features, "secure-boot"),
		RequiresSMM: slices.Contains(d.Features, "requires-smm"),
	}
}
