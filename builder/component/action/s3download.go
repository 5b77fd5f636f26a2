package action

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/ingot-image/ingot/builder/component"
)

// maxObjects is how many objects one S3Download takes at most, as in the service.
const maxObjects = 1000

// S3Download downloads objects of S3. The credentials are those of whoever runs the documents; they never come to the machine.
//
//   - The source s3://BUCKET/KEY is one object, and the destination its file. The source s3://BUCKET/PREFIX/* means all objects whose keys
//     start with PREFIX/, at most 1000, and the destination is a folder, in which they get the rest of their keys as paths. That there is
//     none is an error. A * elsewhere is refused.
//   - The destination's folder must exist; only folders below it, for the slashes in the rest of keys, are made. If the destination of one
//     object ends in a slash, the file gets the last part of the key as its name.
//   - Each file appears when it is complete. If one of many fails, those before it stay.
//   - With overwrite: false it is an error if any of the files exists, and nothing is downloaded then. Otherwise a file is replaced, keeping
//     its owner and permissions; of a single object a symbolic link at the destination is followed.
//   - Nothing is written outside of the destination folder: a key with an empty part, . or .. after the prefix is refused, before anything
//     is downloaded, and no symbolic link leads out of the folder. Keys that end in a slash, which stand for folders, are left out.
//
// For example:
//
//	steps:
//	  - name: Packages
//	    action: S3Download
//	    inputs:
//	      - source: s3://example-bucket/packages/*
//	        destination: /tmp/packages/
//	        expectedBucketOwner: 123456789012
type S3Download struct {
	// Source is the address of the object, or a prefix followed by *.
	Source string `input:"source,required"`
	// Destination is the file, or the folder for many.
	Destination string `input:"destination,required"`
	// ExpectedBucketOwner is the number of the account that must own the bucket. Default: any.
	ExpectedBucketOwner string `input:"expectedBucketOwner"`
	// Overwrite false makes it an error that a file exists.
	Overwrite bool `input:"overwrite" default:"true"`
}

// CheckInputs implements [component.InputsChecker].
func (in *S3Download) CheckInputs(report func(input, message, hint string)) {
	if _, err := parseS3Source(in.Source); err != nil {
		report("source", err.Error(), "")
	}
	if hasWildcard(in.Destination) {
		report("destination", "must not contain *", "")
	}
	checkBucketOwner(in.ExpectedBucketOwner, report)
}

// Run implements [component.Action].
func (in S3Download) Run(ctx context.Context, x *component.Execution) (component.Outcome, error) {
	source, err := parseS3Source(in.Source)
	if err != nil {
		return component.Outcome{}, fmt.Errorf("S3 download: %s %w", in.Source, err)
	}
	source.ExpectedBucketOwner = in.ExpectedBucketOwner
	switch {
	case x.S3 == nil:
		err = errNoS3
	case source.wildcard:
		err = in.all(ctx, x, source)
	default:
		err = in.one(ctx, x, source.S3Place)
	}
	if err != nil {
		return component.Outcome{}, fmt.Errorf("S3 download from %s to %s: %w", in.Source, in.Destination, err)
	}
	return component.Outcome{}, nil
}

func (in S3Download) one(ctx context.Context, x *component.Execution, place component.S3Place) error {
	path := x.Path(in.Destination)
	if isFolder(in.Destination) {
		name := place.Key[strings.LastIndexByte(place.Key, '/')+1:]
		if err := checkName(name); err != nil {
			return fmt.Errorf("the key cannot be the name of a file: %w", err)
		}
		path = filepath.Join(path, name)
	}
	if err := mustHaveFolder(filepath.Dir(path)); err != nil {
		return err
	}
	if err := checkPlace(path, in.Overwrite); err != nil {
		return err
	}
	return replaceFile(path, in.Overwrite, func(w *os.File) error { return get(ctx, x.S3, place, w) })
}

