package builder

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	pathpkg "path"
	"path/filepath"
	"time"

	"github.com/ingot-image/ingot/builder/agent"
	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/component/action"
	"github.com/ingot-image/ingot/builder/layer"
	"github.com/ingot-image/ingot/builder/recipe"
	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/qemu"
)

// VMRun is an order to run component documents in a throwaway VM.
type VMRun struct {
	// Base is what the VM starts from, spelt as a recipe's parentImage: debian-12, the path of a disk image, or NAME/x.x.x of an image that
	// was built. Paths are relative to the current folder.
	Base string
	// Request is what to run. The paths in its documents are the guest's.
	Request component.Request
	// Services are what the documents may reach outside of the guest.
	Services agent.Services
	// Copy are files and folders to put into the guest before the first document runs.
	Copy []VMCopy
	// Keep leaves the VM behind, saved, for [Builder.OpenVM].
	Keep bool
	// CPUs and MemoryMiB are the VM's; 0 is 2 and 2048. Accelerator is auto (or empty), kvm or tcg.
	CPUs, MemoryMiB int
	Accelerator     string
	// Console takes what the guest prints on its serial console, at most 16 MiB of it. It may be nil.
	Console io.Writer
	// Events is told what the documents do, one event at a time. It may be nil.
	Events func(component.Event)
	// Progress is told what goes on beside: the base being made, the boot, the end. It may be nil.
	Progress func(VMProgress)
}

// VMCopy is a file or folder to be copied into a guest.
type VMCopy struct {
	Host  string // path on this machine
	Guest string // absolute path in the guest; folders above it are made
}

// VMProgress is what a throwaway VM is at.
type VMProgress struct {
	// Doing is one clause: "booting debian-12". Total is 0 where there is nothing to count.
	Doing       string
	Done, Total int64
	Elapsed     time.Duration // since the run began
}

// VMResult is how a run in a VM ended.
type VMResult struct {
	Result *component.Result
	// Kept is the ID of the VM that was kept, empty if none was.
	Kept string
}

// RunInVM runs component documents in a VM that starts from Base on a throwaway overlay, through all the reboots that they ask for.
// Nothing of the host but what Copy names is read, and nothing is written; the VM is gone when RunInVM returns, and soon after this
// process was killed. With Keep, the VM is saved first, however the documents ended.
//
// A step that fails is no error, as with [component.Runner.Run]. Mistakes in Base, the documents or their parameters are
// component.Problems; a *Failure tells of a guest that could not be booted, hung or died, of an interruption, and of a run that the VM
// could not be kept of. The result is not nil when the documents ran to their end.
func (b *Builder) RunInVM(ctx context.Context, run VMRun) (*VMResult, error) {
	t := &throwaway{builder: b, began: time.Now(), progress: run.Progress}
	result, err := t.run(ctx, run)
	if isInputError(err) || err == nil {
		return result, err
	}
	failure := asFailure(t.stage, err)
	if ctx.Err() != nil && !failure.Cancelled() {
		failure = asFailure(t.stage, ctx.Err())
	}
	return result, failure
}

// Stages of a throwaway VM, as a Failure names them; StageBase and StageBoot are those of builds.
const (
	StageRun  = "run"
	StageKeep = "keep"
	StageOpen = "open"
)

// throwaway is a VM that nothing is built in.
type throwaway struct {
	*machine
	stack    *stack // of a VM that starts from a base
	builder  *Builder
	began    time.Time
	progress func(VMProgress)
	stage    string
	work     *workspace
	saved    savedVM // what is known of it in case it is kept
}

func (t *throwaway) doing(format string, args ...any) {
	t.counted(fmt.Sprintf(format, args...), 0, 0)
}

func (t *throwaway) counted(doing string, done, total int64) {
	if t.progress != nil {
		t.progress(VMProgress{Doing: doing, Done: done, Total: total, Elapsed: time.Since(t.began)})
	}
}

