package preflight

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// oneMenu wants one GRUB menu: AWS reads it to find the default kernel, and does not choose between two.
func oneMenu() Check {
	return Check{
		ID: "C01", Title: "there is exactly one grub.cfg, grub.conf or menu.lst with content", Needs: NeedSystem,
		Looks:       "/boot/grub, /boot/grub2, and all of the folder EFI on EFI system partitions",
		Levels:      Levels{ImportImage: Fatal, ImportSnapshot: Warning, EBSDirect: Warning},
		Prevents:    "ClientError: Multiple different grub/menu.lst files found.",
		Fix:         "remove the menus that the boot loader does not read, and write the other anew: update-grub",
		NoComponent: "which of the menus is read depends on how the machine is booted",
		look: func(_ context.Context, t *Target) ([]Seen, error) {
			var menus []string
			seen := map[string]bool{}
			for _, c := range t.Report.Boot.Configs {
				// What is on the EFI system partition is looked at there, wherever it is mounted.
				if c.Kind != "grub" && c.Kind != "grub-legacy" || strings.HasPrefix(c.Path, "/boot/efi/") || seen[c.Path] {
					continue
				}
				name := strings.TrimPrefix(c.Path, "/")
				if st, err := t.Root.Lstat(path.Dir(name)); err == nil && st.Mode()&fs.ModeSymlink != 0 { // /boot/grub may lead to /boot/grub2
					continue
				}
				if seen[c.Path] = true; c.Entries > 0 || t.usesEntries(name) {
					menus = append(menus, c.Path)
				}
			}
			for _, v := range t.Report.FileSystems {
				if v.Type != "vfat" || v.FS == nil {
					continue
				}
				found, err := menusIn(v.FS)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", v.Device, err)
				}
				for _, name := range found {
					menus = append(menus, fmt.Sprintf("%s in %s", name, v.Device))
				}
			}
			switch len(menus) {
			case 0:
				return []Seen{{Where: "/boot", What: "no menu of GRUB with an entry", Prevents: "ClientError: Unable to determine kernel version", Fix: "install GRUB and write its menu: grub-install, update-grub"}}, nil
			case 1:
				return nil, nil
			}
			return []Seen{{Where: strings.Join(menus, ", "), What: fmt.Sprintf("%d menus", len(menus))}}, nil
		},
	}
}

// usesEntries tells whether a menu takes its entries from files: Boot Loader Specification.
func (t *Target) usesEntries(name string) bool {
	b, err := t.Root.ReadFile(name)
	return err == nil && strings.Contains(string(b), "blscfg")
}

// menusIn finds menus of GRUB with entries in the folder EFI of an EFI system partition. Those that only lead to another one have none.
func menusIn(esp fs.FS) ([]string, error) {
	var menus []string
	const most = 1 << 20 // bytes of a menu
	n := 0
	err := fs.WalkDir(esp, "EFI", func(name string, d fs.DirEntry, err error) error {
		if n++; n > 2048 {
			return fs.SkipAll
		}
		if err != nil || d.IsDir() || !strings.EqualFold(d.Name(), "grub.cfg") && !strings.EqualFold(d.Name(), "grub.conf") {
			return err
		}
		if st, err := d.Info(); err != nil || st.Size() > most {
			return err
		}
		b, err := fs.ReadFile(esp, name)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(b)) {
			if word, _, _ := strings.Cut(strings.TrimSpace(line), " "); word == "menuentry" || word == "blscfg" {
				menus = append(menus, name)
				break
			}
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return menus, err
}
