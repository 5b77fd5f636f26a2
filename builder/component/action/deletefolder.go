package action

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/ingot-image/ingot/builder/component"
)

// DeleteFolder deletes a folder.
//
//   - A folder that is not empty is an error, unless force is true: then it is deleted with all that is in it.
//   - Symbolic links in it are deleted themselves and never followed. The folder itself must not be a link: that is for DeleteFile.
//   - That there is no such folder is no error, but noted in the output; a file is an error.
//   - Folders without which there is no system are refused, whatever force says: / and, on Linux and macOS, /bin, /boot, /dev, /etc, /home,
//     /lib, /proc, /root, /run, /sbin, /sys, /tmp, /usr, /var and their like; on Windows the root of a drive, the folders of Windows, of
//     programs and of users. So is the folder in which the documents run, and all that these are in.
//
// For example:
//
//	steps:
//	  - name: Cache
//	    action: DeleteFolder
//	    inputs:
//	      - path: /var/cache/app
//	        force: true
type DeleteFolder struct {
	// Path of the folder.
	Path string `input:"path,required"`
	// Force deletes a folder that is not empty.
	Force bool `input:"force" default:"false"`
}

// CheckInputs implements [component.InputsChecker].
func (in *DeleteFolder) CheckInputs(report func(input, message, hint string)) {
	checkPlainFolder(in.Path, report)
}

// Run implements [component.Action].
func (in DeleteFolder) Run(_ context.Context, x *component.Execution) (component.Outcome, error) {
	err := in.delete(x, x.Path(in.Path))
	if errors.Is(err, fs.ErrNotExist) {
		x.Notice(fmt.Sprintf("there is no folder %s to delete", in.Path))
		err = nil
	}
	if err != nil {
		return component.Outcome{}, fmt.Errorf("delete folder %s: %w", in.Path, err)
	}
	return component.Outcome{}, nil
}

func (in DeleteFolder) delete(x *component.Execution, path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		return errors.New("it is a symbolic link; DeleteFile deletes it")
	}
	if err := mustBeFolder(info); err != nil {
		return err
	}
	if err := mustBeExpendable(x, path, info); err != nil {
		return err
	}
	if in.Force {
		return removeFolder(path)
	}
	err = os.Remove(path)
	if notEmpty(err) {
		return errors.New("it is not empty; with force: true it is deleted with all that is in it")
	}
	return err
}

// mustBeExpendable refuses to remove what a system cannot be without.
func mustBeExpendable(x *component.Execution, path string, info fs.FileInfo) error {
	if filepath.Dir(path) == path || path == x.Path(string(filepath.Separator)) {
		return errors.New("it is the root of the file system")
	}
	needed := []string{x.WorkingDirectory}
	if runtime.GOOS == "windows" {
		for _, name := range []string{"SystemRoot", "ProgramFiles", "ProgramFiles(x86)", "ProgramData", "PUBLIC", "USERPROFILE"} {
			if folder := x.Getenv(name); folder != "" {
				needed = append(needed, folder)
			}
		}
	} else {
		for _, name := range []string{
			"bin", "boot", "dev", "etc", "home", "lib", "lib32", "lib64", "libx32", "proc", "root", "run", "sbin", "sys", "tmp", "usr",
			"usr/bin", "usr/lib", "usr/lib64", "usr/sbin", "usr/share", "var", "var/lib",
			"Applications", "Library", "System", "Users", "Volumes", "private", "private/etc", "private/tmp", "private/var", // macOS
		} {
			needed = append(needed, "/"+name)
		}
	}
	for _, folder := range needed {
		if err := contains(path, info, x.Path(folder)); err != nil {
			return err
		}
	}
	return nil
}

// contains is an error if a folder is another one or one above it.
func contains(path string, info fs.FileInfo, other string) error {
	real, err := filepath.EvalSymlinks(other)
	if err != nil {
		return nil // there is no such folder here
	}
	for at := real; ; at = filepath.Dir(at) {
		if there, err := os.Stat(at); err == nil && os.SameFile(there, info) {
			return fmt.Errorf("the system cannot be without %s", other)
		}
		if filepath.Dir(at) == at {
			return nil
		}
	}
}
