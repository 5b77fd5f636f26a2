package builder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/ingot-image/ingot/builder/base"
	"github.com/ingot-image/ingot/builder/catalog"
	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/recipe"
	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/qemu"
)

// Options says what to build and how this run differs from what the recipe says.
type Options struct {
	Recipe      string   // the recipe's file
	OutputDir   string   // replaces distribution.folder
	Formats     []string // replaces distribution.formats
	Accelerator string   // replaces infrastructureConfiguration.accelerator
	Test        string   // TestFull, TestQuick or TestNone; empty: as the recipe says
	KeepFailed  bool     // keep the files of an image whose tests fail
	// OnFailure is given a guest in which the build failed, before it is ended, unless the build was interrupted. Without it the recipe's
	// terminateInstanceOnFailure decides whether the guest is kept.
	OnFailure func(context.Context, *FailedGuest)
	// MaxAge is how old a layer may be, counted from when the oldest component in it ran; 0 is no bound.
	MaxAge time.Duration
	// NoCache names components that must run: no layer that holds anything of them is used. AllComponents stands for all, and for a boot.
	NoCache []string
	// NoSave saves no layers.
	NoSave bool
	// NoDistribute leaves the image in the output folder, wherever the recipe wants it besides.
	NoDistribute bool
}

// job is one build under way.
type job struct {
	builder *Builder
	options Options
	started time.Time

	// From the stage resolve on.
	plan        *Plan
	program     []byte // the agent
	accelerator qemu.Accelerator
	qemuVersion string
	catalog     *catalog.Catalog
	build       *catalog.Build
	work        *workspace
	logs        string // folder
	output      string // folder of the finished files
	staging     string // folder in it, where files wait until they are good
	rawDisk     string
	rawCopy     *rawCopy               // from the stage finalise on
	sealed      map[string]*task[seal] // of the files, by path, from the stage flatten on
	failedTests []Test
	warm        *warmth   // nil if layers cannot be used
	reused      *Manifest // of the image that is there already

	mu      sync.Mutex // guards what follows; events come from several goroutines
	events  io.Writer  // the event log
	printed int        // bytes of output that came in events
	current string     // stage
	since   time.Time
	cached  bool
	done    []Stage
	closers []io.Closer
	tasks   []func() // ends what goes on beside the stages
}

func (b *Builder) newJob(o Options) *job {
	return &job{builder: b, options: o, started: time.Now().UTC().Truncate(time.Second)}
}

// stage runs one stage of the build, and tells of its start and end.
func stage[T any](ctx context.Context, j *job, name string, f func(context.Context) (T, error)) (T, error) {
	j.mu.Lock()
	j.current, j.since, j.cached = name, time.Now(), false
	j.mu.Unlock()
	j.event(Event{Type: StageStarted})
	var result T
	err := ctx.Err() // the stage before may have been done just in time
	if err == nil {
		result, err = f(ctx)
	}
	j.mu.Lock()
	s := Stage{Name: name, DurationMS: time.Since(j.since).Milliseconds(), Cached: j.cached}
	j.done = append(j.done, s)
	j.mu.Unlock()
	if isInputError(err) {
		return result, err // the caller lists the mistakes; there is no build that could have failed
	}
	ended := Event{Type: StageEnded, DurationMS: s.DurationMS, Cached: s.Cached}
	if err != nil {
		ended.Failure = j.failure(name, err)
	}
	j.event(ended)
	return result, err
}

// failure makes a failure of a stage's error, unless it is one of the recipe.
func (j *job) failure(stage string, err error) *Failure {
	f := asFailure(stage, err)
	f.Log = j.logs
	return f
}

// event sends an event to whoever listens and to the build's log.
func (j *job) event(e Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e.Time = time.Now().UTC()
	if e.Stage == "" {
		e.Stage = j.current
	}
	output := e.Component != nil && e.Component.Type == component.Output
	if output {
		j.printed += len(e.Component.Text)
	}
	if j.events != nil && (!output || j.printed <= maxLoggedOutput) {
		if data, err := json.Marshal(e); err == nil {
			j.events.Write(append(data, '\n'))
		}
	}
	if j.builder.Events != nil {
		j.builder.Events(e)
	}
}

// stages gives the stages so far, with the one under way.
func (j *job) stages(current string) []Stage {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append(slices.Clone(j.done), Stage{Name: current, DurationMS: time.Since(j.since).Milliseconds()})
}

// resolve reads the recipe and, when nothing is wrong with it, opens the build: from here on it has a number.
func (j *job) resolve(ctx context.Context) (*Plan, error) {
	b := j.builder
	plan, err := b.Plan(ctx, j.options)
	if err != nil {
		return nil, err
	}
	j.plan = plan
	if j.accelerator, err = qemu.ChooseAccelerator(string(plan.Infrastructure.Accelerator)); err != nil {
		return nil, err
	}
	if j.program, err = b.Agent("linux", "amd64"); err != nil {
		return nil, err
	}
	for _, tool := range disk.Tools() {
		if _, err := tool.Find(); err != nil {
			return nil, err
		}
	}
	if j.qemuVersion, err = qemuVersion(ctx); err != nil {
		return nil, err
	}
	if j.output, err = filepath.Abs(plan.Distribution.Folder); err != nil {
		return nil, err
	}
	if err := j.ready(ctx); err != nil {
		return nil, err
	}
	if err := j.openLayers(); err != nil {
		return nil, err
	}
	if j.reused, err = j.reuse(ctx); err != nil || j.reused != nil {
		return plan, err
	}
	if err := os.MkdirAll(j.output, 0o755); err != nil {
		return nil, err
	}
	if err := sweep(b.Home); err != nil {
		j.event(Event{Type: Warning, Detail: "clear away after an earlier build: " + err.Error()})
	}
	if j.work, err = newWorkspace(b.Home); err != nil {
		return nil, err
	}
	if j.catalog, err = catalog.Open(ctx, b.CatalogPath()); err != nil {
		return nil, err
	}
	if err := j.reserve(ctx); err != nil {
		return nil, err
	}
	if err := j.openLogs(); err != nil {
		return nil, err
	}
	j.event(Event{Type: BuildStarted, Image: j.image(), Folder: j.output, Detail: j.accelerator.String()})
	return plan, nil
}

