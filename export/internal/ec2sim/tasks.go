package ec2sim

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/ingot-image/ingot/export/internal/ec2sim/container"
)

// The kinds of tasks, by the beginning of their ids.
const (
	importSnapshot = "import-snap-"
	importImage    = "import-ami-"
	exportImage    = "export-ami-"
)

// taskQuota is how many tasks of a kind may be active in a place (VM Import/Export User Guide, "Limitations": 20 for ImportImage).
const taskQuota = 20

// task is one of VM Import/Export. What it shows of itself is guarded by the server's mu.
type task struct {
	place
	id, kind string
	request  form
	tags     map[string]string
	created  time.Time
	cancel   context.CancelCauseFunc
	wrong    Fault

	status, message, progress string
	encrypted                 bool
	kmsKey                    string
	disks                     []*taskDisk
	image                     string
}

// taskDisk is a disk of a task.
type taskDisk struct {
	object
	format, device, description string
	size                        int64
	snapshot                    string
}

var errCancelled = errors.New("cancelled")

// begin starts a task, or finds the one that the client token started.
func (s *Server) begin(c *call, t *task, run func(context.Context, *task) error) (*task, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if made := s.tasks[s.tokens[c.token()]]; made != nil {
		return made, nil
	}
	active := 0
	for _, other := range s.tasks {
		if other.kind == t.kind && other.place == c.place() && other.status == "active" {
			active++
		}
	}
	if active >= taskQuota {
		return nil, refuse("ResourceCountExceeded", "You have reached the limit of %d concurrent import tasks", taskQuota)
	}
	id := make([]byte, 8)
	rand.Read(id)
	ctx, cancel := context.WithCancelCause(s.ctx)
	t.place, t.id, t.request, t.created, t.cancel, t.status = c.place(), t.kind+hex.EncodeToString(id)+"f", c.form, time.Now(), cancel, "active"
	t.tags = c.form.tags(map[string]string{importSnapshot: "import-snapshot-task", importImage: "import-image-task", exportImage: "export-image-task"}[t.kind])
	if c.wrong != nil {
		t.wrong = *c.wrong
	}
	s.tasks[t.id] = t
	if token := c.token(); token != "" {
		s.tokens[token] = t.id
	}
	s.running.Add(1)
	go func() {
		defer s.running.Done()
		defer cancel(nil)
		s.end(ctx, t, run(ctx, t))
	}()
	return t, nil
}

// stage is what an active task shows of itself. Both may be missing, as happens on AWS.
type stage struct{ message, progress string }

// through takes a task from stage to stage. The error is why it goes no further.
func (s *Server) through(ctx context.Context, t *task, stages ...stage) error {
	for _, at := range stages {
		s.mu.Lock()
		t.message, t.progress = at.message, at.progress
		s.mu.Unlock()
		select {
		case <-time.After(cmp.Or(t.wrong.TaskStep, s.options.Step)):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if t.wrong.TaskMessage != "" && at.message == "converting" {
			return &container.Refusal{Message: t.wrong.TaskMessage}
		}
	}
	return nil
}

// end ends a task as completed, or by way of deleting as deleted, which is how failures show.
func (s *Server) end(ctx context.Context, t *task, err error) {
	set := func(status, message string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		t.status, t.message, t.progress = status, message, ""
	}
	var refused *container.Refusal
	var denied *fault
	switch {
	case err == nil:
		set("completed", "")
		return
	case s.ctx.Err() != nil:
		return
	case errors.Is(err, errCancelled):
		refused = &container.Refusal{Message: "The import task was cancelled by the user"} // a guess: nobody has published AWS's words
	case errors.As(err, &refused):
	case errors.As(err, &denied):
		refused = &container.Refusal{Message: "ClientError: " + denied.message}
	default:
		s.tb.Logf("%s: %v", t.id, err)
		refused = &container.Refusal{Message: "ServerError: an internal error has occurred during conversion."}
	}
	if t.wrong.TaskStatus == "error" {
		set("error", refused.Message)
		return
	}
	set("deleting", refused.Message)
	select {
	case <-time.After(cmp.Or(t.wrong.TaskStep, s.options.Step)):
	case <-s.ctx.Done():
		return
	}
	if t.wrong.TaskStatus != "deleting" {
		set("deleted", refused.Message)
	}
}

// describeTasks answers the Describe… actions of a kind of task.
func (s *Server) describeTasks(kind, ids, filters, set string, item func(*task) []element) action {
	return func(c *call) ([]element, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		wanted := c.form.list(ids)
		var known []*task
		for _, t := range s.tasks {
			if t.kind == kind && t.place == c.place() && !time.Now().Before(t.created.Add(s.options.Lag)) {
				known = append(known, t)
			}
		}
		for _, id := range wanted {
			if !strings.HasPrefix(id, kind) {
				return nil, refuse("InvalidConversionTaskId.Malformed", "The task ID (%s) is not valid. Expected: '%s...'", id, kind)
			}
			if !slices.ContainsFunc(known, func(t *task) bool { return t.id == id }) {
				return nil, refuse("InvalidConversionTaskId", "The task ID (%s) does not exist", id)
			}
		}
		slices.SortFunc(known, func(a, b *task) int { return cmp.Or(a.created.Compare(b.created), cmp.Compare(a.id, b.id)) })
		var items [][]element
		for _, t := range known {
			fits, err := filter(c.form.subs(filters), []element{text("state", t.status), tagSet(t.tags)}, map[string]string{"task-state": "state"})
			if err != nil {
				return nil, err
			}
			if fits && (len(wanted) == 0 || slices.Contains(wanted, t.id)) {
				items = append(items, item(t))
			}
		}
		return page(c, set, items)
	}
}

// cancelImportTask ends a task of an import. It is deleting then, and deleted soon.
func (s *Server) cancelImportTask(c *call) ([]element, error) {
	id := c.form.get("ImportTaskId")
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tasks[id]
	switch {
	case t == nil || t.place != c.place():
		return nil, refuse("InvalidConversionTaskId", "The task ID (%s) does not exist", id)
	case t.status != "active":
		return nil, refuse("IncorrectState", "The task %s is %s and cannot be cancelled", id, t.status)
	}
	t.cancel(errCancelled)
	return []element{text("importTaskId", id), text("previousState", "active"), text("state", "deleting")}, nil
}
