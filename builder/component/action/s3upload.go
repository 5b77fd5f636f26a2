package action

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/ingot-image/ingot/builder/component"
)

// S3Upload uploads files to S3. The credentials are those of whoever runs the documents; they never come to the machine.
//
//   - The source is a file, and the destination s3://BUCKET/KEY its object. If the key ends in a slash or is missing, the object gets the
//     file's name in addition.
//   - The last part of the source may contain * for any number of characters. Then each file that matches becomes an object below the
//     destination, to which a slash is added when it has none at its end. With recurse: true so does all that is in folders that match,
//     below their names; otherwise they are left out. It is an error if there is nothing to upload.
//   - A source that is a folder needs recurse: true. All that is in it is uploaded below the destination, without the folder's own name.
//   - Symbolic links in a folder are uploaded as the files they lead to if these are in the same folder or below. Those that lead elsewhere,
//     or to folders, are left out, as are named pipes, sockets and devices, which the step's output notes. A source without * may be a
//     link.
//   - Objects that exist are replaced. If an upload fails, those before it stay.
//
// For example:
//
//	steps:
//	  - name: Logs
//	    action: S3Upload
//	    inputs:
//	      - source: /var/log/build/*
//	        destination: s3://example-bucket/logs/
//	        recurse: true
//	        expectedBucketOwner: 123456789012
type S3Upload struct {
	// Source is the file, several by *, or the folder.
	Source string `input:"source,required"`
	// Destination is the address of the object, or what comes before the paths of several.
	Destination string `input:"destination,required"`
	// Recurse uploads what is in folders. The text "true" does, too.
	Recurse bool `input:"recurse" default:"false"`
	// ExpectedBucketOwner is the number of the account that must own the bucket. Default: any.
	ExpectedBucketOwner string `input:"expectedBucketOwner"`
}

// CheckInputs implements [component.InputsChecker].
func (in *S3Upload) CheckInputs(report func(input, message, hint string)) {
	if err := checkFolderPattern(in.Source); err != nil {
		report("source", err.Error(), "")
	}
	place, err := parseS3(in.Destination)
	if err == nil && hasWildcard(place.Key) {
		err = errors.New("must not contain *")
	}
	if err != nil {
		report("destination", err.Error(), "")
	}
	checkBucketOwner(in.ExpectedBucketOwner, report)
}

// Run implements [component.Action].
func (in S3Upload) Run(ctx context.Context, x *component.Execution) (component.Outcome, error) {
	if err := in.upload(ctx, x); err != nil {
		return component.Outcome{}, fmt.Errorf("S3 upload from %s to %s: %w", in.Source, in.Destination, err)
	}
	return component.Outcome{}, nil
}

func (in S3Upload) upload(ctx context.Context, x *component.Execution) error {
	place, err := parseS3(in.Destination)
	if err != nil {
		return fmt.Errorf("the destination %w", err)
	}
	if x.S3 == nil {
		return errNoS3
	}
	place.ExpectedBucketOwner = in.ExpectedBucketOwner
	u := &upload{x: x, recurse: in.Recurse, prefix: place}
	path := x.Path(in.Source)
	if hasWildcard(in.Source) {
		u.matches = matcher(filepath.Base(path))
		return u.folder(ctx, filepath.Dir(path))
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case info.IsDir() && !in.Recurse:
		return errors.New("the source is a folder; recurse: true uploads all that is in it")
	case info.IsDir():
		return u.folder(ctx, path)
	}
	if place.Key == "" || strings.HasSuffix(place.Key, "/") {
		place.Key += filepath.Base(path)
	}
	file, err := openSource(ctx, path)
	if err != nil {
		return err
	}
	defer file.Close()
	return put(ctx, x.S3, place, file)
}

// upload is the upload of what is in a folder.
type upload struct {
	x       *component.Execution
	prefix  component.S3Place
	recurse bool
	matches func(name string) bool // of the folder's own entries; nil means all of them
	done    int
}

func (u *upload) folder(ctx context.Context, path string) error {
	folder, err := os.OpenRoot(path)
	if err != nil {
		return err
	}
	defer folder.Close()
	if u.prefix.Key != "" && !strings.HasSuffix(u.prefix.Key, "/") {
		u.prefix.Key += "/"
	}
	if err := u.level(ctx, folder, u.prefix.Key, u.matches, 0); err != nil {
		return err
	}
	if u.done == 0 {
		return errors.New("there is no file to upload")
	}
	return nil
}

func (u *upload) level(ctx context.Context, folder *os.Root, prefix string, matches func(string) bool, depth int) error {
	if depth > maxDepth {
		return errDepth
	}
	names, err := folderNames(folder)
	if err != nil {
		return inFolder(folder, ".", err)
	}
	for _, name := range names {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if matches != nil && !matches(name) {
			continue
		}
		info, err := folder.Lstat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue // gone in the meantime
		case err != nil:
		case info.IsDir() && u.recurse:
			err = u.subfolder(ctx, folder, name, info, prefix, depth)
		case info.IsDir():
		default:
			err = u.file(ctx, folder, name, info, prefix)
		}
		if err != nil {
			return inFolder(folder, name, err)
		}
	}
	return nil
}

func (u *upload) subfolder(ctx context.Context, folder *os.Root, name string, info fs.FileInfo, prefix string, depth int) error {
	sub, err := openSubfolder(folder, name, info)
	if err != nil {
		return err
	}
	defer sub.Close()
	return u.level(ctx, sub, prefix+name+"/", nil, depth+1)
}

func (u *upload) file(ctx context.Context, folder *os.Root, name string, info fs.FileInfo, prefix string) error {
	link := info.Mode()&fs.ModeSymlink != 0
	if !link && !info.Mode().IsRegular() {
		u.leaveOut(folder, name, "it is "+describe(info.Mode()))
		return nil
	}
	file, err := openSourceIn(ctx, folder, name)
	if err != nil && link {
		u.leaveOut(folder, name, "it is a symbolic link that leads to no file in this folder")
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	if info, err = file.Stat(); err == nil && link && !info.Mode().IsRegular() {
		u.leaveOut(folder, name, "it is a symbolic link that leads to no file in this folder")
		return nil
	}
	place := u.prefix
	place.Key = prefix + name
	if err := put(ctx, u.x.S3, place, file); err != nil {
		return err
	}
	u.done++
	return nil
}

func (u *upload) leaveOut(folder *os.Root, name, why string) {
	u.x.Notice(fmt.Sprintf("%s is not uploaded: %s", u.x.DocumentPath(filepath.Join(folder.Name(), name)), why))
}

// put uploads an open file, as long as it is now.
func put(ctx context.Context, s3 component.S3, place component.S3Place, file *source) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("it is no regular file")
	}
	if len(place.Key) > maxKey {
		return fmt.Errorf("the key %s has %d bytes; %d is the most", place.Key, len(place.Key), maxKey)
	}
	size := info.Size()
	return s3.Put(ctx, place, io.LimitReader(file, size), size)
}