// qemuVersion asks the QEMU that will run the guests.
func qemuVersion(ctx context.Context) (string, error) {
	binary, err := qemu.FindBinary("", "")
	if err != nil {
		return "", err
	}
	info, err := qemu.InspectBinary(ctx, binary)
	return info.Version, err
}

// parentImage is the disk that a build starts from.
type parentImage struct {
	*base.Base
	modes bootModes
}

// base makes or finds the parent image's disk.
func (j *job) base(ctx context.Context) (*parentImage, error) {
	parent, cached, err := j.builder.parentImage(ctx, j.plan.ParentImage, j.work, func(stage string, done, total int64) {
		j.event(Event{Type: Progress, Detail: stage, Done: done, Total: total})
	})
	if err != nil {
		return nil, err
	}
	j.mu.Lock()
	j.cached = cached
	j.mu.Unlock()
	return parent, j.setStatus(ctx, catalog.Building)
}

// parentImage makes or finds a parent image's disk. A half-made one goes with the workspace, which may be nil where the disk is there.
func (b *Builder) parentImage(ctx context.Context, planned recipe.PlannedParentImage, work *workspace, progress base.Progress) (_ *parentImage, cached bool, err error) {
	store := b.Bases()
	var making []string
	if work != nil {
		store.Making = func(dir string) error {
			making = append(making, dir)
			return work.own(dir)
		}
	}
	found, err := store.Get(ctx, source(planned), progress)
	if len(making) > 0 {
		err = errors.Join(err, work.disown(making...))
	}
	if err != nil {
		return nil, false, err
	}
	modes, err := bootModesOf(found.Disk)
	if err != nil {
		return nil, false, fmt.Errorf("parent image %s: %w", found.Name, err)
	}
	return &parentImage{found, modes}, len(making) == 0, nil
}

// end closes the build, however it went, and returns its error as callers of Build see it.
func (j *job) end(ctx context.Context, m *Manifest, err error) error {
	// What is done here must be done even if the build was interrupted.
	ctx = context.WithoutCancel(ctx)
	j.stopTasks()
	if w := j.warm; w != nil && w.chain != nil {
		defer w.chain.Close()
	}
	last := Event{Type: BuildEnded, Image: j.image(), Manifest: m}
	var problems component.Problems
	if errors.As(err, &problems) {
		last.Problems = problems
	} else if err != nil {
		failure := j.failure(j.current, err)
		last.Failure, err = failure, failure
		if recordErr := j.recordFailure(ctx, failure); recordErr != nil {
			err = errors.Join(failure, recordErr)
		}
	}
	// What cannot be cleaned away makes a good image no worse; the next build tries again.
	var untidy []error
	if j.work != nil {
		untidy = append(untidy, j.work.close())
	}
	if j.build != nil {
		untidy = append(untidy, j.build.Close(ctx))
	}
	if j.catalog != nil {
		untidy = append(untidy, j.catalog.Close())
	}
	if err := errors.Join(untidy...); err != nil {
		j.event(Event{Type: Warning, Detail: "clear away after the build: " + err.Error()})
	}
	j.event(last)
	for _, c := range slices.Backward(j.closers) {
		c.Close()
	}
	return err
}

// testing tells whether the image is to be tested.
func (j *job) testing() bool { return j.plan.Tests.ImageTestsEnabled }

// formats are those asked for, each once.
func (j *job) formats() []disk.Format {
	var formats []disk.Format
	for _, f := range j.plan.Distribution.Formats {
		if format := disk.Format(f); !slices.Contains(formats, format) {
			formats = append(formats, format)
		}
	}
	return formats
}

// openLogs makes the folder of the build's logs, which stays, and opens the event log in it.
func (j *job) openLogs() error {
	v := j.build.Version
	j.logs = filepath.Join(j.builder.Home, "builds", j.build.Name, v.String())
	if err := mkdir(j.logs); err != nil {
		return err
	}
	log, err := j.openLog("events.jsonl")
	if err != nil {
		return err
	}
	j.mu.Lock()
	j.events = log
	j.mu.Unlock()
	return nil
}

// maxLoggedOutput bounds how much of the guest's output the event log takes, in bytes: no guest fills the host's disk. What
// else happens is always logged. Console logs have a bound of package qemu's.
const maxLoggedOutput = 64 << 20

// openLog opens a log file of the build, to be closed with it.
func (j *job) openLog(name string) (io.Writer, error) {
	f, err := os.OpenFile(filepath.Join(j.logs, name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	j.mu.Lock()
	j.closers = append(j.closers, f)
	j.mu.Unlock()
	return f, nil
}

// fileName is the name of one of the image's files: NAME-VERSION-BUILD.EXT. The extension begins with its dot.
func (j *job) fileName(extension string) string {
	v := j.build.Version
	return fmt.Sprintf("%s-%s-%d%s", j.build.Name, v.WithoutBuild(), v.Build, extension)
}

// image is the build as people name it.
func (j *job) image() string {
	if j.build == nil {
		return ""
	}
	return j.build.Name + "/" + j.build.Version.String()
}

func (j *job) version() string { return j.build.Version.String() }

// isInputError tells whether the error is the user's to mend in a file.
func isInputError(err error) bool {
	var problems component.Problems
	return errors.As(err, &problems)
}
