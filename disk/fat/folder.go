package fat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sort"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/ingot-image/ingot/disk/internal/folder"
)

// Entries of folders: FAT section 6.
const (
	entrySize    = 32
	attrReadOnly = 0x01
	attrVolume   = 0x08
	attrFolder   = 0x10
	attrLong     = 0x0f // of an entry that holds a piece of a long name
)

// entry is a file or a folder. It is its own fs.FileInfo and fs.DirEntry.
type entry struct {
	fs         *FS
	name       string
	short      [11]byte
	attributes byte
	cluster    uint32 // first one; 0 for empty files
	size       int64
	modified   time.Time
	isRoot     bool
}

func (e *entry) Name() string               { return e.name }
func (e *entry) Size() int64                { return e.size }
func (e *entry) ModTime() time.Time         { return e.modified }
func (e *entry) IsDir() bool                { return e.attributes&attrFolder != 0 }
func (e *entry) Sys() any                   { return nil }
func (e *entry) Type() fs.FileMode          { return e.Mode().Type() }
func (e *entry) Info() (fs.FileInfo, error) { return e, nil }

// Mode is what Linux shows: all is readable, folders can be entered.
func (e *entry) Mode() fs.FileMode {
	mode := fs.FileMode(0o644)
	if e.IsDir() {
		mode = fs.ModeDir | 0o755
	}
	if e.attributes&attrReadOnly != 0 {
		mode &^= 0o222
	}
	return mode
}

func (f *FS) root() *entry {
	return &entry{fs: f, name: ".", attributes: attrFolder, cluster: f.rootCluster, isRoot: true}
}

// folderBytes reads all entries of a folder.
func (f *FS) folderBytes(e *entry) ([]byte, error) {
	if e.isRoot && f.bits != 32 {
		b := make([]byte, f.rootSize)
		return b, readAt(f.r, b, f.rootDir)
	}
	runs, err := f.chain(e.cluster, -1)
	if err != nil {
		return nil, err
	}
	n := int64(0)
	for _, r := range runs {
		n += int64(r.count) * f.clusterSize
	}
	b := make([]byte, n)
	return b, (&content{f, runs, n}).readFull(b)
}

// scan calls g for every entry of a folder, the volume's label among them, until it returns false. Entries without a usable name are left out.
func (f *FS) scan(folder *entry, g func(*entry) bool) error {
	b, err := f.folderBytes(folder)
	if err != nil {
		return fmt.Errorf("read folder: %w", err)
	}
	var long longName
	for ; len(b) >= entrySize && b[0] != 0; b = b[entrySize:] {
		switch {
		case b[0] == 0xe5: // deleted
			long = longName{}
		case b[11]&0x3f == attrLong:
			long.add(b)
		default:
			e := f.parse(b, &long)
			long = longName{}
			if e != nil && !g(e) {
				return nil
			}
		}
	}
	return nil
}

func (f *FS) parse(b []byte, long *longName) *entry {
	le := binary.LittleEndian
	e := &entry{fs: f, attributes: b[11], cluster: uint32(le.Uint16(b[26:])), size: int64(le.Uint32(b[28:])), modified: dosTime(le.Uint16(b[24:]), le.Uint16(b[22:]))}
	copy(e.short[:], b)
	if f.bits == 32 {
		e.cluster |= uint32(le.Uint16(b[20:])) << 16 & 0xfffffff
	}
	if e.attributes&(attrVolume|attrFolder) == attrVolume {
		return e
	}
	if e.IsDir() {
		e.size = 0
	}
	name, ok := long.text(e.short)
	if !ok || !usable(name) {
		name = shortName(e.short, b[12])
	}
	if !usable(name) { // "." and ".." as well
		return nil
	}
	e.name = name
	return e
}

func usable(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsAny(name, "/\x00") && fs.ValidPath(name)
}

// shortName is a name of 8 and 3 characters. Bits 3 and 4 of what FAT calls reserved say that a part is in lower case, as Windows NT does.
func shortName(b [11]byte, lower byte) string {
	if b[0] == 0x05 {
		b[0] = 0xe5
	}
	base, extension := labelText(b[:8]), labelText(b[8:])
	if lower&0x08 != 0 {
		base = strings.ToLower(base)
	}
	if lower&0x10 != 0 {
		extension = strings.ToLower(extension)
	}
	if extension == "" {
		return base
	}
	return base + "." + extension
}

// longName puts the pieces of a long name together: FAT section 7. They stand before the short name, the last one first.
type longName struct {
	units    []uint16
	expect   int // number of the next piece
	checksum byte
	started  bool
}