func (t *throwaway) run(ctx context.Context, run VMRun) (_ *VMResult, err error) {
	t.stage = StageBase
	planned, err := t.builder.planBase(ctx, run.Base)
	if err != nil {
		return nil, err
	}
	if err := checkDocuments(run.Request); err != nil {
		return nil, err
	}
	if err := t.open(ctx); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.work.close()) }()
	parent, _, err := t.builder.parentImage(ctx, planned, t.work, t.counted)
	if err != nil {
		return nil, err
	}
	t.stage = StageBoot
	if err := t.configure(ctx, planned.Name, parent, run); err != nil {
		return nil, err
	}
	if err := t.boot(ctx); err != nil {
		return nil, err
	}
	defer t.leave()
	t.stage = StageRun
	for _, c := range run.Copy {
		t.doing("copying %s to %s", c.Host, c.Guest)
		if err := t.put(ctx, c); err != nil {
			return nil, err
		}
	}
	result, err := t.machine.run(ctx, run.Request, func(e component.Event) {
		if run.Events != nil {
			run.Events(e)
		}
	})
	if err != nil {
		return nil, err
	}
	kept := &VMResult{Result: result}
	if run.Keep {
		t.stage = StageKeep
		t.saved.describe(run.Request, result)
		kept.Kept, err = t.keep(ctx)
	}
	return kept, err
}

// open makes the workspace, and looks for all that a VM needs.
func (t *throwaway) open(ctx context.Context) (err error) {
	for _, tool := range disk.Tools() {
		if _, err := tool.Find(); err != nil {
			return err
		}
	}
	if err := sweep(t.builder.Home); err != nil {
		t.doing("clear away after an earlier run: %v", err)
	}
	t.work, err = newWorkspace(t.builder.Home)
	return err
}

// configure makes the machine that starts the parent image on an overlay.
func (t *throwaway) configure(ctx context.Context, name string, parent *parentImage, run VMRun) error {
	accelerator, err := qemu.ChooseAccelerator(run.Accelerator)
	if err != nil {
		return err
	}
	program, err := t.builder.Agent("linux", "amd64")
	if err != nil {
		return err
	}
	version, err := qemuVersion(ctx)
	if err != nil {
		return err
	}
	t.machine = &machine{folder: t.work.path("vm"), services: run.Services}
	if err := mkdir(t.folder); err != nil {
		return err
	}
	t.config = qemu.Config{
		Accelerator: accelerator,
		CPUs:        cmp.Or(run.CPUs, min(recipe.DefaultVCPUs, usefulCPUs(ctx, run.Accelerator))),
		MemoryMiB:   cmp.Or(run.MemoryMiB, recipe.DefaultMemoryMiB),
		Network:     &qemu.Network{},
		Ports:       []string{agent.PortName},
		OnReboot:    qemu.Exit,
		ConsoleLog:  run.Console,
		RuntimeDir:  t.work.sockets,
	}
	t.saved = savedVM{Base: name, BaseDisk: parent.Disk, Created: time.Now().UTC().Truncate(time.Second)}
	t.stack = &stack{
		machine: t.machine, parent: parent, program: program, hostname: "ingot-vm", size: parent.Size,
		folders: t.work.path, tell: t.tell, warm: t.warmth(),
	}
	return t.stack.set(version)
}

// leave ends the VM, and lets go of its layers.
func (t *throwaway) leave() {
	t.Close()
	if w := t.stack.warm; w != nil {
		w.chain.Close()
	}
}

// warmth gives the VM the layers of booted bases, nil if they cannot be used.
func (t *throwaway) warmth() *warmth {
	store, err := t.builder.layers(func(dir string) error { return t.work.own(dir) })
	if err != nil {
		t.doing("no layers are used: %v", err)
		return nil
	}
	return &warmth{tell: t.tell, store: store, reads: newReads(agent.Services{}, store), room: int64(t.config.MemoryMiB) << 20 / 4}
}

