package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// Of extended attributes: Linux Documentation/filesystems/ext4/attributes.rst.
const (
	extXattrMagic  = 0xea020000
	extXattrHeader = 32      // bytes, of a block of attributes; within an inode there is the magic number alone
	extMaxXattr    = 1 << 16 // bytes, XATTR_SIZE_MAX of Linux
)

// extXattrPrefix is what a name's index stands for.
func extXattrPrefix(index byte) string {
	switch index {
	case 1:
		return "user."
	case 2:
		return "system.posix_acl_access"
	case 3:
		return "system.posix_acl_default"
	case 4:
		return "trusted."
	case 6:
		return "security."
	case 7:
		return "system."
	}
	return ""
}

// Xattr reads an extended attribute, such as "security.selinux", of a file, a folder or a link itself. The error wraps [fs.ErrNotExist] if it has none of that
// name, and [errors.ErrUnsupported] if its value has an inode of its own.
func (e *Ext) Xattr(name, attr string) ([]byte, error) {
	i, err := e.find("xattr", name, false)
	if err != nil {
		return nil, err
	}
	value, err := i.xattr(attr)
	if err != nil {
		return nil, &fs.PathError{Op: "xattr", Path: name, Err: err}
	}
	return value, nil
}

func (i *extInode) xattr(attr string) ([]byte, error) {
	le := binary.LittleEndian
	if b := i.inside; len(b) >= 4 && le.Uint32(b) == extXattrMagic {
		if v, err := findXattr(b[4:], b[4:], attr); v != nil || err != nil {
			return v, err
		}
	}
	if i.acl == 0 {
		return nil, fmt.Errorf("extended attribute %s: %w", attr, fs.ErrNotExist)
	}
	b, err := i.fs.block(i.acl)
	if err != nil {
		return nil, fmt.Errorf("extended attributes: %w", err)
	}
	if le.Uint32(b) != extXattrMagic {
		return nil, fmt.Errorf("block %d holds no extended attributes", i.acl)
	}
	v, err := findXattr(b[extXattrHeader:], b, attr)
	if v == nil && err == nil {
		err = fmt.Errorf("extended attribute %s: %w", attr, fs.ErrNotExist)
	}
	return v, err
}

// findXattr looks for an attribute in entries, whose values are in area. It is nil if there is none of the name.
func findXattr(entries, area []byte, attr string) ([]byte, error) {
	le := binary.LittleEndian
	for len(entries) >= 4 && le.Uint32(entries) != 0 {
		if len(entries) < 16 || len(entries) < 16+int(entries[0]) {
			return nil, errors.New("extended attributes are cut off")
		}
		length := int(entries[0])
		prefix := extXattrPrefix(entries[1])
		rest, ok := strings.CutPrefix(attr, prefix)
		if ok && prefix != "" && rest == string(entries[16:16+length]) {
			off, size := int64(le.Uint16(entries[2:])), int64(le.Uint32(entries[8:]))
			switch {
			case le.Uint32(entries[4:]) != 0:
				return nil, fmt.Errorf("extended attribute %s in an inode of its own: %w", attr, errors.ErrUnsupported)
			case size > extMaxXattr || off+size > int64(len(area)):
				return nil, fmt.Errorf("extended attribute %s of %d bytes lies outside its place", attr, size)
			}
			return append([]byte{}, area[off:off+size]...), nil
		}
		entries = entries[min(len(entries), (16+length+3)&^3):]
	}
	return nil, nil
}
