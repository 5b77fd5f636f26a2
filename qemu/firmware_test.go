package qemu

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// firmwareTree makes descriptor folders: "dir/name" → content; "null" makes a link to /dev/null. CODE and VARS in
// the content become existing files.
func firmwareTree(t *testing.T, files map[string]string) (root string) {
	t.Helper()
	root = t.TempDir()
	for _, name := range []string{"CODE", "VARS"} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if content == "null" {
			if err := os.Symlink(os.DevNull, path); err != nil {
				t.Fatal(err)
			}
			continue
		}
		content = strings.NewReplacer("CODE", filepath.Join(root, "CODE"), "VARS", filepath.Join(root, "VARS")).Replace(content)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func describe(description, code string, features ...string) string {
	quoted := make([]string, len(features))
	for i, f := range features {
		quoted[i] = fmt.Sprintf("%q", f)
	}
	return fmt.Sprintf(`{"description": %q, "interface-types": ["uefi"],
		"mapping": {"device": "flash", "executable": {"filename": %q, "format": "raw"}, "nvram-template": {"filename": "VARS", "format": "qcow2"}},
		"targets": [{"architecture": "x86_64", "machines": ["pc-i440fx-*", "pc-q35-*"]}],
		"features": [%s], "tags": []}`, description, code, strings.Join(quoted, ", "))
}

func TestFindFirmware(t *testing.T) {
	secure := []string{"secure-boot", "enrolled-keys", "requires-smm"}
	plain := describe("plain", "CODE")
	for _, test := range []struct {
		name  string
		kind  FirmwareKind
		files map[string]string
		want  string // description
		err   string
	}{
		{"plain is taken although a secure one comes first", UEFI, map[string]string{
			"usr/40.json": describe("secure", "CODE", secure...), "usr/60.json": plain}, "plain", ""},
		{"secure", UEFISecureBoot, map[string]string{
			"usr/40.json": describe("secure", "CODE", secure...), "usr/60.json": plain}, "secure", ""},
		{"no keys enrolled", UEFISecureBoot, map[string]string{
			"usr/50.json": describe("no keys", "CODE", "secure-boot", "requires-smm")}, "", "no uefi-secure-boot firmware for x86_64 q35"},
		{"secure without keys will do for UEFI", UEFI, map[string]string{
			"usr/50.json": describe("no keys", "CODE", "secure-boot", "requires-smm")}, "no keys", ""},
		{"but not with keys", UEFI, map[string]string{
			"usr/40.json": describe("secure", "CODE", secure...)}, "", "install the package ovmf"},
		{"order of file names over folders", UEFI, map[string]string{
			"usr/20.json": describe("usr", "CODE"), "etc/30.json": describe("etc", "CODE")}, "usr", ""},
		{"the specific folder's file wins", UEFI, map[string]string{
			"usr/20.json": describe("usr", "CODE"), "etc/20.json": describe("etc", "CODE"), "home/20.json": describe("home", "CODE")}, "home", ""},
		{"masked by an empty file", UEFI, map[string]string{
			"usr/20.json": describe("usr", "CODE"), "etc/20.json": "", "usr/30.json": plain}, "plain", ""},
		{"masked by /dev/null", UEFI, map[string]string{
			"usr/20.json": describe("usr", "CODE"), "home/20.json": "null", "usr/30.json": plain}, "plain", ""},
		{"broken ones are passed over", UEFI, map[string]string{
			"usr/10.json": "{", "usr/11.json": `{"interface-types": ["uefi"]}`, "usr/12.json": strings.Repeat(" ", maxDescriptor+1),
			"usr/13.txt": plain, "usr/14.json/x": "", "usr/30.json": plain}, "plain", ""},
		{"missing files are named", UEFI, map[string]string{
			"usr/10.json": describe("gone", "/does/not/exist.fd")}, "", "/does/not/exist.fd: no such file"},
		{"other architecture", UEFI, map[string]string{
			"usr/10.json": strings.Replace(plain, "x86_64", "aarch64", 1)}, "", "no uefi firmware"},
		{"other machine", UEFI, map[string]string{
			"usr/10.json": strings.Replace(plain, "pc-q35", "pc-q36", 1)}, "", "no uefi firmware"},
		{"stateless", UEFI, map[string]string{
			"usr/10.json": strings.Replace(plain, `"device": "flash"`, `"device": "flash", "mode": "stateless"`, 1)}, "", "no uefi firmware"},
		{"loaded into memory", UEFI, map[string]string{
			"usr/10.json": strings.Replace(plain, `"flash"`, `"memory"`, 1)}, "", "no uefi firmware"},
		{"relative file name", UEFI, map[string]string{
			"usr/10.json": describe("rel", "../CODE.fd")}, "", "is not absolute"},
		{"BIOS needs none", BIOS, nil, "SeaBIOS, built into the machine", ""},
		{"unknown kind", "openfirmware", nil, "", `unknown kind "openfirmware"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := firmwareTree(t, test.files)
			dirs := []string{filepath.Join(root, "home"), filepath.Join(root, "etc"), filepath.Join(root, "usr")}
			fw, err := FirmwareSearch{Dirs: dirs}.Find(test.kind)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("got %+v, %v; want %q", fw, err, test.err)
				}
				missing, ok := errors.AsType[*FirmwareNotFoundError](err)
				if ok && (!slices.Equal(missing.Dirs, dirs) || !strings.Contains(err.Error(), dirs[2])) {
					t.Errorf("the folders are not named: %v", err)
				}
				return
			}
			if err != nil || fw.Description != test.want || fw.Kind != test.kind {
				t.Fatalf("got %+v, %v; want %q", fw, err, test.want)
			}
			if test.kind == BIOS {
				return
			}
			if fw.Code != (Image{filepath.Join(root, "CODE"), "raw"}) || fw.Vars != (Image{filepath.Join(root, "VARS"), "qcow2"}) {
				t.Errorf("files %v, %v", fw.Code, fw.Vars)
			}
			copied := filepath.Join(root, "copy")
			if err := fw.CopyVars(copied); err != nil {
				t.Fatal(err)
			}
			if b, _ := os.ReadFile(copied); string(b) != "VARS" {
				t.Errorf("copied %q", b)
			}
			if err := fw.CopyVars(copied); err == nil {
				t.Error("an existing file was overwritten")
			}
		})
	}
}

func TestFirmwareDirs(t *testing.T) {
	home := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", home)
	prefix := t.TempDir()
	if err := os.MkdirAll(filepath.Join(prefix, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(prefix, "bin", "qemu")
	if err := os.WriteFile(binary, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	want := []string{home + "/qemu/firmware", "/etc/qemu/firmware", prefix + "/etc/qemu/firmware", prefix + "/share/qemu/firmware", "/usr/share/qemu/firmware"}
	if got := FirmwareDirs(binary); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// FuzzParseDescriptor checks that what is accepted is fit to be put on a command line.
func FuzzParseDescriptor(f *testing.F) {
	f.Add([]byte(describe("plain", "/usr/share/OVMF/OVMF_CODE_4M.fd", "acpi-s3")))
	f.Add([]byte(`{"interface-types": ["bios"], "mapping": {"device": "memory", "filename": "/x"}, "targets": [{}]}`))
	f.Add([]byte(`{"interface-types": ["uefi"], "mapping": {"device": "flash", "mode": "combined", "executable": {"filename": "/x"}}, "targets": [{"machines": ["["]}]}`))
	f.Add([]byte(`[[[[{}]]]]`))
	m, err := machineFor("")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := parseDescriptor(data)
		if err != nil || !d.fits(m, "uefi") {
			return
		}
		fw := d.firmware(UEFI)
		for _, i := range []Image{fw.Code, fw.Vars} {
			if !filepath.IsAbs(i.Path) || strings.ContainsRune(i.Path, 0) || i.Format != "raw" && i.Format != "qcow2" {
				t.Errorf("accepted %+v", i)
			}
		}
	})
}
