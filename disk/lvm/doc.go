// Package lvm reads logical volumes of LVM2 from a physical volume, with nothing but the volume's bytes: no device mapper, no root.
//
//	volumes, err := lvm.Volumes(ctx, image.Section(disk, partition))
//	…
//	for _, v := range volumes {
//		if v.Source == nil {
//			fmt.Println(v.Group+"/"+v.Name, "cannot be read:", v.Reason)
//			continue
//		}
//		// v.Source is what the kernel has as /dev/GROUP/NAME
//	}
//
// A volume is read where all of it lies on the one physical volume that is given, in linear or striped segments: that is what installers make
// on a disk. All others are named with the reason.
//
// # The format
//
// A physical volume has a label in one of its first four sectors, which leads to one or two metadata areas. Each is a ring of versions of a
// text, of which the header of the area names the current one. The text describes the whole volume group: its physical volumes, and the
// segments of each logical volume, in extents. The sources are lib/label/label.c, lib/format_text/layout.h, lib/format_text/format-text.c
// and lib/format_text/import_vsn1.c of LVM2, and vgcfgbackup(8) for the text.
//
// All of it is taken for hostile: checksums are verified, every size, count and depth is bounded, and a volume that leads out of the physical
// volume has a Reason and no Source.
package lvm

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/ingot-image/ingot/disk/image"
)

// Volume is a logical volume.
type Volume struct {
	Group string // name of the volume group
	Name  string
	UUID  string // as LVM writes it: 32 letters and digits in groups
	Size  int64  // in bytes
	// Source is the volume's content, nil if it cannot be read.
	Source image.Source
	// Reason is why the volume cannot be read, one clause; empty if it can.
	Reason string
	// Missing is the UUID of another physical volume that a part of it lies on, if that is the reason.
	Missing string
}

// ErrNoLabel says that a disk is no physical volume of LVM2.
var ErrNoLabel = errors.New("no label of an LVM2 physical volume")

// Probe tells whether a disk has the label of a physical volume.
func Probe(src image.Source) bool {
	_, err := readLabel(src)
	return err == nil
}

// Volumes lists the logical volumes of the group that a physical volume belongs to, in the order of the metadata, without those that LVM
// hides. A physical volume of no group has none. The error wraps [ErrNoLabel] if src is no physical volume; else it says what is damaged.
func Volumes(ctx context.Context, src image.Source) ([]Volume, error) {
	volumes, err := volumes(ctx, src)
	if err != nil {
		return nil, fmt.Errorf("read lvm volumes: %w", err)
	}
	return volumes, nil
}

func volumes(ctx context.Context, src image.Source) ([]Volume, error) {
	l, err := readLabel(src)
	if err != nil {
		return nil, err
	}
	if len(l.metadata) == 0 {
		return nil, errors.New("this physical volume holds no metadata: it is on the others of its group")
	}
	var newest *group
	var damage error // the first
	for _, area := range l.metadata {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		text, err := readMetadata(src, area)
		if err != nil {
			damage = cmp.Or(damage, err)
			continue
		}
		if text == nil {
			continue
		}
		g, err := parseGroup(text)
		if err != nil {
			damage = cmp.Or(damage, err)
			continue
		}
		if newest == nil || g.seqno > newest.seqno {
			newest = g
		}
	}
	if newest == nil {
		return nil, damage // nil for a physical volume of no group
	}
	return newest.volumes(src, l.uuid)
}
