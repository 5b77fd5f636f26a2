package base

import (
	"context"
	"errors"
	"net/http"

	"github.com/ingot-image/ingot/disk"
)

// Store is a folder of bases. Any number of processes may use it at once. The zero values of the other fields are good defaults.
type Store struct {
	// Dir is the folder, "$INGOT_HOME/bases". It is made when needed.
	Dir string
	// Mirror is the URI of a Debian mirror to bootstrap from. Empty: the machine's own apt sources.
	Mirror string
	// DiskSize is the virtual size in bytes of a bootstrapped disk; default 4 GiB.
	DiskSize int64
	// Limits bounds what parent image files may be.
	Limits disk.Limits
	// DownloadLimit bounds the length of a download in bytes; default 64 GiB.
	DownloadLimit int64
	// Client downloads; default: a client that refuses to leave https.
	Client *http.Client
}

// Plan tells what Get would do, without doing it. For a file it reads the whole file to compute its digest.
func (s *Store) Plan(ctx context.Context, src Source) (*Plan, error) {
	return nil, errors.New("not written yet")
}

// Get returns the base of a source, making it first when the store does not have it.
func (s *Store) Get(ctx context.Context, src Source, progress Progress) (*Base, error) {
	return nil, errors.New("not written yet")
}