func (l *longName) add(b []byte) {
	n := int(b[0] & 0x3f)
	if b[0]&0x40 != 0 {
		*l = longName{expect: n, checksum: b[13], started: true}
	}
	if !l.started || n == 0 || n > 20 || n != l.expect || b[13] != l.checksum {
		*l = longName{}
		return
	}
	piece := make([]uint16, 0, 13)
	for _, at := range []int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30} {
		piece = append(piece, binary.LittleEndian.Uint16(b[at:]))
	}
	l.units = append(piece, l.units...)
	l.expect--
}

// text is the name if the pieces are complete and belong to this short name.
func (l *longName) text(short [11]byte) (string, bool) {
	if !l.started || l.expect != 0 {
		return "", false
	}
	sum := byte(0)
	for _, c := range short {
		sum = sum<<7 + sum>>1 + c
	}
	if sum != l.checksum {
		return "", false
	}
	units := l.units
	for i, u := range units {
		if u == 0 {
			units = units[:i]
			break
		}
	}
	return string(utf16.Decode(units)), true
}

// dosTime is local time of nobody knows where: taken as UTC.
func dosTime(date, clock uint16) time.Time {
	if date == 0 {
		return time.Time{}
	}
	return time.Date(1980+int(date>>9), time.Month(date>>5&15), int(date&31), int(clock>>11), int(clock>>5&63), int(clock&31)*2, 0, time.UTC)
}

// find follows a path.
func (f *FS) find(op, name string) (*entry, error) {
	fail := func(err error) (*entry, error) { return nil, &fs.PathError{Op: op, Path: name, Err: err} }
	if !fs.ValidPath(name) {
		return fail(fs.ErrInvalid)
	}
	at := f.root()
	if name == "." {
		return at, nil
	}
	elements := strings.Split(name, "/")
	if len(elements) > maxElements {
		return fail(fmt.Errorf("more than %d folders in one another", maxElements))
	}
	above := map[uint32]bool{at.cluster: true}
	for _, element := range elements {
		if !at.IsDir() {
			return fail(errors.New("not a directory"))
		}
		var found *entry
		err := f.scan(at, func(e *entry) bool {
			if e.attributes&(attrVolume|attrFolder) == attrVolume {
				return true
			}
			if strings.EqualFold(e.name, element) || strings.EqualFold(shortName(e.short, 0), element) {
				found = e
			}
			return found == nil
		})
		switch {
		case err != nil:
			return fail(err)
		case found == nil:
			return fail(fs.ErrNotExist)
		case found.IsDir() && above[found.cluster]:
			return fail(errors.New("the folder holds itself"))
		}
		above[found.cluster] = found.IsDir()
		at = found
	}
	return at, nil
}

// Stat describes a file or a folder.
func (f *FS) Stat(name string) (fs.FileInfo, error) {
	e, err := f.find("stat", name)
	if err != nil {
		return nil, err
	}
	return e, nil
}

// Lstat is Stat: there are no symbolic links.
func (f *FS) Lstat(name string) (fs.FileInfo, error) { return f.Stat(name) }

// ReadLink always fails: there are no symbolic links.
func (f *FS) ReadLink(name string) (string, error) {
	if _, err := f.find("readlink", name); err != nil {
		return "", err
	}
	return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
}

// ReadDir lists a folder, sorted by name.
func (f *FS) ReadDir(name string) ([]fs.DirEntry, error) {
	e, err := f.find("readdir", name)
	if err != nil {
		return nil, err
	}
	return e.list("readdir", name)
}

func (e *entry) list(op, name string) ([]fs.DirEntry, error) {
	if !e.IsDir() {
		return nil, &fs.PathError{Op: op, Path: name, Err: errors.New("not a directory")}
	}
	var out []fs.DirEntry
	err := e.fs.scan(e, func(e *entry) bool {
		if e.attributes&(attrVolume|attrFolder) != attrVolume {
			out = append(out, e)
		}
		return true
	})
	if err != nil {
		return nil, &fs.PathError{Op: op, Path: name, Err: err}
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].Name() < out[j].Name() })
	return out, nil
}

// Open opens a file or a folder for reading. The files also are [io.ReaderAt]s and [io.Seeker]s.
func (f *FS) Open(name string) (fs.File, error) {
	e, err := f.find("open", name)
	if err != nil {
		return nil, err
	}
	e.name = path.Base(name)
	if e.IsDir() {
		entries, err := e.list("open", name)
		if err != nil {
			return nil, err
		}
		return folder.Open(e, entries), nil
	}
	file, err := f.open(e)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return file, nil
}

// ReadFile reads a whole file of at most 64 MiB.
func (f *FS) ReadFile(name string) ([]byte, error) {
	e, err := f.find("read", name)
	if err != nil {
		return nil, err
	}
	b, err := f.readFile(e)
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	return b, nil
}
