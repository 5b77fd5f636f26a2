package preflight

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/disk/inspect"
)

// edits gathers changes of a system's files, and makes them with debugfs, which changes a file system that is not mounted.
type edits struct {
	w       *workpiece
	scripts map[int]*script // by partition
	content map[string]string
	places  map[string]located
	emptied []string // folders
}

// located is where a file is: in a file system of the disk.
type located struct {
	volume *inspect.FileSystem
	path   string // in it, from /
	info   fs.FileInfo
}

// script are commands for one file system, and the files that they write.
type script struct {
	volume   *inspect.FileSystem
	commands bytes.Buffer
	files    []*os.File
}

func newEdits(w *workpiece) *edits {
	return &edits{w: w, scripts: map[int]*script{}, content: map[string]string{}, places: map[string]located{}}
}

// Names that debugfs takes for nothing else: no blanks, quotes or <>, with which an inode is named.
var plainName = regexp.MustCompile(`^(/[A-Za-z0-9._@:+,=%~-]+)+$`)

// locate finds a file. The error says why it cannot be changed.
func (e *edits) locate(name string) (located, error) {
	if p, ok := e.places[name]; ok {
		return p, nil
	}
	if !plainName.MatchString(name) || path.Clean(name) != name {
		return located{}, fmt.Errorf("%.100q is a name that is not given to debugfs", name)
	}
	t := e.w.target
	for at := path.Dir(name); at != "/"; at = path.Dir(at) {
		if st, err := t.Root.Lstat(at[1:]); err != nil || !st.IsDir() {
			return located{}, fmt.Errorf("%s is behind a link", name)
		}
	}
	info, err := t.Root.Lstat(name[1:])
	if err != nil {
		return located{}, err
	}
	var in inspect.Mounted
	for _, m := range t.Root.Mounted {
		inside := m.Target == "/" || name == m.Target || strings.HasPrefix(name, m.Target+"/")
		if inside && len(m.Target) >= len(in.Target) {
			in = m
		}
	}
	for i := range t.Report.FileSystems {
		if v := &t.Report.FileSystems[i]; v.Device == in.Device {
			if !strings.HasPrefix(v.Type, "ext") || v.Partition == 0 || v.Device != fmt.Sprintf("partition %d", v.Partition) {
				return located{}, fmt.Errorf("%s is in %s (%s), whose files are not changed here", name, v.Device, v.Type)
			}
			p := located{v, "/" + strings.Trim(strings.TrimPrefix(name, in.Target), "/"), info}
			e.places[name] = p
			return p, nil
		}
	}
	return located{}, fmt.Errorf("%s is in no file system of the disk", name)
}

// text is what a file holds, with what was already changed of it.
func (e *edits) text(name string) (string, error) {
	if text, ok := e.content[name]; ok {
		return text, nil
	}
	return e.w.target.text(name)
}

// write gives a file other content. Mode and owner stay; other names of the same file would not, so that it must have none.
func (e *edits) write(name, text string) error {
	p, err := e.locate(name)
	if err != nil {
		return err
	}
	if !p.info.Mode().IsRegular() {
		return fmt.Errorf("%s is no file", name)
	}
	if s, ok := p.info.Sys().(disk.ExtStat); !ok || s.Links != 1 {
		return fmt.Errorf("%s has other names", name)
	}
	if e.w.target.Report.System.SELinux == "enforcing" {
		return fmt.Errorf("%s would lose its SELinux label", name)
	}
	e.content[name] = text
	return nil
}

// remove removes a file, a link, or a folder with all that is in it.
func (e *edits) remove(name string) error {
	p, err := e.locate(name)
	if err != nil {
		return err
	}
	s := e.script(p.volume)
	if !p.info.IsDir() {
		fmt.Fprintf(&s.commands, "rm %s\n", p.path)
		return nil
	}
	if err := e.empty(name); err != nil {
		return err
	}
	fmt.Fprintf(&s.commands, "rmdir %s\n", p.path)
	return nil
}

// empty removes all that is in a folder.
func (e *edits) empty(name string) error {
	entries, err := e.w.target.Root.ReadDir(name[1:])
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if len(e.places) > 20000 {
			return fmt.Errorf("%s holds too many files", name)
		}
		if err := e.remove(path.Join(name, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

func (e *edits) script(v *inspect.FileSystem) *script {
	if e.scripts[v.Partition] == nil {
		e.scripts[v.Partition] = &script{volume: v}
	}
	return e.scripts[v.Partition]
}

// apply makes the changes, and has e2fsck look at the file systems afterwards.
func (e *edits) apply(ctx context.Context) (err error) {
	defer func() {
		for _, s := range e.scripts {
			for _, f := range s.files {
				f.Close()
			}
		}
	}()
	for name, text := range e.content {
		p := e.places[name]
		if err := e.script(p.volume).replace(p, text); err != nil {
			return err
		}
	}
	for _, s := range e.scripts {
		if err := s.run(ctx, e.w.File); err != nil {
			return err
		}
	}
	if len(e.scripts) == 0 {
		return nil
	}
	for _, s := range e.scripts { // what debugfs leaves to be counted anew
		err := disk.Run(ctx, disk.Command{Tool: e2fsck, Files: []*os.File{e.w.File}, AcceptExit: []int{1, 2, 3},
			Args: []string{"-f", "-p", fmt.Sprintf("%s?offset=%d", disk.FilePath(0), s.volume.Start)}})
		if err != nil {
			return err
		}
	}
	_, err = disk.CheckClean(ctx, e.w.path())
	return err
}

// replace puts another file in a file's place, with its mode and owner.
func (s *script) replace(p located, text string) error {
	fd, err := unix.MemfdCreate("file", unix.MFD_CLOEXEC)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), "file")
	s.files = append(s.files, f)
	if _, err := io.WriteString(f, text); err != nil {
		return err
	}
	owner := p.info.Sys().(disk.ExtStat)
	mode := uint32(p.info.Mode().Perm())
	for bit, is := range map[fs.FileMode]uint32{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if p.info.Mode()&bit != 0 {
			mode |= is
		}
	}
	fmt.Fprintf(&s.commands, "rm %s\nwrite %s %s\nset_inode_field %s mode 0%o\nset_inode_field %s uid %d\nset_inode_field %s gid %d\n",
		p.path, disk.FilePath(len(s.files)), p.path, p.path, 0o100000|mode, p.path, owner.UID, p.path, owner.GID)
	return nil
}

// run gives the commands to debugfs. It ends with 0 whatever happens, and says on stderr what went wrong.
func (s *script) run(ctx context.Context, image *os.File) error {
	var said bytes.Buffer
	err := disk.Run(ctx, disk.Command{Tool: debugfs, Files: append([]*os.File{image}, s.files...), Stdin: &s.commands, Stderr: &said,
		Args: []string{"-w", "-f", "-", fmt.Sprintf("%s?offset=%d", disk.FilePath(0), s.volume.Start)}})
	if err != nil {
		return err
	}
	wrong := slices.DeleteFunc(strings.Split(strings.TrimSpace(said.String()), "\n"), func(line string) bool {
		return line == "" || strings.HasPrefix(line, "debugfs ")
	})
	if len(wrong) > 0 {
		return fmt.Errorf("debugfs: %s", some(wrong))
	}
	return nil
}
