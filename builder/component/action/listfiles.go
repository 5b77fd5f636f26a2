package action

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ingot-image/ingot/builder/component"
)

// ListFiles lists the files in a folder.
//
// The output files holds their absolute paths, sorted, with commas in between. It is empty when there is none. A loop takes it as
// forEach: {list: "{{ build.Find.outputs.files }}"}. A comma in a name cannot be told from one in between, which the step's output notes.
//
//   - Everything but folders is listed. A symbolic link is listed itself, and never followed, even if it leads to a folder. The path itself
//     may be a link to a folder.
//   - In fileNamePattern * stands for any number of characters, and every other character for itself. It is compared with the names of
//     files, without their folders; on Windows the case of letters does not matter there. Write it in quotes: in YAML a * in front means
//     something else.
//   - More than 1 MiB of paths is an error, as is a folder that does not exist.
//
// For example:
//
//	steps:
//	  - name: Find
//	    action: ListFiles
//	    inputs:
//	      - path: /etc/app
//	        fileNamePattern: "*.conf"
//	        recursive: true
type ListFiles struct {
	// Path of the folder.
	Path string `input:"path,required"`
	// FileNamePattern is what the names of files must match.
	FileNamePattern string `input:"fileNamePattern" default:"*"`
	// Recursive lists the files in all folders below as well.
	Recursive bool `input:"recursive" default:"false"`
}

// CheckInputs implements [component.InputsChecker].
func (in *ListFiles) CheckInputs(report func(input, message, hint string)) {
	checkPlainFolder(in.Path, report)
	if strings.ContainsFunc(in.FileNamePattern, func(r rune) bool { return r < 0x80 && isSeparator(byte(r)) }) {
		report("fileNamePattern", "contains a slash, which is in no name", "name the folder in path")
	}
}

// Run implements [component.Action].
func (in ListFiles) Run(ctx context.Context, x *component.Execution) (component.Outcome, error) {
	list := fileList{matches: matcher(in.FileNamePattern), recursive: in.Recursive}
	err := list.read(ctx, x.Path(in.Path))
	if err != nil {
		return component.Outcome{}, fmt.Errorf("list files in %s: %w", in.Path, err)
	}
	slices.Sort(list.found)
	for i, path := range list.found {
		list.found[i] = x.DocumentPath(path)
	}
	if list.commas {
		x.Notice("some of the files have a comma in their path, like those between the paths of the output files")
	}
	return component.Outcome{Outputs: map[string]string{"files": strings.Join(list.found, ",")}}, nil
}

type fileList struct {
	matches   func(name string) bool
	recursive bool
	found     []string
	size      int // of found, in bytes
	commas    bool
}

func (l *fileList) read(ctx context.Context, path string) error {
	folder, err := os.OpenRoot(path)
	if err != nil {
		return err
	}
	defer folder.Close()
	return l.level(ctx, folder, 0)
}

func (l *fileList) level(ctx context.Context, folder *os.Root, depth int) error {
	if depth > maxDepth {
		return errDepth
	}
	file, err := folder.Open(".")
	if err != nil {
		return inFolder(folder, ".", err)
	}
	entries, err := file.ReadDir(-1)
	if err := errors.Join(err, file.Close()); err != nil {
		return inFolder(folder, ".", err)
	}
	for _, entry := range entries {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		switch {
		case !entry.IsDir():
			err = l.add(folder, entry.Name())
		case l.recursive:
			err = l.subfolder(ctx, folder, entry.Name(), depth)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *fileList) subfolder(ctx context.Context, folder *os.Root, name string, depth int) error {
	info, err := folder.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // gone in the meantime
	}
	if err != nil {
		return inFolder(folder, name, err)
	}
	sub, err := openSubfolder(folder, name, info)
	if err != nil {
		return inFolder(folder, name, err)
	}
	defer sub.Close()
	return l.level(ctx, sub, depth+1)
}

func (l *fileList) add(folder *os.Root, name string) error {
	if !l.matches(name) {
		return nil
	}
	path := filepath.Join(folder.Name(), name)
	if l.size += len(path) + 1; l.size > component.MaxCaptured {
		return fmt.Errorf("the list is longer than %d MiB; a fileNamePattern would make it shorter", component.MaxCaptured>>20)
	}
	l.commas = l.commas || strings.Contains(path, ",")
	l.found = append(l.found, path)
	return nil
}
