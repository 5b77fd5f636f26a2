package builder

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ingot-image/ingot/builder/agent"
	"github.com/ingot-image/ingot/builder/tarfs"
	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/qemu"
)

//go:embed appliance_tar.sh
var applianceTar string

// maxArchive bounds what comes from the guest, in bytes.
const maxArchive = 80 << 30

// spooled is a file system whose contents are in a file without a name.
type spooled struct {
	*tarfs.FS
	file *os.File
}

func (s *spooled) Close() error { return s.file.Close() }

// unless gives what was read unless something went wrong: then nobody has it, and it is closed.
func (s *spooled) unless(err error) (*spooled, error) {
	if err != nil && s != nil {
		s.Close()
		s = nil
	}
	return s, err
}

// copy takes the files out of the guest.
func (a *appliance) copy(ctx context.Context, paths []string) (_ *spooled, err error) {
	name := filepath.Join(a.work.dir, "files")
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			file.Close()
		}
	}()
	if err := os.Remove(name); err != nil {
		return nil, err
	}
	c := &applianceCopy{appliance: a, paths: outermost(paths), file: file}
	// How long it takes is the file system's to say, as long as something comes.
	err = a.vm.Await(ctx, qemu.Wait{Name: "the files to be read"}, func(ctx context.Context) error {
		return whileAlive(ctx, heartbeatEvery, a.config.Accelerator.Limit(agentLimit), a.alive, c.run)
	})
	if err != nil {
		return nil, disk.ExplainSpace(err, a.work.dir, 0)
	}
	return &spooled{c.files, file}, nil
}

// outermost leaves out what lies in a folder that is asked for, too. Nothing is for everything.
func outermost(paths []string) []string {
	if slices.Contains(paths, ".") {
		return nil
	}
	var out []string
	for _, p := range slices.Compact(slices.Sorted(slices.Values(paths))) {
		if !slices.ContainsFunc(out, func(above string) bool { return strings.HasPrefix(p, above+"/") }) {
			out = append(out, p)
		}
	}
	return out
}

// applianceCopy is a copy under way.
type applianceCopy struct {
	*appliance
	paths []string
	file  *os.File
	files *tarfs.FS
	bytes atomic.Int64
}

var errStalled = errors.New("nothing more comes from it")

func (c *applianceCopy) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		c.watch(ctx, cancel)
	}()
	defer func() { cancel(nil); <-watched }()

	r, w := io.Pipe()
	complaints := &complaints{}
	command := []string{"/bin/bash", "-c", applianceTar, "copy", mountedFolder}
	if c.paths == nil {
		command = append(command, "all")
	}
	status, sent := 0, make(chan error, 1)
	go func() {
		var err error
		streams := agent.Streams{Stdin: strings.NewReader(strings.Join(c.paths, "\x00")), Stdout: io.MultiWriter(counter{&c.bytes}, w), Stderr: complaints}
		status, err = c.agent.Shell(ctx, agent.Shell{Command: command}, streams)
		w.CloseWithError(err)
		sent <- err
	}()
	files, err := tarfs.Read(io.LimitReader(r, maxArchive), c.file, tarfs.Limits{})
	if err == nil {
		_, err = io.Copy(io.Discard, r) // what pads the archive
	}
	r.CloseWithError(errors.New("the copy is over"))
	sendErr := <-sent
	switch {
	case errors.Is(context.Cause(ctx), errStalled):
		return context.Cause(ctx)
	case sendErr != nil && (err == nil || errors.Is(err, sendErr)):
		return sendErr
	case files == nil && status != 0:
		return errors.Join(errors.New(complaints.first()), err)
	case err != nil:
		return err
	}
	if err := complaints.apply(files); err != nil {
		return err
	}
	if status != 0 && len(complaints.text) == 0 {
		return fmt.Errorf("the copy ends with status %d, and %s", status, complaints.first())
	}
	c.files = files
	return nil
}

// watch tells of the copy's progress, and ends it when there is none.
func (c *applianceCopy) watch(ctx context.Context, cancel context.CancelCauseFunc) {
	limit := c.config.Accelerator.Limit(stallLimit)
	last, at := int64(-1), time.Now()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if n := c.bytes.Load(); n != last {
			if n>>20 != last>>20 {
				c.doing("reading files: %d MiB", n>>20)
			}
			last, at = n, time.Now()
		}
		if time.Since(at) > limit {
			cancel(fmt.Errorf("%w (for %v, after %d bytes)", errStalled, limit, last))
			return
		}
	}
}

type counter struct{ n *atomic.Int64 }

func (c counter) Write(b []byte) (int, error) {
	c.n.Add(int64(len(b)))
	return len(b), nil
}

// complaints is what tar says of files that it cannot read.
type complaints struct {
	mu   sync.Mutex
	text []byte
	more bool
}

const maxComplaints = 4 << 20

func (c *complaints) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	room := min(len(b), maxComplaints-len(c.text))
	c.text = append(c.text, b[:room]...)
	c.more = c.more || room < len(b)
	return len(b), nil
}

// complaint is one about a file; tar puts zeros in the place of what it cannot read. Versions differ in whether they call it a warning.
var complaint = regexp.MustCompile(`^tar: (?:\./)?(.+): ((?:Read error|Cannot [a-z]+|Unknown file type|[Ff]ile (?:shrank|removed|changed)).*)$`)

var shrank = regexp.MustCompile(`^File shrank by ([0-9]+) bytes?; padding with zeros$`)

// apply makes the files complained of unreadable, so that none is taken for what it is not.
func (c *complaints) apply(files *tarfs.FS) error {
	if c.more {
		return fmt.Errorf("too much of it cannot be read: %s", c.first())
	}
	for line := range strings.Lines(string(c.text)) {
		line = strings.TrimSuffix(line, "\n")
		m := complaint.FindStringSubmatch(line)
		switch {
		case m != nil:
			// Nothing becomes shorter here: reading ended early.
			m[2] = shrank.ReplaceAllString(m[2], "its last $1 bytes cannot be read")
			files.Fail(strings.TrimSuffix(m[1], ": Warning"), errors.New(m[2]))
		case strings.HasPrefix(line, "tar: Exiting"), strings.HasSuffix(line, ": socket ignored"), line == "":
		default:
			return errors.New(strings.ToValidUTF8(line, "?"))
		}
	}
	return nil
}

// first is what was said first.
func (c *complaints) first() string {
	line, _, _ := strings.Cut(string(c.text), "\n")
	if line == "" {
		return "the guest does not say why"
	}
	return strings.ToValidUTF8(line, "?")
}
