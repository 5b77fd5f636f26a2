// Package record keeps what a distribution has done so far, so that the same command goes on after a crash, a cut connection or a day:
// uploads' ids and parts, tasks, snapshots, images. It is a folder with one JSON file for each key, each replaced by rename and flushed before Put returns.
//
//	book, err := record.Open(folder) // ErrBusy: another process works on the same
//	defer book.Close()
//	var task string
//	if found, err := book.Get("import-task", &task); err == nil && !found {
//		task = start()
//		err = book.Put("import-task", task)
//	}
//
// Nothing secret belongs in it.
package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrBusy says that another process has the record open.
var ErrBusy = errors.New("another process is at it")

// MaxSize is how long a value may be, in bytes of JSON.
const MaxSize = 64 << 20

// Book is an open record. It may be used by several goroutines, each with keys of its own.
type Book struct {
	dir  string
	lock *os.File
}

// Open opens the record in a folder, which is made if it is missing (mode 0700). The error is ErrBusy while another process has it open.
func Open(dir string) (*Book, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open record: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open record: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("open record %s: %w", dir, ErrBusy)
		}
		return nil, fmt.Errorf("open record %s: %w", dir, err)
	}
	b := &Book{dir: dir, lock: f}
	if err := b.sweep(); err != nil {
		return nil, errors.Join(fmt.Errorf("open record %s: %w", dir, err), f.Close())
	}
	return b, nil
}

// newFiles begins the names of files that Put has not finished.
const newFiles = ".new-"

// sweep removes what a process that was killed while it wrote has left: nobody else has the record open.
func (b *Book) sweep() error {
	entries, err := os.ReadDir(b.dir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), newFiles) {
			err = errors.Join(err, os.Remove(filepath.Join(b.dir, e.Name())))
		}
	}
	return err
}

// Close lets others open the record.
func (b *Book) Close() error { return b.lock.Close() }

// Get reads a key's value into v, which json.Unmarshal takes. It tells whether there is one.
func (b *Book) Get(key string, v any) (bool, error) {
	f, err := os.Open(b.file(key))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read record: %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() > MaxSize {
		return false, fmt.Errorf("read record %s: longer than %d bytes, or unreadable (%v)", f.Name(), MaxSize, err)
	}
	if err := json.NewDecoder(f).Decode(v); err != nil {
		return false, fmt.Errorf("read record %s: %w", f.Name(), err)
	}
	return true, nil
}

// Put stores a value under a key. It is on the disk when Put returns.
func (b *Book) Put(key string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	f, err := os.CreateTemp(b.dir, newFiles+"*")
	if err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), b.file(key))
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("write record: %w", err)
	}
	if err := syncFolder(b.dir); err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	return nil
}

// syncFolder puts a folder's names on the disk.
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// Delete forgets a key. One that is not there is no error.
func (b *Book) Delete(key string) error {
	if err := os.Remove(b.file(key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget record: %w", err)
	}
	return nil
}

// file is a key's file: its bytes other than letters, digits and dashes are written as _HEX.
func (b *Book) file(key string) string {
	var s strings.Builder
	for _, c := range []byte(key) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' {
			s.WriteByte(c)
		} else {
			fmt.Fprintf(&s, "_%02x", c)
		}
	}
	return filepath.Join(b.dir, s.String()+".json")
}
