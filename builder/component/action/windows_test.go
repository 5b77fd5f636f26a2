package action

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/builder/component"
)

// onWindows are the actions that run on Windows only, with the inputs that they need.
func onWindows() map[string]string {
	return map[string]string{
		"ExecutePowerShell": "{commands: [dir]}", "SetRegistry": `[{path: 'HKLM:\a', name: n, value: 1, type: DWORD}]`,
		"InstallMSI": "{path: a.msi}", "UninstallMSI": "{path: a.msi}",
	}
}

func TestOnWindowsOnly(t *testing.T) {
	for name, inputs := range onWindows() {
		document := []byte("schemaVersion: 1.0\nphases: [{name: build, steps: [{name: A, action: " + name + ", inputs: " + inputs + "}]}]\n")
		if _, err := component.Parse("d", document, Modules().For("windows")); err != nil {
			t.Errorf("for windows: %v", err)
		}
		want := "the action " + name + " runs on windows only"
		if _, err := component.Parse("d", document, Modules().For("linux")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("for linux: %v, want %s", err, want)
		}
	}
	titles := []byte("schemaVersion: 1.0\nphases: [{name: build, steps: [{name: A, action: UpdateOS, inputs: {include: ['Security Update *'], exclude: ['*Preview*']}}]}]\n")
	if _, err := component.Parse("d", titles, Modules().For("windows")); err != nil {
		t.Errorf("titles of updates: %v", err)
	}
	if runtime.GOOS == "windows" {
		return
	}
	x := &component.Execution{WorkingDirectory: t.TempDir()}
	for _, in := range []component.Action{ExecutePowerShell{Commands: []string{"dir"}}, SetRegistry{}, InstallMSI{}, UninstallMSI{}} {
		if _, err := in.Run(t.Context(), x); err == nil || !strings.Contains(err.Error(), "runs on windows only, this is "+runtime.GOOS) {
			t.Errorf("%T: %v", in, err)
		}
	}
}

func TestInputsOfWindowsActions(t *testing.T) {
	const set = `[{path: 'HKLM:\a', name: n, `
	for _, test := range []struct{ action, inputs, want string }{
		{"ExecutePowerShell", "{}", "inputs.commands: is missing"},
		{"ExecutePowerShell", "{commands: []}", "inputs.commands: is missing"},
		{"ExecutePowerShell", "{commands: dir}", "inputs.commands: must be a list"},
		{"ExecutePowerShell", "{commands: [dir], file: a.ps1}", "inputs.file: is given beside commands"},
		{"ExecutePowerShell", "{file: a.cmd}", `inputs.file: "a.cmd" is no name of a PowerShell script`},
		{"ExecutePowerShell", `{file: 'C:\a.PS1'}`, ""},
		{"SetRegistry", "[{}]", "inputs[0].path: is missing"},
		{"SetRegistry", set + "value: 1, type: WORD}]", `inputs[0].type: unknown type "WORD"`},
		{"SetRegistry", set + "value: x, type: DWORD}]", `inputs[0].value: must be a whole number of 32 bits, not "x"`},
		{"SetRegistry", set + "value: , type: SZ}]", "inputs[0].value: has no value"},
		{"SetRegistry", "[{path: a, name: n, value: 1, type: SZ}]", `inputs[0].path: begins with no hive`},
		{"InstallMSI", "{}", "inputs.path: is missing"},
		{"InstallMSI", "{path: a.msi, reboot: Never}", `inputs.reboot: must be Allow, Force or Skip, not "Never"`},
		{"InstallMSI", "{path: a.msi, logOptions: z}", `inputs.logOptions: "z" are no flags`},
		{"InstallMSI", "{path: a.msi, logOptions: '*v!'}", ""},
		{"InstallMSI", "{path: 'ftp://h/a.msi'}", `inputs.path: has the scheme "ftp"`},
		{"InstallMSI", "{path: 's3://bucket'}", "inputs.path: names no object"},
		{"InstallMSI", "{path: 's3://bucket/a/*'}", "inputs.path: names several objects"},
		{"InstallMSI", "{path: 's3://bucket/a.msi'}", ""},
		{"InstallMSI", "{path: a.msi, properties: {Reboot: Force}}", "inputs.properties: the property Reboot is reserved"},
		{"UninstallMSI", "{path: a.msi, properties: {'A B': c}}", `inputs.properties: "A B" is no name of a property`},
		{"UninstallMSI", "{path: a.msi, properties: {REINSTALL: ALL, REINSTALLMODE: a}}", "the property REINSTALLMODE is reserved"},
	} {
		document := "schemaVersion: 1.0\nphases: [{name: build, steps: [{name: A, action: " + test.action + ", inputs: " + test.inputs + "}]}]\n"
		_, err := component.Parse("d", []byte(document), Modules().For("windows"))
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s %s: %v, want %q", test.action, test.inputs, err, test.want)
		}
	}
}

// commandRecorder takes the place of running commands.
type commandRecorder struct {
	commands []component.Command
	scripts  []string // what the scripts held that were run
	code     int      // the exit status of the commands
}

func (r *commandRecorder) Run(_ context.Context, c component.Command) error {
	r.commands = append(r.commands, c)
	if len(c.Args) > 0 {
		if script, err := os.ReadFile(c.Args[len(c.Args)-1]); err == nil {
			r.scripts = append(r.scripts, string(script))
		}
	}
	if r.code != 0 {
		return &component.ExitError{Code: r.code}
	}
	return nil
}

