package inspect

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"time"

	"modernc.org/sqlite"
	"modernc.org/sqlite/vfs"
)

// Bounds of rpm's databases.
const (
	maxRPMHeader   = 16 << 20
	maxRPMDatabase = 4 << 30
	rpmTime        = 20 * time.Second

	sqliteLimitLength = 0 // SQLITE_LIMIT_LENGTH: sqlite.org/c3ref/c_limit_attached.html
)

// rpmHeader reads a package's header as the databases have it: the number of entries and the bytes of data, the entries (tag, type, offset, count),
// the data. All is big-endian. rpm, docs/manual/hregions.md and lib/header.c.
func rpmHeader(b []byte) (Package, error) {
	damaged := errors.New("a header is damaged")
	if len(b) < 8 {
		return Package{}, damaged
	}
	be := binary.BigEndian
	count, size := int64(be.Uint32(b)), int64(be.Uint32(b[4:]))
	if count > 1<<16 || 8+count*16+size > int64(len(b)) {
		return Package{}, damaged
	}
	entries, data := b[8:8+count*16], b[8+count*16:8+count*16+size]
	var p Package
	var version, release, epoch string
	for ; len(entries) >= 16; entries = entries[16:] {
		tag, kind, at := be.Uint32(entries), be.Uint32(entries[4:]), int64(be.Uint32(entries[8:]))
		if tag < 1000 || tag > 1022 || at >= int64(len(data)) {
			continue
		}
		value := ""
		switch {
		case kind == 6: // a string
			text, _, _ := bytes.Cut(data[at:], []byte{0})
			value = printable(string(text[:min(len(text), 4096)]))
		case kind == 4 && at+4 <= int64(len(data)):
			value = strconv.FormatUint(uint64(be.Uint32(data[at:])), 10)
		}
		switch tag { // rpmtag.h
		case 1000:
			p.Name = value
		case 1001:
			version = value
		case 1002:
			release = value
		case 1003:
			epoch = value
		case 1022:
			p.Architecture = value
		}
	}
	p.Version = version + "-" + release
	if epoch != "" && epoch != "0" {
		p.Version = epoch + ":" + p.Version
	}
	return p, nil
}

// rpmSQLite reads the database of rpm 4.16 and later. It is opened where it is, read-only, and its schema is not trusted.
func rpmSQLite(ctx context.Context, r *Root, name string, f func([]byte) error) (err error) {
	registered, files, err := vfs.New(r)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, files.Close()) }()
	db, err := sql.Open("sqlite", "file:"+name+"?vfs="+registered+"&mode=ro&immutable=1&_pragma=trusted_schema(0)&_pragma=cell_size_check(1)")
	if err != nil {
		return err
	}
	defer db.Close()
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	// No value may be longer than a header: one that is computed could be 1 GB long.
	if _, err := sqlite.Limit(conn, sqliteLimitLength, maxRPMHeader+1<<20); err != nil {
		return err
	}
	var kind string
	if err := conn.QueryRowContext(ctx, "SELECT type FROM sqlite_master WHERE name = 'Packages' AND sql NOT LIKE '%VIRTUAL%'").Scan(&kind); err != nil || kind != "table" {
		return errors.Join(errors.New("the database holds no table of packages"), err)
	}
	var computed, leftOut int
	if err := conn.QueryRowContext(ctx, "SELECT count(*) FROM pragma_table_xinfo('Packages') WHERE hidden <> 0").Scan(&computed); err != nil {
		return err
	}
	if computed > 0 {
		return errors.New("the database computes what should be stored in it")
	}
	if err := conn.QueryRowContext(ctx, "SELECT count(*) FROM Packages WHERE coalesce(length(blob) > ?, 1)", maxRPMHeader).Scan(&leftOut); err != nil {
		return err
	}
	rows, err := conn.QueryContext(ctx, "SELECT blob FROM Packages WHERE length(blob) <= ?", maxRPMHeader)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var header sql.RawBytes
		if err := rows.Scan(&header); err != nil {
			return err
		}
		if err := f(header); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil || leftOut == 0 {
		return err
	}
	return fmt.Errorf("headers that are too large are left out: %d", leftOut)
}

// openRPM opens a database that is read here.
func openRPM(r *Root, name string) (io.ReaderAt, int64, io.Closer, error) {
	file, err := r.Open(name)
	if err != nil {
		return nil, 0, nil, err
	}
	st, err := file.Stat()
	if err == nil && st.Size() > maxRPMDatabase {
		err = fmt.Errorf("%d bytes long", st.Size())
	}
	at, ok := file.(io.ReaderAt)
	if err == nil && !ok {
		err = fmt.Errorf("%s cannot be read from anywhere", path.Base(name))
	}
	if err != nil {
		file.Close()
		return nil, 0, nil, err
	}
	return at, st.Size(), file, nil
}

