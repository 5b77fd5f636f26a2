package action

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

const keptMode = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky

// temporaryName returns a name for a file that is not complete yet.
func temporaryName() string { return ".ingot-" + rand.Text() }

// copyContent copies a file's bytes. Holes stay holes.
func copyContent(ctx context.Context, to *os.File, from *source) error {
	info, err := from.Stat()
	if err != nil {
		return err
	}
	if !hasHoles(info) {
		return copyBytes(ctx, to, from, -1)
	}
	for at := int64(0); at < info.Size(); {
		data, err := from.file.Seek(at, seekData)
		if noMoreData(err) {
			break
		}
		if notSeekable(err) {
			return copyBytes(ctx, to, from, -1)
		}
		if err != nil {
			return err
		}
		hole, err := from.file.Seek(data, seekHole)
		if err != nil {
			return err
		}
		if _, err := from.file.Seek(data, io.SeekStart); err != nil {
			return err
		}
		if _, err := to.Seek(data, io.SeekStart); err != nil {
			return err
		}
		if err := copyBytes(ctx, to, from, hole-data); err != nil {
			return err
		}
		at = hole
	}
	return to.Truncate(info.Size())
}

// copyBytes copies n bytes, or all there are if n is negative, in pieces that are handed to the kernel.
func copyBytes(ctx context.Context, to *os.File, from *source, n int64) error {
	const piece = 16 << 20
	for n != 0 {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		want := int64(piece)
		if n > 0 {
			want = min(want, n)
		}
		copied, err := io.CopyN(to, from.file, want)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return from.cause(err)
		}
		if n > 0 {
			n -= copied
		}
	}
	return nil
}

// makeLike gives an open file or folder the owner and the permissions of another one. Who may not give files away keeps it, without
// setuid and setgid, which would be those of another owner.
func makeLike(file *os.File, info fs.FileInfo) error {
	mode := info.Mode() & keptMode
	if uid, gid, ok := ownerOf(info); ok {
		err := file.Chown(uid, gid)
		if errors.Is(err, fs.ErrPermission) {
			mode &^= fs.ModeSetuid | fs.ModeSetgid
		} else if err != nil {
			return fmt.Errorf("set the owner: %w", err)
		}
	}
	if err := file.Chmod(mode); err != nil {
		return fmt.Errorf("set the permissions: %w", err)
	}
	return nil
}

// treeCopy copies what is in one folder to another. Neither folder is left by a symbolic link, see [visitTree].
type treeCopy struct {
	// fresh says that nobody looks at the new folder before it is complete. Otherwise each file appears when it is.
	fresh bool
	// times keeps the times of last modification.
	times bool
	// special decides about what is no file, folder or link.
	special func(path string, info fs.FileInfo) error
}

func (c treeCopy) copy(ctx context.Context, from, to *os.Root) error {
	return c.level(ctx, from, to, 0)
}

func (c treeCopy) level(ctx context.Context, from, to *os.Root, depth int) error {
	if depth > maxDepth {
		return errDepth
	}
	names, err := folderNames(from)
	if err != nil {
		return inFolder(from, ".", err)
	}
	for _, name := range names {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		info, err := from.Lstat(name)
		if err != nil {
			return inFolder(from, name, err)
		}
		switch {
		case info.IsDir():
			err = c.folder(ctx, from, to, name, info, depth)
		case info.Mode().IsRegular():
			err = c.file(ctx, from, to, name, name)
		case info.Mode()&fs.ModeSymlink != 0:
			err = c.link(from, to, name, name, info)
		default:
			err = c.special(from.Name()+string(os.PathSeparator)+name, info)
		}
		if err != nil {
			return inFolder(from, name, err)
		}
	}
	return nil
}

func (c treeCopy) folder(ctx context.Context, from, to *os.Root, name string, info fs.FileInfo, depth int) error {
	source, err := openSubfolder(from, name, info)
	if err != nil {
		return err
	}
	defer source.Close()
	made := true
	if err := to.Mkdir(name, 0o700); errors.Is(err, fs.ErrExist) {
		made = false
	} else if err != nil {
		return inFolder(to, name, err)
	}
	there, err := to.Lstat(name)
	if err == nil {
		err = mustBeFolder(there)
	}
	if err != nil {
		return inFolder(to, name, err)
	}
	target, err := openSubfolder(to, name, there)
	if err != nil {
		return inFolder(to, name, err)
	}
	defer target.Close()
	if err := c.level(ctx, source, target, depth+1); err != nil || !made {
		return err
	}
	return inFolder(to, name, c.finish(target, info))
}

// finish gives a new folder the attributes of the one it is a copy of.
func (c treeCopy) finish(folder *os.Root, info fs.FileInfo) error {
	file, err := folder.Open(".")
	if err != nil {
		return err
	}
	if err := errors.Join(makeLike(file, info), file.Close()); err != nil {
		return err
	}
	if c.times {
		return folder.Chtimes(".", time.Time{}, info.ModTime())
	}
	return nil
}

func (c treeCopy) file(ctx context.Context, from, to *os.Root, name, newName string) error {
	source, err := openSourceIn(ctx, from, name)
	if err != nil {
		return err
	}
	defer source.Close()
	info, err := source.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errReplaced
	}
	return c.place(to, newName, func(temporary string) error {
		file, err := to.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		err = copyContent(ctx, file, source)
		if err == nil {
			err = makeLike(file, info)
		}
		err = errors.Join(err, file.Close())
		if err == nil && c.times {
			err = to.Chtimes(temporary, time.Time{}, info.ModTime())
		}
		return err
	})
}

func (c treeCopy) link(from, to *os.Root, name, newName string, info fs.FileInfo) error {
	target, err := from.Readlink(name)
	if err != nil {
		return err
	}
	return c.place(to, newName, func(temporary string) error {
		if err := to.Symlink(target, temporary); err != nil {
			return err
		}
		if uid, gid, ok := ownerOf(info); ok {
			if err := to.Lchown(temporary, uid, gid); err != nil && !errors.Is(err, fs.ErrPermission) {
				return err
			}
		}
		return nil
	})
}

// place makes something under a temporary name and puts it in its place when it is complete.
func (c treeCopy) place(to *os.Root, name string, create func(temporary string) error) error {
	if c.fresh {
		return inFolder(to, name, create(name))
	}
	if there, err := to.Lstat(name); err == nil && there.IsDir() {
		return inFolder(to, name, errors.New("there is a folder where a file is to be"))
	}
	temporary := temporaryName()
	err := create(temporary)
	if err == nil {
		err = to.Rename(temporary, name)
	}
	if err != nil {
		if removed := to.Remove(temporary); removed != nil && !errors.Is(removed, fs.ErrNotExist) {
			err = errors.Join(err, removed)
		}
	}
	return inFolder(to, name, err)
}
