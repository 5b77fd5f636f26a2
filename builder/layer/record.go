package layer

import (
	"bytes"
	"crypto/hmac"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/ingot-image/ingot/disk"
)

// version is that of the store's files. Another one is not read.
const version = 1

const (
	maxRecord = 4 << 20  // bytes of layer.json
	maxState  = 64 << 20 // bytes of state.json and of finished records
)

// head is the first line of each of the store's JSON files. The second line is what the file is about.
type head struct {
	Version int    `json:"version"`
	MAC     string `json:"mac"` // over the name of the file, its owner's name and the second line
}

// errInvalid is wrapped by the errors about files that are not what this package wrote, as opposed to ones that cannot be read.
var errInvalid = errors.New("not a file of this store")

// writeSealed writes v to dir/name, for the owner to read alone. It appears complete, but may be lost in a power failure: whoever reads it
// does without, then.
func (s *Store) writeSealed(dir, name, owner string, v any, limit int) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	first, err := json.Marshal(head{Version: version, MAC: s.seal(name, owner, body)})
	if err != nil {
		return err
	}
	if len(body) > limit {
		return fmt.Errorf("%s would be of %d bytes, more than %d", name, len(body), limit)
	}
	temp, err := os.CreateTemp(dir, "."+name+".*")
	if err != nil {
		return disk.ExplainSpace(err, dir, 0)
	}
	_, err = temp.Write(bytes.Join([][]byte{first, body, nil}, []byte("\n")))
	if err = errors.Join(err, temp.Close()); err == nil {
		err = os.Rename(temp.Name(), filepath.Join(dir, name))
	}
	if err != nil {
		os.Remove(temp.Name())
		return disk.ExplainSpace(err, dir, int64(len(body)))
	}
	return nil
}

func (s *Store) seal(name, owner string, body []byte) string {
	return s.Sum("sealed", name, owner, string(body))
}

// readSealed reads what writeSealed has written into v.
func (s *Store) readSealed(dir, name, owner string, v any, limit int) (os.FileInfo, error) {
	path := filepath.Join(dir, name)
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) {
		return nil, fmt.Errorf("%s: %w: a symbolic link", path, errInvalid)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > int64(limit)+1024 {
		return nil, fmt.Errorf("%s: %w: %s of %d bytes", path, errInvalid, info.Mode().Type(), info.Size())
	}
	data := make([]byte, info.Size())
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", path, errInvalid, err)
	}
	if err := s.unseal(data, name, owner, v); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", path, errInvalid, err)
	}
	return info, nil
}

func (s *Store) unseal(data []byte, name, owner string, v any) error {
	first, body, _ := bytes.Cut(data, []byte("\n"))
	var h head
	if err := json.Unmarshal(first, &h); err != nil {
		return err
	}
	if h.Version != version {
		return fmt.Errorf("version %d, this ingot knows %d", h.Version, version)
	}
	body = bytes.TrimSuffix(body, []byte("\n"))
	if !hmac.Equal([]byte(s.seal(name, owner, body)), []byte(h.MAC)) {
		return errors.New("was changed")
	}
	return json.Unmarshal(body, v)
}
