package layer

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ingot-image/ingot/disk"
)

// Options of a store. The zero value is a good default.
type Options struct {
	// MaxSize is the budget in bytes. 0: a tenth of the free disk (with what the store takes already), at least 10 GiB.
	MaxSize int64
	// Reserve is how many bytes of the file system are left free for others. 0: 1 GiB.
	Reserve int64
	// Making, if given, is told of the folder of each draft. A caller that may be killed can see to it that somebody removes the folder
	// then; without that, it stays until the next Begin or Prune.
	Making func(dir string) error
	// Pinned, if given, tells the IDs of layers, or the names of their folders, whose disks somebody else needs: a kept VM lies on them. It must
	// name all layers of a chain.
	Pinned func() map[string]bool
	// Now is the clock; default time.Now.
	Now func() time.Time
	// Free tells how many bytes are free in a folder's file system; default: statfs(2).
	Free func(dir string) (int64, error)
}

func (o Options) withDefaults() Options {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Free == nil {
		o.Free = free
	}
	if o.Pinned == nil {
		o.Pinned = func() map[string]bool { return nil }
	}
	if o.Reserve <= 0 {
		o.Reserve = defaultReserve
	}
	return o
}

// Store is a folder of layers. Its methods may be called by any number of goroutines and processes at once.
type Store struct {
	dir    string
	o      Options
	secret []byte
}

const (
	lockName       = "lock"
	secretName     = "secret"
	finishedName   = "finished"
	makingSuffix   = ".making"
	goneSuffix     = ".gone"
	secretSize     = 32 // bytes
	defaultReserve = 1 << 30
	defaultMinimum = 10 << 30
)

// Open opens the store in a folder, which is made when needed.
func Open(dir string, o Options) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open the store of layers: %w", err)
	}
	s := &Store{dir: dir, o: o.withDefaults()}
	// What was in a guest's memory is nobody else's business.
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open the store of layers: %w", err)
	}
	if s.secret, err = s.readSecret(); err != nil {
		return nil, fmt.Errorf("open the store of layers: %w", err)
	}
	return s, nil
}

// readSecret reads the store's key, making it the first time, and again if it is damaged: then all layers are of another store.
func (s *Store) readSecret() ([]byte, error) {
	path := filepath.Join(s.dir, secretName)
	if secret := parseSecret(path); secret != nil {
		return secret, nil
	}
	unlock, err := s.lock(context.Background(), unix.LOCK_EX)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if secret := parseSecret(path); secret != nil {
		return secret, nil
	}
	secret := make([]byte, secretSize)
	rand.Read(secret)
	f, err := disk.Create(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := f.Chmod(0o600); err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintf(f, "%x\n", secret); err != nil {
		return nil, disk.ExplainSpace(err, s.dir, 0)
	}
	return secret, disk.ExplainSpace(f.Commit(), s.dir, 0)
}

func parseSecret(path string) []byte {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	secret, err := hex.DecodeString(string(bytes.TrimSpace(data)))
	if err != nil || len(secret) != secretSize {
		return nil
	}
	return secret
}

// MAC gives a new HMAC-SHA256 under the store's secret key, for digests of what must not be guessed from them, such as secret parameters.
func (s *Store) MAC() hash.Hash { return hmac.New(sha256.New, s.secret) }

// Sum is the MAC of some texts, as "hmac:" and 64 hexadecimal digits. Texts that are divided otherwise have another one.
func (s *Store) Sum(parts ...string) string {
	mac := s.MAC()
	for _, part := range parts {
		binary.Write(mac, binary.BigEndian, uint64(len(part)))
		mac.Write([]byte(part))
	}
	return "hmac:" + hex.EncodeToString(mac.Sum(nil))
}

func free(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(st.Bavail) * st.Bsize, nil
}

func randomID() string {
	data := make([]byte, 6)
	rand.Read(data)
	return hex.EncodeToString(data)
}
