package aws

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/ingot-image/ingot/builder/component"
)

// S3MapError is a mistake in an S3 map.
type S3MapError struct {
	Map     string // as given
	Message string
}

func (e *S3MapError) Error() string {
	return fmt.Sprintf("the S3 map %q %s; write s3://BUCKET=FOLDER or s3://BUCKET/PREFIX=FOLDER", e.Map, e.Message)
}

// folder stands for the objects of a bucket whose keys begin with a prefix.
type folder struct {
	bucket, prefix string // the prefix is empty or ends in /
	dir            string
	root           *os.Root
}

// bucketName is any name that S3 takes, or ever took (user guide, "Bucket naming rules").
var bucketName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]$`)

// openFolders reads the maps. The first = ends the address.
func openFolders(maps []string) (folders []folder, err error) {
	var mistakes []error
	wrong := func(m, message string) { mistakes = append(mistakes, &S3MapError{m, message}) }
	for _, m := range maps {
		address, dir, ok := strings.Cut(m, "=")
		rest, s3 := strings.CutPrefix(address, "s3://")
		bucket, prefix, _ := strings.Cut(rest, "/")
		if prefix = strings.TrimRight(prefix, "/"); prefix != "" {
			prefix += "/"
		}
		same := func(f folder) bool { return f.bucket == bucket && f.prefix == prefix }
		switch {
		case !s3:
			wrong(m, "does not begin with s3://")
		case !bucketName.MatchString(bucket):
			wrong(m, "names no bucket")
		case !ok || dir == "":
			wrong(m, "names no folder")
		case slices.ContainsFunc(folders, same):
			wrong(m, "is given for the second time")
		default:
			root, err := os.OpenRoot(dir)
			if err != nil {
				wrong(m, "names a folder that cannot be opened: "+reason(err))
				continue
			}
			folders = append(folders, folder{bucket, prefix, dir, root})
		}
	}
	// The longest prefix that fits comes first.
	slices.SortFunc(folders, func(a, b folder) int { return cmp.Compare(len(b.prefix), len(a.prefix)) })
	return folders, errors.Join(mistakes...)
}

// reason is an error of the file system without the path.
func reason(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

// mappedStore is S3 with folders in the place of some buckets. A bucket with a folder is never asked for at AWS, not even for keys
// outside of the prefixes of its maps. Folders have no owner: expected ones are not looked at.
type mappedStore struct {
	folders []folder
	other   component.S3
}

func (m *mappedStore) mapped(bucket string) bool {
	return slices.ContainsFunc(m.folders, func(f folder) bool { return f.bucket == bucket })
}

// folder returns the folder that holds a key.
func (m *mappedStore) folder(bucket, key string) *folder {
	for i, f := range m.folders {
		if f.bucket == bucket && strings.HasPrefix(key, f.prefix) {
			return &m.folders[i]
		}
	}
	return nil
}

// file returns the folder and the name in it of an object's file.
func (m *mappedStore) file(place component.S3Place) (*folder, string, error) {
	f := m.folder(place.Bucket, place.Key)
	if f == nil {
		return nil, "", fmt.Errorf("%w: no --s3-map covers this key of the bucket", component.ErrNotFound)
	}
	name := strings.TrimPrefix(place.Key, f.prefix)
	// Keys such as a//b, ../b or b/ are objects of S3, but no files.
	if name == "." || !fs.ValidPath(name) || !filepath.IsLocal(filepath.FromSlash(name)) || strings.Contains(name, "\x00") || isPartial(name) {
		return nil, "", fmt.Errorf("the key %q cannot be the name of a file in %s", place.Key, f.dir)
	}
	return f, filepath.FromSlash(name), nil
}

func (m *mappedStore) List(ctx context.Context, prefix component.S3Place, limit int) ([]component.S3Object, error) {
	if !m.mapped(prefix.Bucket) {
		return m.other.List(ctx, prefix, limit)
	}
	objects := []component.S3Object{}
	for i := range m.folders {
		f := &m.folders[i]
		if f.bucket != prefix.Bucket || !strings.HasPrefix(f.prefix, prefix.Key) && !strings.HasPrefix(prefix.Key, f.prefix) {
			continue
		}
		err := f.walk(ctx, prefix.Key, func(key string, size int64) error {
			if m.folder(prefix.Bucket, key) != f {
				return nil // another folder stands before this one
			}
			if len(objects) == limit {
				return tooMany(limit)
			}
			objects = append(objects, component.S3Object{Key: key, Size: size})
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("list s3://%s/%s: %w", prefix.Bucket, prefix.Key, err)
		}
	}
	slices.SortFunc(objects, func(a, b component.S3Object) int { return cmp.Compare(a.Key, b.Key) })
	return objects, nil
}

// walk gives every file whose key begins with prefix. Links are followed to files, within the folder.
func (f *folder) walk(ctx context.Context, prefix string, each func(key string, size int64) error) error {
	start := "."
	if inside, ok := strings.CutPrefix(prefix, f.prefix); ok {
		if start = path.Dir(inside + "x"); !fs.ValidPath(start) {
			return nil // no file has such a key
		}
	}
	files := f.root.FS()
	if info, err := fs.Stat(files, start); err != nil || !info.IsDir() {
		return nil // nothing begins so
	}
	return fs.WalkDir(files, start, func(name string, entry fs.DirEntry, err error) error {
		if err = cmp.Or(ctx.Err(), err); err != nil {
			return err
		}
		key := f.prefix + name
		switch {
		case entry.IsDir() && name != "." && !strings.HasPrefix(key+"/", prefix) && !strings.HasPrefix(prefix, key+"/"):
			return fs.SkipDir
		case entry.IsDir(), !strings.HasPrefix(key, prefix), isPartial(name):
			return nil
		}
		info, err := fs.Stat(files, name)
		if err != nil || !info.Mode().IsRegular() {
			return nil // a link that leads nowhere or out of the folder, a socket, …
		}
		return each(key, info.Size())
	})
}

func (m *mappedStore) Get(ctx context.Context, place component.S3Place, w io.Writer) error {
	if !m.mapped(place.Bucket) {
		return m.other.Get(ctx, place, w)
	}
	f, name, err := m.file(place)
	if err == nil {
		err = f.read(ctx, name, w)
	}
	if err != nil {
		return fmt.Errorf("get s3://%s/%s: %w", place.Bucket, place.Key, err)
	}
	return nil
}

func (f *folder) read(ctx context.Context, name string, w io.Writer) error {
	// Opened only when it is a regular file: opening a named pipe would wait for its other end.
	info, err := f.root.Stat(name)
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	var file *os.File
	if err == nil {
		file, err = f.root.Open(name)
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return fmt.Errorf("%w: %s is no file", component.ErrNotFound, filepath.Join(f.dir, name))
	}
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.Copy(w, &cancellable{ctx, file})
	return err
}

func (m *mappedStore) Put(ctx context.Context, place component.S3Place, r io.Reader, size int64) error {
	if !m.mapped(place.Bucket) {
		return m.other.Put(ctx, place, r, size)
	}
	f, name, err := m.file(place)
	if err == nil {
		err = f.write(ctx, name, &exactly{r: r, left: size})
	}
	if err != nil {
		return fmt.Errorf("put s3://%s/%s: %w", place.Bucket, place.Key, err)
	}
	return nil
}

// partial begins the names of files that are being written.
const partial = ".ingot-partial-"

func isPartial(name string) bool {
	return strings.HasPrefix(path.Base(filepath.ToSlash(name)), partial)
}

// write makes or replaces a file, in one piece.
func (f *folder) write(ctx context.Context, name string, r io.Reader) (err error) {
	dir := filepath.Dir(name)
	if err := f.root.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	temporary := filepath.Join(dir, partial+rand.Text())
	file, err := f.root.OpenFile(temporary, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			file.Close()
			f.root.Remove(temporary)
		}
	}()
	if _, err := io.Copy(file, &cancellable{ctx, r}); err != nil {
		return err
	}
	if err := errors.Join(file.Sync(), file.Close()); err != nil {
		return err
	}
	return f.root.Rename(temporary, name)
}

// cancellable reads until ctx ends.
type cancellable struct {
	ctx context.Context
	r   io.Reader
}

func (c *cancellable) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
