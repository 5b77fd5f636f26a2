// Package logs writes what a run of component documents leaves behind for people and programs, in the shape of AWSTOE's log folder:
//
//	TOE_2026-11-22_09-50-47_UTC-0_<execution ID>/
//	  document.yaml          the document as it was given; document-2.yaml and so on for the ones after it
//	  console.log            what the steps printed, under headings that say whose output it is
//	  application.log        what the engine did and when
//	  detailedoutput.json    every document, phase and step with its inputs, outputs, times and status (component.ExecutionDetail)
//	  chaining.json          the values that later steps referred to
//	  events.jsonl           every event of the run but the output, one a line
//
// A folder takes the events of a [component.Runner]:
//
//	folder, err := logs.Create("/var/log/toe", time.Now(), executionID)
//	...
//	runner.Events = folder.Event
//	result, err := runner.Run(ctx, request)
//	err = folder.Finish(result, err)
//
// A run that waits for a reboot is finished, too; [Open] goes on in its folder.
//
// Folders have mode 0700 and files 0600: what steps print is not for everybody. Secrets do not get here at all, since the engine takes them
// out of events and results.
package logs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/ingot-image/ingot/builder/component"
)

// Names of a folder's files.
const (
	consoleFile     = "console.log"
	applicationFile = "application.log"
	detailFile      = "detailedoutput.json"
	chainingFile    = "chaining.json"
	eventsFile      = "events.jsonl"
)

// Folder is the log folder of a run. Its methods may be called from several goroutines. What cannot be written is told by Finish.
type Folder struct {
	// Trace writes every event in full to application.log, output too. Set it before the first event.
	Trace bool

	path        string
	executionID string
	start       time.Time

	mu          sync.Mutex
	documents   int
	console     *console
	application *os.File
	events      *os.File
	recorder    component.Recorder
	err         error // the first one
}

// Name is the name of a run's folder. The time is written in UTC.
func Name(start time.Time, executionID string) string {
	return start.UTC().Format("TOE_2006-01-02_15-04-05_UTC-0_") + executionID
}

// Create makes the folder of a run in dir, which is made as well if it is missing. An execution ID is a file name: letters, digits, ".", "_"
// and "-", see [CheckExecutionID]. When the folder is there already, its name moves on by a second.
func Create(dir string, start time.Time, executionID string) (*Folder, error) {
	if err := CheckExecutionID(executionID); err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("make the log folder: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the log folder: %w", err)
	}
	for range maxSameSecond {
		path := filepath.Join(dir, Name(start, executionID))
		if err = os.Mkdir(path, 0o700); err == nil {
			f := &Folder{path: path, executionID: executionID, start: start}
			return f, f.open()
		}
		if !errors.Is(err, fs.ErrExist) {
			break
		}
		start = start.Add(time.Second)
	}
	return nil, fmt.Errorf("make the log folder: %w", err)
}

// maxSameSecond is how many runs of one execution ID may begin in a second.
const maxSameSecond = 60

// Open goes on in the folder of a run that waited for a reboot.
func Open(path string) (*Folder, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open the log folder: %w", err)
	}
	stamp, executionID, ok := strings.Cut(filepath.Base(path), "_UTC-0_")
	start, err := time.Parse("TOE_2006-01-02_15-04-05", stamp)
	if !ok || err != nil {
		return nil, fmt.Errorf("open the log folder: %s is not the name of one", path)
	}
	f := &Folder{path: path, executionID: executionID, start: start}
	if err := f.restore(); err != nil {
		return nil, err
	}
	return f, f.open()
}

// CheckExecutionID says whether a text may name a run.
func CheckExecutionID(id string) error {
	strange := strings.ContainsFunc(id, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("._-", r))
	})
	if strange || id == "" || len(id) > 128 || strings.Trim(id, ".") == "" {
		return fmt.Errorf("the execution ID %q must have 1 to 128 letters, digits, '.', '_' or '-'", id)
	}
	return nil
}

func (f *Folder) open() (err error) {
	const flags = os.O_CREATE | os.O_WRONLY | os.O_APPEND
	var console *os.File
	for name, file := range map[string]**os.File{consoleFile: &console, applicationFile: &f.application, eventsFile: &f.events} {
		if *file, err = os.OpenFile(filepath.Join(f.path, name), flags, 0o600); err != nil {
			return fmt.Errorf("open the log folder: %w", err)
		}
	}
	if f.console == nil {
		f.console = newConsole()
	}
	return f.console.open(console)
}

// Path is the absolute path of the folder.
func (f *Folder) Path() string { return f.path }

// Document keeps a document as it was given. name is that of its file, for application.log.
func (f *Folder) Document(name string, content []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.documents++
	file := "document.yaml"
	if f.documents > 1 {
		file = fmt.Sprintf("document-%d.yaml", f.documents)
	}
	f.logf("Info document %s is %s, %d bytes", file, name, len(content))
	f.note(replace(filepath.Join(f.path, file), content))
}

// Logf adds a line to application.log.
func (f *Folder) Logf(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.logf(format, args...)
}

