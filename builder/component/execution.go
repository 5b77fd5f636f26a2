package component

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// System is the machine that steps work on. The zero value is the real one; tests put a temporary folder and fakes in its place.
type System struct {
	// Root is put before the paths of documents. It is no protection against documents: symbolic links and commands lead out of it.
	Root string
	// Environ is the environment of commands, as of [os.Environ], which is also the default. PATH and HOME are added when missing.
	Environ []string
	// Commands runs commands. Default: on the machine, see [ProcessGroup].
	Commands CommandRunner
	// HTTP returns the client for downloads. Default: the proxy settings of the environment and no limit of time.
	HTTP func(ignoreCertificateErrors bool) HTTPClient
	// Sleep waits between attempts of an action, or until the context ends, whose cause it then returns. Default: real time.
	Sleep func(ctx context.Context, d time.Duration) error
	// S3, Parameters and Components reach what lies outside of the machine. What is nil cannot be used by documents.
	S3         S3
	Parameters ParameterStore
	Components ComponentSource
}

// HTTPClient is the part of [http.Client] that downloads need.
type HTTPClient interface {
	Do(*http.Request) (*http.Response, error)
}

// CommandRunner runs a command until it ends or the context does. A command that ran and failed is an *[ExitError].
type CommandRunner interface {
	Run(ctx context.Context, c Command) error
}

// Command is a program to run.
type Command struct {
	Path string
	Args []string // without the program's name
	// CommandLine is what follows the program's name in the command line, for programs of Windows that take quotes in another way than
	// Args are quoted. It replaces Args there, and has no meaning elsewhere.
	CommandLine    string
	Dir            string
	Env            []string
	Stdout, Stderr io.Writer
	// Notice takes remarks about the command for the user. May be nil.
	Notice func(text string)
}

// ExitError says that a command ended with another status than 0.
type ExitError struct {
	// Code is the exit status; for a command ended by a signal it is 128 and the signal's number, as in a shell.
	Code int
	// Signal is the signal's name, if one ended the command.
	Signal string
}

func (e *ExitError) Error() string {
	if e.Signal != "" {
		return "ended by signal: " + e.Signal
	}
	return fmt.Sprintf("exit status %d", e.Code)
}

// Execution is what an action works with: the machine, and where its output goes.
type Execution struct {
	System
	// WorkingDirectory is absolute and exists. It does not contain Root.
	WorkingDirectory string
	// Stdout and Stderr take output of the step as it appears. Both may be used at once.
	Stdout, Stderr io.Writer

	captured func() string
	notice   func(string)
	nested   func(ctx context.Context, load func(context.Context) (NestedDocument, error)) (*Result, error)
}

// Path returns where a path of a document is on the machine: relative ones start in the working directory. On Windows \Temp is on the volume
// of the working directory, and C:file in the working directory if that is on this drive, otherwise at the drive's root.
func (x *Execution) Path(path string) string {
	path = filepath.Clean(resolvePath(runtime.GOOS, x.WorkingDirectory, path)) // first, so that .. does not lead out of Root
	if x.Root == "" {
		return path
	}
	return filepath.Join(x.Root, path[len(filepath.VolumeName(path)):])
}

// DocumentPath is the reverse of Path, for messages and outputs.
func (x *Execution) DocumentPath(path string) string {
	if x.Root == "" {
		return path
	}
	rel, err := filepath.Rel(x.Root, path)
	if err != nil || strings.HasPrefix(rel, "..") {
		return path
	}
	return string(filepath.Separator) + rel
}

// With returns a copy of the execution whose commands get more environment variables, each NAME=VALUE.
func (x *Execution) With(environ ...string) *Execution {
	changed := *x
	changed.Environ = append(slices.Clone(x.Environ), environ...)
	return &changed
}

// Run runs a program in the working directory, its output going to Stdout and Stderr. The program is a path, or a name on PATH.
func (x *Execution) Run(ctx context.Context, program string, args ...string) error {
	path, err := x.LookPath(program)
	if err != nil {
		return err
	}
	return x.Commands.Run(ctx, Command{
		Path: path, Args: args, Dir: x.Path(x.WorkingDirectory), Env: x.Environ, Stdout: x.Stdout, Stderr: x.Stderr, Notice: x.Notice,
	})
}

// CapturedStdout returns what was written to Stdout so far, without line feeds at the end. Longer texts are cut to [MaxCaptured].
func (x *Execution) CapturedStdout() string {
	if x.captured == nil {
		return ""
	}
	return strings.TrimRight(x.captured(), "\r\n")
}

// Notice tells the user something about the step that is no output of it.
func (x *Execution) Notice(text string) {
	if x.notice != nil {
		x.notice(text)
	}
}

// LookPath finds a program: names without a separator in the folders of PATH, anything else as a path of the document. On Windows the
// extensions of PATHEXT may be left out.
func (x *Execution) LookPath(program string) (string, error) {
	if isPath(runtime.GOOS, program) {
		path, ok := findProgram(runtime.GOOS, x.Getenv, x.Path(program), executable)
		if !ok {
			return "", fmt.Errorf("find program: %s is not an executable file", program)
		}
		return path, nil
	}
	for _, dir := range filepath.SplitList(x.Getenv("PATH")) {
		if !filepath.IsAbs(dir) {
			continue // a program in the current folder is never meant
		}
		if path, ok := findProgram(runtime.GOOS, x.Getenv, x.Path(filepath.Join(dir, program)), executable); ok {
			return path, nil
		}
	}
	return "", fmt.Errorf("find program: %s is in no folder of PATH", program)
}

// Getenv returns a variable of the environment that commands get.
func (x *Execution) Getenv(name string) string {
	return getenv(x.Environ, name)
}

func getenv(environ []string, name string) string {
	for _, e := range slices.Backward(environ) {
		if key, value, ok := strings.Cut(e, "="); ok && envNameEqual(key, name) {
			return value
		}
	}
	return ""
}

func envNameEqual(a, b string) bool {
	if runtime.GOOS == "windows" {
		return strings.EqualFold(a, b)
	}
	return a == b
}

// withDefaults fills in the real machine.
func (s System) withDefaults() System {
	if s.Environ == nil {
		s.Environ = os.Environ()
	}
	s.Environ = append(slices.Clone(s.Environ), missingEnviron(s.Environ)...)
	if s.Commands == nil {
		s.Commands = ProcessGroup{}
	}
	if s.HTTP == nil {
		s.HTTP = defaultHTTP
	}
	if s.Sleep == nil {
		s.Sleep = sleep
	}
	return s
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
