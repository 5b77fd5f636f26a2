package layer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Of finished images as many are remembered as are among the latest finishedMost, and were asked for in the last finishedAge.
const (
	finishedMost = 1000
	finishedAge  = 90 * 24 * time.Hour
)

// Finished gives what SetFinished has remembered under a key, which is a digest of all that decides a finished image ([Store.Sum]). Whether
// the image's files are still there is for the caller to see.
func (s *Store) Finished(key string) (json.RawMessage, bool) {
	var record json.RawMessage
	name := s.finishedName(key)
	if _, err := s.readSealed(filepath.Join(s.dir, finishedName), name, key, &record, maxState); err != nil {
		return nil, false
	}
	now := s.o.Now()
	os.Chtimes(filepath.Join(s.dir, finishedName, name), time.Time{}, now)
	return record, true
}

// SetFinished remembers a record of a finished image under a key, in place of an older one.
func (s *Store) SetFinished(key string, record json.RawMessage) error {
	dir := filepath.Join(s.dir, finishedName)
	err := os.Mkdir(dir, 0o700)
	if err == nil || errors.Is(err, fs.ErrExist) {
		err = s.writeSealed(dir, s.finishedName(key), key, record, maxState)
	}
	if err != nil {
		return fmt.Errorf("remember a finished image: %w", err)
	}
	s.forgetFinished(finishedAge)
	return nil
}

// finishedName is that of a record's file.
func (s *Store) finishedName(key string) string {
	return strings.TrimPrefix(s.Sum("finished", key), "hmac:") + ".json"
}

// forgetFinished removes records that were not asked for since an age, or are too many. It does what it can.
func (s *Store) forgetFinished(age time.Duration) {
	dir := filepath.Join(s.dir, finishedName)
	entries, _ := os.ReadDir(dir)
	type file struct {
		path string
		used time.Time
	}
	var files []file
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			files = append(files, file{filepath.Join(dir, e.Name()), info.ModTime()})
		}
	}
	slices.SortFunc(files, func(a, b file) int { return b.used.Compare(a.used) })
	now := s.o.Now()
	for i, f := range files {
		if i >= finishedMost || now.Sub(f.used) > age {
			os.Remove(f.path)
		}
	}
}