func (f *Folder) logf(format string, args ...any) {
	text := strings.ReplaceAll(strings.TrimRight(fmt.Sprintf(format, args...), "\n"), "\n", "\n    ")
	_, err := fmt.Fprintf(f.application, "%s %s\n", time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), text)
	f.note(err)
}

func (f *Folder) note(err error) {
	if f.err == nil && err != nil {
		f.err = fmt.Errorf("write the log folder: %w", err)
	}
}

// Event takes an event of the run.
func (f *Folder) Event(e component.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.recorder.Event(e)
	f.note(f.console.event(e))
	switch {
	case f.Trace:
		line, err := json.Marshal(e)
		f.note(err)
		f.logf("Trace %s", line)
	case e.Type != component.Output:
		f.logf("%s", describe(e))
	case e.Stream == component.StreamNotice:
		f.logf("Info %s", e.Text)
	}
	if e.Type == component.Output {
		return
	}
	line, err := json.Marshal(e)
	f.note(err)
	_, err = f.events.Write(append(line, '\n'))
	f.note(err)
}

// Finish writes what is known only at the end, and closes the folder. Result and cause are what the Runner gave back.
func (f *Folder) Finish(result *component.Result, cause error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	detail := f.detail(result, cause)
	f.note(f.console.finish(result, cause))
	f.note(replaceJSON(filepath.Join(f.path, detailFile), detail))
	chaining := map[string]string{}
	if result != nil && result.Chaining != nil {
		chaining = result.Chaining
	}
	f.note(replaceJSON(filepath.Join(f.path, chainingFile), chaining))
	switch {
	case cause != nil:
		f.logf("Error the run ended: %v", cause)
	default:
		f.logf("Info the run ended: %s, %d steps, %d failed, %d failed and ignored", result.Status, result.ExecutedSteps, result.FailedSteps, result.IgnoredFailedSteps)
	}
	f.note(f.console.Close())
	f.note(f.application.Close())
	f.note(f.events.Close())
	return f.err
}

// Close closes a folder that is left as it is, for Finish closes the others.
func (f *Folder) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return errors.Join(f.console.Close(), f.application.Close(), f.events.Close())
}

// detail completes what the events told with how the run ended.
func (f *Folder) detail(result *component.Result, cause error) component.ExecutionDetail {
	detail := f.recorder.Detail()
	detail.ExecutionID = f.executionID
	if detail.StartTime.IsZero() {
		detail.StartTime = f.start
	}
	if detail.EndTime.IsZero() {
		detail.EndTime = time.Now()
	}
	if detail.Documents == nil {
		detail.Documents = []component.DocumentDetail{}
	}
	switch {
	case cause != nil:
		detail.Status, detail.FailureMessage = component.StatusFailed, cause.Error()
		fail(&detail)
	default:
		if detail.Status = result.Status; detail.Status == component.StatusFailed {
			detail.FailureMessage = f.failureMessage()
		}
	}
	return detail
}

// fail ends what was under way when the run could not go on.
func fail(detail *component.ExecutionDetail) {
	for i := range detail.Documents {
		d := &detail.Documents[i]
		if d.Status == "" {
			d.Status, d.EndTime = component.StatusFailed, detail.EndTime
		}
		for j := range d.Phases {
			if p := &d.Phases[j]; p.Status == "" {
				p.Status, p.EndTime = component.StatusFailed, detail.EndTime
			}
		}
	}
}

// Summary is what awstoe run prints on its standard output.
type Summary struct {
	ExecutionID            string           `json:"executionId"`
	Status                 component.Status `json:"status"`
	FailedStepCount        int              `json:"failedStepCount"`
	ExecutedStepCount      int              `json:"executedStepCount"`
	IgnoredFailedStepCount int              `json:"ignoredFailedStepCount"`
	FailureMessage         string           `json:"failureMessage"`
	LogURL                 string           `json:"logUrl"` // the log folder
}

// Summary tells how the run ended, from the same values as Finish.
func (f *Folder) Summary(result *component.Result, cause error) Summary {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := Summary{ExecutionID: f.executionID, Status: component.StatusFailed, LogURL: f.path}
	if result != nil {
		s.FailedStepCount, s.ExecutedStepCount = result.FailedSteps, result.ExecutedSteps
		s.IgnoredFailedStepCount, s.Status = result.IgnoredFailedSteps, result.Status
	}
	switch {
	case errors.Is(cause, context.Canceled):
		s.Status, s.FailureMessage = component.StatusFailed, "interrupted"
	case cause != nil:
		s.Status, s.FailureMessage = component.StatusFailed, cause.Error()
	case s.Status == component.StatusFailed:
		s.FailureMessage = f.failureMessage()
	}
	return s
}

// failureMessage names the first document that failed.
func (f *Folder) failureMessage() string {
	for _, d := range f.recorder.Detail().Documents {
		if d.Status == component.StatusFailed {
			return fmt.Sprintf("Document %s failed!", d.FilePath)
		}
	}
	return "Execution failed!"
}