// get writes an object to w, and says so when there is none.
func get(ctx context.Context, s3 component.S3, place component.S3Place, w io.Writer) error {
	err := s3.Get(ctx, place, w)
	if errors.Is(err, component.ErrNotFound) {
		return fmt.Errorf("there is no object s3://%s/%s: %w", place.Bucket, place.Key, err)
	}
	return err
}

// mustHaveFolder checks that the folder to download to is there.
func mustHaveFolder(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("the destination's folder does not exist; CreateFolder makes it")
	case err != nil:
		return err
	case !info.IsDir():
		return errors.New("the destination's folder is no folder")
	}
	return nil
}

func (in S3Download) all(ctx context.Context, x *component.Execution, source s3Source) error {
	path := x.Path(in.Destination)
	if err := mustHaveFolder(path); err != nil {
		return err
	}
	objects, err := x.S3.List(ctx, source.S3Place, maxObjects)
	if err != nil {
		return fmt.Errorf("list objects: %w", err)
	}
	if len(objects) > maxObjects {
		return fmt.Errorf("there are more than %d objects", maxObjects)
	}
	folder, err := os.OpenRoot(path)
	if err != nil {
		return err
	}
	defer folder.Close()
	files := map[string]string{} // by key
	for _, object := range objects {
		rest, ok := strings.CutPrefix(object.Key, source.Key)
		if !ok {
			return fmt.Errorf("the listing holds the key %q, which does not start with %q", object.Key, source.Key)
		}
		if rest == "" || strings.HasSuffix(rest, "/") {
			continue
		}
		if err := checkKey(rest); err != nil {
			return fmt.Errorf("the key %q cannot be a file in a folder: %w", object.Key, err)
		}
		file := filepath.FromSlash(rest)
		if _, err := folder.Lstat(file); err == nil && !in.Overwrite {
			return fmt.Errorf("%s exists, and overwrite is false", x.DocumentPath(filepath.Join(path, file)))
		}
		files[object.Key] = file
	}
	if len(files) == 0 {
		return errors.New("there is no such object")
	}
	for _, object := range objects {
		file, ok := files[object.Key]
		if !ok {
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		place := source.S3Place
		place.Key = object.Key
		if err := downloadInto(ctx, x.S3, place, folder, file); err != nil {
			return inFolder(folder, file, err)
		}
	}
	return nil
}

// downloadInto downloads an object to a file in a folder, which no symbolic link leaves.
func downloadInto(ctx context.Context, s3 component.S3, place component.S3Place, folder *os.Root, file string) error {
	parent := filepath.Dir(file)
	if err := folder.MkdirAll(parent, 0o777); err != nil {
		return err
	}
	before, err := folder.Lstat(file)
	if err == nil && before.IsDir() {
		return errors.New("there is a folder where the file is to be")
	}
	temporary := filepath.Join(parent, temporaryName())
	w, err := folder.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	err = get(ctx, s3, place, w)
	if err == nil && before != nil && before.Mode().IsRegular() {
		err = makeLike(w, before)
	}
	err = errors.Join(err, w.Close())
	if err == nil {
		err = folder.Rename(temporary, file)
	}
	if err != nil {
		return errors.Join(err, folder.Remove(temporary))
	}
	return nil
}

// checkKey checks that a key, or the rest of one, is the path of a file in a folder.
func checkKey(key string) error {
	for part := range strings.SplitSeq(key, "/") {
		if err := checkName(part); err != nil {
			return err
		}
	}
	if !filepath.IsLocal(filepath.FromSlash(key)) {
		return errors.New("the path leads elsewhere")
	}
	return nil
}

// checkName checks that a part of a key can be the name of a file or folder.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("a part of it is empty")
	case name == "." || name == "..":
		return fmt.Errorf("a part of it is %s", name)
	case strings.ContainsRune(name, 0):
		return errors.New("it has a NUL")
	case runtime.GOOS == "windows" && strings.ContainsAny(name, `\:*?"<>|`):
		return errors.New(`one of \ : * ? " < > | is in it`)
	}
	return nil
}
