package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/ingot-image/ingot/builder"
	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/recipe"
	names "github.com/ingot-image/ingot/builder/recipe/version"
)

// identity is what tells a file from another and from itself before a change, without reading it. The zero value is that of no file.
type identity struct {
	device, inode uint64
	size          int64
	modified      int64 // nanoseconds
}

// identify looks at a file, whatever links lead to it.
func identify(path string) identity {
	info, err := os.Stat(path)
	if err != nil {
		return identity{}
	}
	i := identity{size: info.Size(), modified: info.ModTime().UnixNano()}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		i.device, i.inode = uint64(stat.Dev), stat.Ino
	}
	if info.IsDir() {
		return identity{device: i.device, inode: i.inode} // what is in it is looked at by itself
	}
	return i
}

// inputs are the files on this machine that a build is made from.
type inputs struct {
	recipe, home string
	output       string // the folder of the command line, "" for the recipe's
	parameters   string // "" for none
	maps         []s3Map

	read      identity // of the recipe, when it was last read
	name      string   // of the image, as in file names
	folder    string   // of the finished files
	documents []string // that it names, as far as it could be understood
	folders   []string // of local components that it names by version
}

// s3Map is a folder that stands for what begins with a prefix in a bucket.
type s3Map struct{ bucket, prefix, folder string }

// maxWatched bounds how many files are looked at.
const maxWatched = 100_000

func newInputs(home string, o builder.Options, services *serviceFlags) (*inputs, error) {
	in := &inputs{home: home}
	var err error
	if in.recipe, err = filepath.Abs(o.Recipe); err != nil {
		return nil, err
	}
	if o.OutputDir != "" {
		if in.output, err = filepath.Abs(o.OutputDir); err != nil {
			return nil, err
		}
	}
	if services.ssmParameters != "" {
		if in.parameters, err = filepath.Abs(services.ssmParameters); err != nil {
			return nil, err
		}
	}
	for _, text := range services.s3Map {
		address, folder, _ := strings.Cut(text, "=")
		bucket, prefix, _ := strings.Cut(strings.TrimPrefix(address, "s3://"), "/")
		if prefix = strings.TrimRight(prefix, "/"); prefix != "" {
			prefix += "/"
		}
		if folder, err = filepath.Abs(folder); err != nil {
			return nil, err
		}
		in.maps = append(in.maps, s3Map{bucket, prefix, folder})
	}
	return in, nil
}

// mapped is the file that stands for an object, "" if there is none.
func (in *inputs) mapped(place component.S3Place) string {
	best := -1
	for i, m := range in.maps {
		if m.bucket == place.Bucket && strings.HasPrefix(place.Key, m.prefix) && (best < 0 || len(m.prefix) > len(in.maps[best].prefix)) {
			best = i
		}
	}
	if best < 0 {
		return ""
	}
	return filepath.Join(in.maps[best].folder, filepath.FromSlash(strings.TrimPrefix(place.Key, in.maps[best].prefix)))
}

// scan gives every input with its identity. What should be there and is not has the zero identity, so that it is noticed when it comes.
func (in *inputs) scan() map[string]identity {
	found := map[string]identity{in.recipe: identify(in.recipe)}
	if is := found[in.recipe]; is != in.read {
		in.read = is
		in.readRecipe()
	}
	for _, path := range in.documents {
		found[path] = identify(path)
	}
	if in.parameters != "" {
		found[in.parameters] = identify(in.parameters)
	}
	for _, folder := range in.folders {
		in.walk(folder, found)
	}
	for _, m := range in.maps {
		in.walk(m.folder, found)
	}
	return found
}

// walk adds the files of a folder, but for what builds write into it.
func (in *inputs) walk(folder string, found map[string]identity) {
	filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return nil // it went away meanwhile, or cannot be read by the build either
		case entry.IsDir() && (path == in.home || in.ours(path, true)):
			return fs.SkipDir
		case entry.IsDir(), in.ours(path, false), strings.HasPrefix(entry.Name(), ".ingot-"):
			return nil
		case len(found) >= maxWatched:
			return fs.SkipAll
		}
		found[path] = identify(path)
		return nil
	})
}

// ours tells whether something in the output folder is an image's, or a folder in which files wait to become one's.
func (in *inputs) ours(path string, folder bool) bool {
	if filepath.Dir(path) != in.folder {
		return false
	}
	name := filepath.Base(path)
	return folder && strings.HasPrefix(name, ".") || in.name != "" && strings.HasPrefix(name, in.name+"-")
}

// readRecipe finds out what the recipe names. What it named before a mistake in it counts on.
func (in *inputs) readRecipe() {
	data, err := os.ReadFile(in.recipe)
	if err != nil || len(data) > recipe.MaxFileSize {
		return
	}
	r, _ := recipe.Parse(in.recipe, data)
	if r == nil {
		return
	}
	beside := filepath.Dir(in.recipe)
	local := func(path string) string {
		if filepath.IsAbs(path) {
			return filepath.Clean(path)
		}
		return filepath.Join(beside, path)
	}
	var documents, folders []string
	for _, c := range r.Components {
		switch ref := c.ComponentARN; {
		case ref.Path != "":
			documents = append(documents, local(ref.Path))
		case !ref.IsZero() && !ref.ManagedOnly:
			for _, dir := range []string{beside, in.home} {
				folders = append(folders, filepath.Join(dir, "components", ref.Reference.Name))
			}
		}
	}
	if r.ParentImage.Kind == recipe.ParentFile {
		documents = append(documents, local(r.ParentImage.Path))
	}
	in.documents, in.folders = documents, folders
	in.name, in.folder = names.ResourceName(r.Name), in.output
	if in.folder != "" {
		return
	}
	if in.folder, _ = os.Getwd(); r.Distribution.Folder != "" {
		in.folder = local(r.Distribution.Folder)
	}
}
