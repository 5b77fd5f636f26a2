package builder

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/ingot-image/ingot/builder/agent"
	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/recipe/version"
	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/qemu"
)

// savedVM is vm.json, the record of a VM that was kept: $INGOT_HOME/vms/ID/vm.json. All that it names lies beside it, except for the base's
// disk, the disks of layers and, as long as the guest has the base's kernel, kernel and initrd. The IDs of those layers are also in the file
// layers beside it, one a line.
//
// A saved VM does not change while it is open: a session writes to an overlay of its own in a workspace, and becomes part of the saved VM
// by the rename of a new vm.json, or not at all.
type savedVM struct {
	Version int       `json:"version"`
	ID      string    `json:"id"`
	Base    string    `json:"base"`            // as the user named it
	Build   string    `json:"build,omitempty"` // NAME/VERSION/BUILD, of the guest of a build
	Created time.Time `json:"created"`
	Saved   time.Time `json:"saved"`

	// Documents are the names of those that ran, and Status and Failure how that ended.
	Documents []string         `json:"documents"`
	Status    component.Status `json:"status"`
	Failure   string           `json:"failure,omitempty"`

	// What the machine is. The memory can be resumed only by the same.
	QEMU        string `json:"qemu"` // version
	Accelerator string `json:"accelerator"`
	Protocol    int    `json:"agentProtocol"`
	CPUs        int    `json:"cpus"`
	MemoryMiB   int    `json:"memoryMiB"`
	Firmware    string `json:"firmware,omitempty"` // of a guest that is not booted directly

	Kernel *savedKernel `json:"kernel,omitempty"`

	BaseDisk string   `json:"baseDisk,omitempty"` // raw, absolute path; empty when Disks need none
	Below    []string `json:"below,omitempty"`    // qcow2 between BaseDisk and Disks, absolute paths, topmost first
	Disks    []string `json:"disks"`              // qcow2, each on top of the one before
	Seed     string   `json:"seed"`
	Memory   string   `json:"memory,omitempty"` // the state of QEMU; empty: the guest boots from its disk
}

// savedKernel is what a guest is booted with directly. Paths are absolute, or names of files beside vm.json.
type savedKernel struct {
	Path   string          `json:"path"`
	Initrd string          `json:"initrd"` // without the agent's unit
	Append string          `json:"append"`
	Files  agent.BootFiles `json:"files"`
}

const (
	savedVersion = 1
	savedRecord  = "vm.json"
	savedLayers  = "layers"
	savedLock    = "lock"
	// maxDisks is how deep a chain of overlays may become before it is written out as one.
	maxDisks = 16
)

func diskName(n int) string   { return fmt.Sprintf("disk-%d.qcow2", n) }
func memoryName(n int) string { return fmt.Sprintf("memory-%d", n) }

// describe notes what was run.
func (s *savedVM) describe(req component.Request, result *component.Result) {
	for _, d := range req.Documents {
		name := d.Name
		if name == "" {
			name = filepath.Base(d.Path)
		}
		s.Documents = append(s.Documents, name)
	}
	s.Status = result.Status
	if f := result.Failure; f != nil {
		s.Failure = fmt.Sprintf("%s › %s: %s", f.Phase, f.Step, f.Message)
	}
}

// write writes the record into a folder, replacing an older one when it is complete.
func (s *savedVM) write(dir string) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	f, err := disk.Create(filepath.Join(dir, savedRecord))
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(append(data, '\n')); err != nil {
		return err
	}
	return f.Commit()
}

// readSaved reads the record of a folder.
func readSaved(dir string) (*savedVM, error) {
	data, err := os.ReadFile(filepath.Join(dir, savedRecord))
	if err != nil {
		return nil, err
	}
	var s savedVM
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, savedRecord), err)
	}
	if s.Version != savedVersion {
		return nil, fmt.Errorf("%s: version %d, this ingot knows %d", filepath.Join(dir, savedRecord), s.Version, savedVersion)
	}
	for _, name := range append(slices.Clone(s.Disks), s.Seed, s.Memory) {
		if name != "" && (name != filepath.Base(name) || !filepath.IsLocal(name)) {
			return nil, fmt.Errorf("%s: %q is not the name of a file beside it", filepath.Join(dir, savedRecord), name)
		}
	}
	for _, path := range append(slices.Clone(s.Below), s.BaseDisk) {
		if path != "" && !filepath.IsAbs(path) {
			return nil, fmt.Errorf("%s: %q is not an absolute path", filepath.Join(dir, savedRecord), path)
		}
	}
	if len(s.Disks) == 0 || s.ID != filepath.Base(dir) {
		return nil, fmt.Errorf("%s: is of another VM", filepath.Join(dir, savedRecord))
	}
	return &s, nil
}

// chain gives the images below a new overlay, nearest first.
func (s *savedVM) chain(dir string) []qemu.Image {
	var chain []qemu.Image
	for _, name := range slices.Backward(s.Disks) {
		chain = append(chain, qemu.Image{Path: filepath.Join(dir, name), Format: driver(disk.Qcow2)})
	}
	for _, path := range s.Below {
		chain = append(chain, qemu.Image{Path: path, Format: driver(disk.Qcow2)})
	}
	if s.BaseDisk != "" {
		chain = append(chain, qemu.Image{Path: s.BaseDisk, Format: driver(disk.Raw)})
	}
	return chain
}

// nextDisk is the number of the overlay that comes next.
func (s *savedVM) nextDisk() int {
	last := s.Disks[len(s.Disks)-1]
	n := 0
	fmt.Sscanf(last, "disk-%d.qcow2", &n)
	return n + 1
}