// fakeMachine is one whose programs exist, and do nothing.
func fakeMachine(t *testing.T, r *commandRecorder, programs ...string) *component.Execution {
	t.Helper()
	bin := t.TempDir()
	for _, program := range programs {
		if err := os.WriteFile(filepath.Join(bin, program), nil, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return &component.Execution{
		System:           component.System{Commands: r, Environ: []string{"PATH=" + bin, "PATHEXT=.exe"}},
		WorkingDirectory: t.TempDir(), Stdout: &strings.Builder{}, Stderr: &strings.Builder{},
	}
}

func TestRunPowerShell(t *testing.T) {
	r := &commandRecorder{}
	x := fakeMachine(t, r, "powershell.exe")
	if err := runPowerShell(t.Context(), x, "$x = 1", "Write-Host @'\nä\n'@"); err != nil {
		t.Fatal(err)
	}
	want := "\xEF\xBB\xBF$x = 1\r\nWrite-Host @'\r\nä\r\n'@\r\n"
	if len(r.scripts) != 1 || r.scripts[0] != want {
		t.Errorf("scripts %q, want %q", r.scripts, want)
	}
	c := r.commands[0]
	args := "-NoLogo -NoProfile -NonInteractive -ExecutionPolicy Bypass -File "
	if got := strings.Join(c.Args, " "); !strings.HasPrefix(got, args) || filepath.Base(got) != "input.ps1" || filepath.Base(c.Path) != "powershell.exe" || c.Dir != x.WorkingDirectory {
		t.Errorf("command %+v", c)
	}
	r.code = 7
	if err := runPowerShell(t.Context(), x, "exit 7"); err == nil || err.Error() != "exit status 7" {
		t.Errorf("error %v", err)
	}
	if left, err := os.ReadDir(x.WorkingDirectory); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if err := runPowerShell(t.Context(), fakeMachine(t, r), "dir"); err == nil || !strings.Contains(err.Error(), "powershell.exe is in no folder of PATH") {
		t.Errorf("error %v", err)
	}
}

func TestMSICommandLine(t *testing.T) {
	in := MSI{Properties: map[string]string{"DIR": `C:\a b\`, "AUTHOR": `the "one"`, "EMPTY": ""}}
	want := `/i "C:\p k\a.msi" /qn /norestart /L*VX "C:\log s\a.log" REBOOT=ReallySuppress AUTHOR="the ""one""" DIR="C:\a b\" EMPTY=""`
	if got := in.commandLine("/i", `C:\p k\a.msi`, `C:\log s\a.log`); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	in = MSI{LogOptions: "iwe!"}
	if got, want := in.commandLine("/x", `a.msi`, `a.log`), `/x "a.msi" /qn /norestart /Liwe! "a.log" REBOOT=ReallySuppress`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// fakeS3 holds one object.
type fakeS3 struct {
	component.S3
	address, content string
}

func (f fakeS3) Get(_ context.Context, place component.S3Place, w io.Writer) error {
	if "s3://"+place.Bucket+"/"+place.Key != f.address {
		return component.ErrNotFound
	}
	_, err := w.Write([]byte(f.content))
	return err
}

func TestMSIFetch(t *testing.T) {
	x := fakeMachine(t, &commandRecorder{})
	to := filepath.Join(t.TempDir(), "package.msi")
	if _, err := (MSI{Path: "s3://bucket/a.msi"}).fetch(t.Context(), x, to); !errors.Is(err, errNoS3) {
		t.Errorf("without S3: %v", err)
	}
	x.S3 = fakeS3{address: "s3://bucket/a.msi", content: "msi"}
	file, err := MSI{Path: "s3://bucket/a.msi"}.fetch(t.Context(), x, to)
	if data, _ := os.ReadFile(file); err != nil || file != to || string(data) != "msi" {
		t.Errorf("fetched %s with %q, %v", file, data, err)
	}
	if _, err := (MSI{Path: "s3://bucket/b.msi"}).fetch(t.Context(), x, to); !errors.Is(err, component.ErrNotFound) {
		t.Errorf("another object: %v", err)
	}
	if _, err := (MSI{Path: "missing.msi"}).fetch(t.Context(), x, to); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if err := os.WriteFile(filepath.Join(x.WorkingDirectory, "here.msi"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if file, err := (MSI{Path: "here.msi"}).fetch(t.Context(), x, to); err != nil || file != filepath.Join(x.WorkingDirectory, "here.msi") {
		t.Errorf("fetched %s, %v", file, err)
	}
	if got := (MSI{Path: "https://user:secret@example.com/a.msi?token=secret"}).shortPath(); got != "https://user:xxxxx@example.com/a.msi" {
		t.Errorf("short path %s", got)
	}
}

func TestShowLog(t *testing.T) {
	x := fakeMachine(t, &commandRecorder{})
	path := filepath.Join(t.TempDir(), "a.log")
	shown := func(content string) string {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		out := &strings.Builder{}
		x.Stderr = out
		showLog(x, path)
		return out.String()
	}
	wide := func(text string) string {
		var b strings.Builder
		for _, c := range []byte(text) {
			b.WriteByte(c)
			b.WriteByte(0)
		}
		return b.String()
	}
	if got := shown("\xFF\xFE" + wide("Return value 3.\r\n")); got != "Return value 3.\r\n" {
		t.Errorf("UTF-16: %q", got)
	}
	if got := shown("plain\n"); got != "plain\n" {
		t.Errorf("plain: %q", got)
	}
	if got := shown("\xFF\xFE" + wide(strings.Repeat("0123456789\n", 2000)+"end\n")); len(got) > maxShownLog/2 || !strings.HasPrefix(got, "0123456789\n") || !strings.HasSuffix(got, "\nend\n") {
		t.Errorf("a long one: %d bytes, %.40q", len(got), got)
	}
	if got := shown(""); got != "" {
		t.Errorf("an empty one: %q", got)
	}
}