// rpmNDB reads the database of SUSE's rpm: lib/backend/ndb/rpmpkg.c. Slots, after a header, tell where the packages are in units of 16 bytes.
func rpmNDB(ctx context.Context, r *Root, name string, f func([]byte) error) error {
	at, size, closer, err := openRPM(r, name)
	if err != nil {
		return err
	}
	defer closer.Close()
	le := binary.LittleEndian
	head := make([]byte, 32)
	if err := readAt(at, head, 0); err != nil {
		return err
	}
	pages := int64(le.Uint32(head[12:]))
	if string(head[:4]) != "RpmP" || le.Uint32(head[4:]) != 0 || pages == 0 || pages > 2048 || pages*4096 > size {
		return errors.New("the database is damaged")
	}
	slots := make([]byte, pages*4096-32)
	if err := readAt(at, slots, 32); err != nil {
		return err
	}
	left := size // the packages lie apart from each other
	for ; len(slots) >= 16; slots = slots[16:] {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		index, off := le.Uint32(slots[4:]), int64(le.Uint32(slots[8:]))*16
		if string(slots[:4]) != "Slot" || index == 0 {
			continue
		}
		blob := make([]byte, 16)
		if err := readAt(at, blob, off); err != nil {
			return err
		}
		length := int64(le.Uint32(blob[12:]))
		if string(blob[:4]) != "BlbS" || le.Uint32(blob[4:]) != index || length > maxRPMHeader || off+16+length > size || length > left {
			return errors.New("the database is damaged")
		}
		left -= length
		header := make([]byte, length)
		if err := readAt(at, header, off+16); err != nil {
			return err
		}
		if err := f(header); err != nil {
			return err
		}
	}
	return nil
}

// rpmBDB reads the database of rpm before 4.16, a hash of Berkeley DB: src/dbinc/db_page.h there. Keys and values alternate on its pages; the
// packages are values that lie on pages of their own.
func rpmBDB(ctx context.Context, r *Root, name string, f func([]byte) error) error {
	at, size, closer, err := openRPM(r, name)
	if err != nil {
		return err
	}
	defer closer.Close()
	meta := make([]byte, 512)
	if err := readAt(at, meta, 0); err != nil {
		return err
	}
	var order binary.ByteOrder = binary.LittleEndian
	if order.Uint32(meta[12:]) != 0x00061561 {
		order = binary.BigEndian
	}
	pageSize := int64(order.Uint32(meta[20:]))
	if order.Uint32(meta[12:]) != 0x00061561 || pageSize < 512 || pageSize > 64<<10 || pageSize&(pageSize-1) != 0 || meta[24] != 0 {
		return errors.New("the database is no hash of Berkeley DB, or encrypted")
	}
	last := min(int64(order.Uint32(meta[32:])), size/pageSize-1)
	pages := overflowPages{at, order, pageSize, last, last}
	page := make([]byte, pageSize)
	for n := int64(1); n <= last; n++ {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := readAt(at, page, n*pageSize); err != nil {
			return err
		}
		if page[25] != 2 && page[25] != 13 { // hash pages, unsorted and sorted
			continue
		}
		entries := int(order.Uint16(page[20:]))
		for i := 1; i < entries && 26+2*i+2 <= len(page); i += 2 {
			item := int64(order.Uint16(page[26+2*i:]))
			if item+12 > pageSize || page[item] != 3 { // on pages of its own
				continue
			}
			header, err := pages.value(int64(order.Uint32(page[item+4:])), int64(order.Uint32(page[item+8:])))
			if err != nil {
				return err
			}
			if err := f(header); err != nil {
				return err
			}
		}
	}
	return nil
}

// overflowPages are the pages of a database of Berkeley DB that hold values. Each belongs to one value only.
type overflowPages struct {
	at             io.ReaderAt
	order          binary.ByteOrder
	pageSize, last int64
	left           int64 // pages that have not been read, if none was read twice
}

// value reads a value from its pages.
func (o *overflowPages) value(next, length int64) ([]byte, error) {
	damaged := errors.New("the database is damaged")
	if length > maxRPMHeader || length > o.left*o.pageSize {
		return nil, damaged
	}
	out := make([]byte, 0, length)
	page := make([]byte, o.pageSize)
	for int64(len(out)) < length {
		if o.left--; next < 1 || next > o.last || o.left < 0 {
			return nil, damaged
		}
		if err := readAt(o.at, page, next*o.pageSize); err != nil {
			return nil, err
		}
		n := min(int64(o.order.Uint16(page[22:])), o.pageSize-26, length-int64(len(out)))
		if page[25] != 7 || n == 0 {
			return nil, damaged
		}
		out = append(out, page[26:26+n]...)
		next = int64(o.order.Uint32(page[16:]))
	}
	return out, nil
}
