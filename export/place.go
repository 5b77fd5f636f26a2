package export

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ingot-image/ingot/export/distribution"
)

// Place is somewhere on premises that images are brought to: a folder, a bucket of any maker, a web server, a storage pool of libvirt.
//
// Deliver brings the files, then a checksum file that sha256sum -c reads, then the manifest, so that what has a manifest is complete. What is there already
// is left, so that a second call does only what is missing. Progress is told bytes, those that are there already included, one call at a time.
type Place interface {
	Deliver(ctx context.Context, d Delivery, progress func(done, total int64)) (*Delivered, error)
}

// Delivery is an image on its way.
type Delivery struct {
	Name, Version string // Version with its build: "1.0.3/2"
	Files         []File
	Manifest      []byte // none for a disk that Ingot did not build
	ManifestName  string // NAME-VERSION-BUILD.json
}

// File is a file of an image.
type File struct {
	Path   string // where it is now
	Name   string // that it gets
	SHA256 string // HEX
	Size   int64
}

// Delivered tells where an image is now.
type Delivered struct {
	Files    []string // paths or URLs, in the order of delivery
	Skipped  bool     // all of them were there already
	Warnings []string // what did not work and harms no file
}

// Record keeps what a delivery has done between processes: see package record.
type Record interface {
	Get(key string, v any) (bool, error)
	Put(key string, v any) error
	Delete(key string) error
}

// PlaceOptions are what a place needs besides its configuration.
type PlaceOptions struct {
	Record Record // nil: what breaks off begins anew
}

// NewPlace gives the place of a distribution that names no region. What the place needs of the environment, such as credentials, is looked for at once.
func NewPlace(ctx context.Context, d distribution.Distribution, o PlaceOptions) (Place, error) {
	switch {
	case d.Folder != "":
		return Folder{Path: d.Folder}, nil
	case d.S3 != nil:
		return newBucket(ctx, *d.S3, o)
	case d.HTTP != nil:
		return newWebFolder(*d.HTTP, o)
	case d.LibvirtPool != nil:
		return pool{*d.LibvirtPool}, nil
	}
	return nil, errors.New("the distribution names no place on premises")
}

// item is one of the things that a delivery brings: a file, or data of our own.
type item struct {
	File
	data []byte // where Path is ""
}

// items are the files, the checksum file and the manifest, in the order in which they are brought.
func (d Delivery) items() ([]item, error) {
	var items []item
	for _, f := range d.Files {
		items = append(items, item{File: f})
	}
	if d.Manifest != nil {
		items = append(items, ours(d.ManifestName, d.Manifest))
	}
	names := map[string]bool{d.checksumName(): true}
	for _, i := range items {
		if digest, err := hex.DecodeString(i.SHA256); err != nil || len(digest) != 32 || i.SHA256 != strings.ToLower(i.SHA256) {
			return nil, fmt.Errorf("%s: %q is not a SHA-256", i.Name, i.SHA256)
		}
		if i.Name != filepath.Base(i.Name) || strings.HasPrefix(i.Name, ".") || strings.ContainsAny(i.Name, "\\\n") || names[i.Name] {
			return nil, fmt.Errorf("%q is not the name of a file, or it is taken", i.Name)
		}
		names[i.Name] = true
	}
	return slices.Insert(items, len(d.Files), d.checksums(items)), nil
}

// open opens an item's content.
func (i item) open() (source, error) {
	if i.Path == "" {
		return inMemory{strings.NewReader(string(i.data))}, nil
	}
	return openFile(i.Path, i.Size)
}

// source is what an item is read from.
type source interface {
	io.ReaderAt
	io.ReadSeeker
	io.Closer
}

type inMemory struct{ *strings.Reader }

func (inMemory) Close() error { return nil }

// deliver brings the items one after another. Bring returns where an item is and whether it had to be sent.
func deliver(ctx context.Context, items []item, progress func(done, total int64), bring func(ctx context.Context, i item, progress func(done int64)) (at string, sent bool, err error)) (*Delivered, error) {
	var done, total int64
	for _, i := range items {
		total += i.Size
	}
	result := &Delivered{Skipped: true}
	for _, i := range items {
		tell := func(n int64) {
			if progress != nil {
				progress(done+n, total)
			}
		}
		at, sent, err := bring(ctx, i, tell)
		if err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return nil, fmt.Errorf("deliver %s: %w", i.Name, err)
		}
		tell(i.Size)
		done += i.Size
		result.Files = append(result.Files, at)
		result.Skipped = result.Skipped && !sent
	}
	return result, nil
}
