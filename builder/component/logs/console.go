package logs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/ingot-image/ingot/builder/component"
)

// Bounds of console.log.
const (
	// maxConsole is its size; what is printed after that is in no file. The engine bounds each attempt, this bounds their sum.
	maxConsole = 1 << 30
	// maxFailureStderr is how much of the failed step's stderr is repeated at the end.
	maxFailureStderr = 1 << 20
)

// console writes console.log: headings and the lines that steps print, in the words of AWSTOE's.
type console struct {
	file    *os.File
	w       *bufio.Writer
	written int64
	cut     bool

	stream string // whose line has not ended yet

	document string // the path of the running one
	stderr   strings.Builder
	failed   *component.Failure // of the first failed step
	place    string             // its document
	printed  string             // what it printed on stderr
}

func newConsole() *console { return &console{} }

func (c *console) open(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	c.file, c.w, c.written = file, bufio.NewWriter(file), info.Size()
	return nil
}

// Close writes out what is left.
func (c *console) Close() error { return errors.Join(c.w.Flush(), c.file.Close()) }

// remember takes an event into account that has been written already.
func (c *console) remember(e component.Event) {
	switch e.Type {
	case component.DocumentStarted:
		if e.Depth == 0 {
			c.document = documentName(e)
		}
	case component.StepStarted:
		if e.Depth == 0 {
			c.stderr.Reset()
		}
	case component.Output:
		if e.Stream == component.StreamStderr {
			c.stderr.WriteString(e.Text[:min(len(e.Text), maxFailureStderr-c.stderr.Len())])
		}
	case component.StepEnded:
		if e.Depth == 0 && e.Status == component.StatusFailed && c.failed == nil {
			c.failed, c.place, c.printed = e.Failure, c.document, c.stderr.String()
		}
	}
}

func documentName(e component.Event) string {
	if e.Path != "" {
		return e.Path
	}
	return e.Component
}

// event writes an event. It is in the file afterwards, so that people can follow it.
func (c *console) event(e component.Event) error {
	c.remember(e)
	switch e.Type {
	case component.DocumentStarted:
		c.line("Document %s", documentName(e))
	case component.PhaseStarted:
		c.line("Phase %s", e.Phase)
	case component.StepStarted:
		c.line("Step %s", e.Step)
	case component.Output:
		c.output(e)
	case component.StepEnded:
		c.ended(e)
	case component.Reboot:
		c.line("Executor: REBOOT REQUESTED")
	}
	return c.w.Flush()
}

func (c *console) ended(e component.Event) {
	switch {
	case e.Detail != nil && e.Detail.Status == component.StatusSkipped:
		c.line("%s: SKIPPED EXECUTION", e.Action)
		return
	case e.Failure == nil && runsCommand(e.Action):
		c.line("CmdExecution: ExitCode 0")
	case e.Failure != nil && e.Failure.ExitCode != nil:
		c.line("CmdExecution: ExitCode %d", *e.Failure.ExitCode)
	}
	if e.Failure != nil {
		c.line("%s: FAILED EXECUTION - %s", e.Action, e.Failure.Message)
		return
	}
	c.line("%s: FINISHED EXECUTION", e.Action)
}

func runsCommand(action string) bool {
	return action == "ExecuteBash" || action == "ExecuteBinary" || action == "ExecutePowerShell"
}

// output writes what a step printed, every line with whose it is. The text may be a piece of a line.
func (c *console) output(e component.Event) {
	prefix := map[string]string{component.StreamStdout: "Stdout: ", component.StreamStderr: "CmdExecution: Stderr: "}[e.Stream]
	if prefix == "" {
		prefix = "Info: "
	}
	for line := range strings.Lines(e.Text) {
		if c.stream != e.Stream {
			c.endLine()
			c.write(prefix)
		}
		c.write(line)
		c.stream = e.Stream
		if strings.HasSuffix(line, "\n") {
			c.stream = ""
		}
	}
}

func (c *console) endLine() {
	if c.stream != "" {
		c.write("\n")
		c.stream = ""
	}
}

func (c *console) line(format string, args ...any) {
	c.endLine()
	c.write(fmt.Sprintf(format, args...) + "\n")
}

// write keeps errors for Flush, as bufio.Writer does.
func (c *console) write(text string) {
	if c.cut {
		return
	}
	if c.written += int64(len(text)); c.written > maxConsole {
		c.cut = true
		text = fmt.Sprintf("\nInfo: this file has %d MiB and takes no more\n", maxConsole>>20)
	}
	c.w.WriteString(text)
}

// finish writes how the run ended.
func (c *console) finish(result *component.Result, cause error) error {
	c.cut = false // the few lines of the end are there always
	switch {
	case cause == nil && result.Status == component.StatusReboot:
		c.line("Executor: the run goes on after the reboot")
		return c.w.Flush()
	case cause == nil && result.Status == component.StatusPaused:
		c.line("Executor: the run is paused")
		return c.w.Flush()
	case cause == nil:
		c.line("Executor: FINISHED EXECUTION OF ALL DOCUMENTS")
	case errors.Is(cause, context.Canceled):
		c.line("Executor: INTERRUPTED")
	default:
		c.line("Executor: %v", cause)
	}
	if c.failed != nil {
		c.failure()
	}
	if cause == nil && result.Status == component.StatusSuccess {
		c.line("TOE has completed execution successfully")
	} else {
		c.line("TOE has completed execution with failure - Execution failed!")
	}
	return c.w.Flush()
}

// failure repeats the first failed step with all that it printed on stderr, as AWSTOE does since 2026.
func (c *console) failure() {
	c.line("Document: %s", c.place)
	if strings.HasPrefix(c.place, "arn:") {
		c.line("ComponentArn: %s", c.place)
	}
	c.line("Phase: %s", c.failed.Phase)
	c.line("Step: %s", c.failed.Step)
	c.line("Action: %s", c.failed.Action)
	c.line("ErrorMessage: %s", c.failed.Message)
	printed := c.printed
	if printed == "" {
		printed = c.failed.Stderr
	}
	c.line("Stderr: %s", strings.TrimRight(printed, "\n"))
}