// KeptVM is a VM that was kept.
type KeptVM struct {
	ID        string           `json:"id"`
	Build     string           `json:"build,omitempty"` // NAME/VERSION/BUILD, of the guest of a build
	Base      string           `json:"base"`
	Created   time.Time        `json:"created"` // when it was booted first
	Saved     time.Time        `json:"saved"`
	Documents []string         `json:"documents"` // names of those that ran in it
	Status    component.Status `json:"status"`    // how they ended
	Failure   string           `json:"failure,omitempty"`
	Memory    bool             `json:"memory"`    // it goes on where it was; else it boots from its disk
	SizeBytes int64            `json:"sizeBytes"` // what it takes on the disk
	InUse     bool             `json:"inUse"`     // a shell is open in it
}

func (b *Builder) vmsPath() string { return filepath.Join(b.Home, "vms") }

// KeptVMs lists the VMs that were kept, the latest first. Folders that are not whole are passed over.
func (b *Builder) KeptVMs() ([]KeptVM, error) {
	entries, err := os.ReadDir(b.vmsPath())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list kept VMs: %w", err)
	}
	vms := []KeptVM{}
	for _, e := range entries {
		dir := filepath.Join(b.vmsPath(), e.Name())
		s, err := readSaved(dir)
		if err != nil {
			continue
		}
		size, _ := disk.Allocated(dir) // of what is there
		vm := KeptVM{
			ID: s.ID, Build: s.Build, Base: s.Base, Created: s.Created, Saved: s.Saved, Documents: s.Documents, Status: s.Status, Failure: s.Failure,
			Memory: s.Memory != "", SizeBytes: size,
		}
		lock, err := holdLock(filepath.Join(dir, savedLock))
		if vm.InUse = err != nil; err == nil {
			lock.Close()
		}
		vms = append(vms, vm)
	}
	slices.SortFunc(vms, func(a, b KeptVM) int { return b.Saved.Compare(a.Saved) })
	return vms, nil
}

// ErrNoSuchVM is wrapped by the errors about a VM that is not there.
var ErrNoSuchVM = errors.New("there is no such kept VM")

// ErrVMInUse is wrapped by the errors about a VM in which a shell is open.
var ErrVMInUse = errors.New("a shell is open in the VM already")

// findKept finds the kept VMs that a name means, as VMOpen.VM says, the latest first.
func (b *Builder) findKept(name string) ([]KeptVM, error) {
	if vmID.MatchString(name) && exists(filepath.Join(b.vmsPath(), name, savedRecord)) {
		return []KeptVM{{ID: name}}, nil // also one whose record cannot be read, which whoever opens it tells
	}
	vms, err := b.KeptVMs()
	if err != nil {
		return nil, err
	}
	vms = slices.DeleteFunc(vms, func(vm KeptVM) bool { return name != "" && !isBuild(name, vm.Build) })
	switch {
	case len(vms) > 0:
		return vms, nil
	case name == "":
		return nil, fmt.Errorf("%w: none was kept; ingot build --on-failure=keep and ingot component run --vm … --keep keep one", ErrNoSuchVM)
	}
	return nil, fmt.Errorf("%w: %q; ingot shell --list lists them", ErrNoSuchVM, name)
}

// isBuild tells whether a name (NAME, NAME/VERSION or NAME/VERSION/BUILD) means a build.
func isBuild(name, build string) bool {
	ref, err := version.ParseReference(build)
	exact, ok := ref.Pattern.Exact()
	if err != nil || !ok {
		return false
	}
	if !strings.Contains(name, "/") {
		return version.ResourceName(name) == ref.Name
	}
	wanted, err := version.ParseReference(name)
	return err == nil && wanted.Name == ref.Name && wanted.Pattern.Matches(exact)
}

// lockKept finds a kept VM and locks it.
func (b *Builder) lockKept(name string) (dir string, lock *os.File, err error) {
	vms, err := b.findKept(name)
	if err != nil {
		return "", nil, err
	}
	id := vms[0].ID
	dir = filepath.Join(b.vmsPath(), id)
	lock, err = holdLock(filepath.Join(dir, savedLock))
	if err != nil {
		return "", nil, fmt.Errorf("%w: %s", ErrVMInUse, id)
	}
	return dir, lock, nil
}

// RemoveVM removes a kept VM, named as in VMOpen.VM; a name that means several is refused. One in which a shell is open is not removed.
func (b *Builder) RemoveVM(name string) error {
	if name == "" {
		return fmt.Errorf("remove a kept VM: %w: no name is given", ErrNoSuchVM)
	}
	vms, err := b.findKept(name)
	if err != nil {
		return fmt.Errorf("remove a kept VM: %w", err)
	}
	if len(vms) > 1 {
		return fmt.Errorf("remove a kept VM: %w: %q means %d of them; ingot shell --list lists them", ErrNoSuchVM, name, len(vms))
	}
	dir, lock, err := b.lockKept(vms[0].ID)
	if err != nil {
		return fmt.Errorf("remove a kept VM: %w", err)
	}
	defer lock.Close()
	// The record first: what is left by a kill is no VM any more.
	if err := os.Remove(filepath.Join(dir, savedRecord)); err != nil {
		return fmt.Errorf("remove a kept VM: %w", err)
	}
	return os.RemoveAll(dir)
}

var (
	vmID    = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*$`)
	notInID = regexp.MustCompile(`[^a-z0-9.]+`)
)

// newVMID makes an ID out of the base's name: debian-12-3fa9c1.
func newVMID(base string) string {
	base = strings.ToLower(strings.TrimSuffix(filepath.Base(base), filepath.Ext(base)))
	base = strings.Trim(notInID.ReplaceAllString(base, "-"), "-.")
	return strings.TrimPrefix(base[:min(len(base), 24)]+"-"+randomHex(3), "-")
}