// tell passes on what happens to the VM's layers.
func (t *throwaway) tell(e Event) {
	switch e.Type {
	case Warning, Progress:
		t.doing("%s", e.Detail)
	case LayerSaved:
		t.doing("saved the booted %s as a layer", t.saved.Base)
	}
}

// boot starts the guest, or wakes it where its start-up is over.
func (t *throwaway) boot(ctx context.Context) error {
	t.doing("booting %s", t.saved.Base)
	var query *layer.Query
	if w := t.stack.warm; w != nil {
		query = &layer.Query{Root: w.root, Until: 0}
	}
	warm, err := t.stack.begin(ctx, query, &component.Request{})
	if err != nil {
		return errors.Join(err, t.Close())
	}
	if warm {
		t.doing("woke %s, which was booted before", t.saved.Base)
	} else {
		t.doing("booted %s", t.saved.Base)
	}
	return nil
}

// put copies a file, or a folder with all that is in it, into the guest.
func (t *throwaway) put(ctx context.Context, c VMCopy) error {
	return filepath.WalkDir(c.Host, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("copy into the guest: %w", err)
		}
		info, err := os.Stat(path) // of what a link leads to
		if err != nil {
			return fmt.Errorf("copy into the guest: %w", err)
		}
		below, err := filepath.Rel(c.Host, path)
		if err != nil {
			return err
		}
		file := agent.PutFile{Path: pathpkg.Join(c.Guest, filepath.ToSlash(below)), Mode: info.Mode().Perm(), Size: info.Size()}
		switch {
		case info.IsDir():
			file.Folder, file.Size = true, 0
			return t.agent.Put(ctx, file, nil)
		case !info.Mode().IsRegular():
			return fmt.Errorf("copy into the guest: %s is neither a file nor a folder", path)
		}
		f, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("copy into the guest: %w", err)
		}
		defer f.Close()
		wait := qemu.Wait{Name: "the copy of " + path + " into the guest"}
		return t.vm.Await(ctx, wait, func(ctx context.Context) error { return t.agent.Put(ctx, file, f) })
	})
}

// planBase finds what a base's name means, by the rules of a recipe's parentImage.
func (b *Builder) planBase(ctx context.Context, name string) (recipe.PlannedParentImage, error) {
	images, err := b.OpenCatalog(ctx)
	if err != nil {
		return recipe.PlannedParentImage{}, err
	}
	if images != nil {
		defer images.Close()
	}
	data, err := json.Marshal(map[string]string{"name": "throwaway", "semanticVersion": "1.0.0", "parentImage": name})
	if err != nil {
		return recipe.PlannedParentImage{}, err
	}
	// A recipe with nothing else in it. Its file gives paths the current folder to start in.
	const file = "--vm"
	plan, err := func() (*recipe.Plan, error) {
		r, err := recipe.Parse(file, data)
		if r == nil {
			return nil, err
		}
		return recipe.Resolve(ctx, r, recipe.Environment{Home: b.Home, Images: known{images}, Parents: parents{b.Bases()}})
	}()
	var problems component.Problems
	if errors.As(err, &problems) {
		// Where in that recipe is nobody's concern.
		for i, p := range problems {
			problems[i] = component.Problem{Field: "--vm " + name, Message: p.Message, Hint: p.Hint}
		}
		return recipe.PlannedParentImage{}, problems
	}
	if err != nil {
		return recipe.PlannedParentImage{}, err
	}
	return plan.ParentImage, nil
}

// checkDocuments finds the mistakes in documents for a guest, before one is started for them.
func checkDocuments(req component.Request) error {
	var problems component.Problems
	for _, d := range req.Documents {
		file := cmp.Or(d.Path, d.Name)
		document, err := component.Parse(file, d.Content, action.Modules())
		var found component.Problems
		switch {
		case errors.As(err, &found):
			problems = append(problems, found...)
		case err != nil:
			return err
		}
		if document != nil {
			problems = append(problems, document.CheckParameters(file, d.Parameters)...)
		}
	}
	return problems.Err()
}
