package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ingot-image/ingot/builder/component"
)

// wine runs Windows programs of one prefix, that is a Windows installation in a folder.
type wine struct {
	program, server string
	prefix, home    string
	agent           string
}

// programs of Debian's package wine64 are not on PATH.
func findProgram(names ...string) string {
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// newWine makes a prefix, which takes some 10 seconds and 700 MB.
func newWine(t *testing.T) *wine {
	t.Helper()
	w := &wine{
		program: findProgram("wine64", "/usr/lib/wine/wine64", "wine"),
		server:  findProgram("wineserver", "/usr/lib/wine/wineserver64", "/usr/lib/wine/wineserver"),
		home:    t.TempDir(),
	}
	if w.program == "" || w.server == "" {
		t.Skip("wine is not installed (Debian package wine64), so nothing runs the agent for Windows")
	}
	w.prefix = filepath.Join(w.home, "prefix")
	t.Cleanup(func() {
		for _, option := range []string{"-k", "-w"} { // end every program of the prefix, wait for it
			cmd := exec.Command(w.server, option)
			cmd.Env = w.environ()
			_ = cmd.Run() // fails when the server has gone by itself
		}
	})
	w.command(t, "wineboot", "-i")
	w.command(t, "reg", "add", `HKCU\Software\Wine`, "/v", "Version", "/d", "win10", "/f") // Go wants Windows 10
	// Go's random numbers come from a DLL that wine has since version 9; what it does is in another one.
	random := filepath.Join(w.prefix, "drive_c", "windows", "system32", "bcryptprimitives.dll")
	if _, err := os.Stat(random); errors.Is(err, fs.ErrNotExist) {
		if err := os.WriteFile(random, forwarderDLL("bcryptprimitives.dll", "ProcessPrng", "advapi32.SystemFunction036"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(w.drive("ingot"), 0o755); err != nil {
		t.Fatal(err)
	}
	w.agent = `C:\ingot\ingot-agent.exe`
	build(t, "windows", "amd64", "build", "-overlay", w.overlay(t, "cmd/ingot-agent", "main"), "-ldflags", "-s -w -checklinkname=0",
		"-trimpath", "-buildvcs=false", "-o", w.drive("ingot/ingot-agent.exe"), "./cmd/ingot-agent")
	return w
}

// overlay adds a file to a package for wine 8, which has no FileDispositionInformationEx and says so by another status than Go expects:
// it makes Go delete files in folders as on early editions of Windows 10. Nothing of it is in the agent that is shipped.
func (w *wine) overlay(t *testing.T, dir, name string) string {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "wine.go")
	source := "package " + name + `

import _ "unsafe"

//go:linkname deleteatFallback internal/syscall/windows.TestDeleteatFallback
var deleteatFallback bool

func init() { deleteatFallback = true }
`
	list, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(root, dir, "wine_overlay.go"): file}})
	if err == nil {
		err = errors.Join(os.WriteFile(file, []byte(source), 0o644), os.WriteFile(file+".json", list, 0o644))
	}
	if err != nil {
		t.Fatal(err)
	}
	return file + ".json"
}

// drive returns where a file of drive C is.
func (w *wine) drive(path string) string {
	return filepath.Join(w.prefix, "drive_c", filepath.FromSlash(path))
}

func (w *wine) environ() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + w.home, "USER=tester", "WINEPREFIX=" + w.prefix, "WINEDEBUG=-all", "WINEDLLOVERRIDES=mscoree,mshtml=",
		"INGOT_TEST=inherited",
	}
}

// wineLimit is how long one program may run under wine on a busy machine.
const wineLimit = 5 * time.Minute

func (w *wine) start(t *testing.T, dir, program string, args ...string) (stdout, stderr []byte, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wineLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, w.program, append([]string{program}, args...)...)
	cmd.Dir, cmd.Env = dir, w.environ()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && ctx.Err() == nil {
		return out.Bytes(), errs.Bytes(), exit.ExitCode()
	}
	if err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		t.Fatalf("%s %v under wine: %v (%v)\n%s%s", program, args, err, ctx.Err(), out.Bytes(), errs.Bytes())
	}
	return out.Bytes(), errs.Bytes(), 0
}

// command runs a program that must succeed.
func (w *wine) command(t *testing.T, program string, args ...string) string {
	t.Helper()
	stdout, stderr, code := w.start(t, "", program, args...)
	if code != 0 {
		t.Fatalf("%s %v: exit status %d\n%s%s", program, args, code, stdout, stderr)
	}
	return string(stdout)
}

// steps runs the steps of a document, written in YAML.
func (w *wine) steps(t *testing.T, steps string, args ...string) ran {
	t.Helper()
	document := "schemaVersion: 1.0\nphases:\n- name: build\n  steps:\n" + steps
	if err := os.WriteFile(w.drive("ingot/document.yml"), []byte(document), 0o644); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, code := w.start(t, "", w.agent, append([]string{"run", "-d", `C:\ingot\document.yml`}, args...)...)
	if len(stderr) > 0 {
		t.Errorf("the agent says: %s", stderr)
	}
	r := parseRun(t, stdout)
	r.code = code
	return r
}

// step makes the YAML of a step.
func step(name, action, inputs string) string {
	return fmt.Sprintf("  - name: %s\n    action: %s\n    inputs: %s\n", name, action, inputs)
}

func TestWine(t *testing.T) {
	if testing.Short() {
		t.Skip("makes a Windows installation under wine")
	}
	t.Parallel()
	w := newWine(t)
	t.Run("files", func(t *testing.T) { testWineFiles(t, w) })
	t.Run("download", func(t *testing.T) { testWineDownload(t, w) })
	t.Run("registry", func(t *testing.T) { testWineRegistry(t, w) })
	t.Run("commands", func(t *testing.T) { testWineCommands(t, w) })
	t.Run("reboot", func(t *testing.T) { testWineReboot(t, w) })
	t.Run("processes", func(t *testing.T) { testWineProcesses(t, w) })
	t.Run("msi", func(t *testing.T) { testWineMSI(t, w) })
	t.Run("unit tests", func(t *testing.T) { testWineUnits(t, w) })
}

func testWineFiles(t *testing.T, w *wine) {
	w.steps(t, step("Folders", "CreateFolder", `[{path: 'C:\files\a\b'}, {path: 'C:/files/c'}]`)+
		step("Create", "CreateFile", `[{path: 'C:\files\a\one.txt', content: "ä\n"}, {path: 'C:\files\a\two.txt', content: "ä", encoding: utf16-LE}, {path: 'C:\files\new\deep\x'}]`)+
		step("Append", "AppendFile", `[{path: 'C:\files\a\one.txt', content: more}]`)+
		step("Copy", "CopyFile", `[{source: 'C:\files\a\*.txt', destination: 'C:\files\c\'}, {source: 'C:\files\a\one.txt', destination: 'C:\files\three.txt'}]`)+
		step("CopyFolder", "CopyFolder", `[{source: 'C:\files\a', destination: 'C:\files\copy'}]`)+
		step("Move", "MoveFile", `[{source: 'C:\files\three.txt', destination: 'C:\files\moved.txt'}]`)+
		step("MoveFolder", "MoveFolder", `[{source: 'C:\files\new', destination: 'C:\files\newer'}]`)+
		step("List", "ListFiles", `[{path: 'C:\files\c'}]`)+
		step("Read", "ReadFile", `[{path: 'C:\files\moved.txt'}]`)+
		step("Encode", "SetFileEncoding", `[{path: 'C:\files\moved.txt', encoding: utf16}]`)+
		step("There", "Assert", `{and: [{fileExists: 'C:\files\moved.txt'}, {folderExists: 'C:\files\newer\deep'}, {binaryExists: cmd}, {not: {fileExists: 'C:\files\three.txt'}}]}`)+
		step("Keep", "CreateFile", `[{path: 'C:\files\kept.txt', content: "{{ build.List.outputs.files }}|{{ build.Read.outputs.content }}"}]`)+
		step("Delete", "DeleteFile", `[{path: 'C:\files\c\two.*'}]`)+
		step("DeleteFolder", "DeleteFolder", `[{path: 'C:\files\copy', force: true}]`)).succeeded(t)
	for file, want := range map[string]string{
		"files/a/one.txt": "ä\nmore", "files/a/two.txt": "\xe4\x00", "files/c/one.txt": "ä\nmore", "files/newer/deep/x": "",
		"files/kept.txt": `C:\files\c\one.txt,C:\files\c\two.txt|` + "ä\nmore", "files/moved.txt": "\xe4\x00\n\x00m\x00o\x00r\x00e\x00",
	} {
		data, err := os.ReadFile(w.drive(file))
		if err != nil || string(data) != want {
			t.Errorf("%s has %q, want %q (%v)", file, data, want, err)
		}
	}
	for _, file := range []string{"files/c/two.txt", "files/three.txt", "files/copy", "files/new"} {
		if _, err := os.Lstat(w.drive(file)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is there: %v", file, err)
		}
	}
	for inputs, want := range map[string]string{
		step("A", "CreateFile", `[{path: 'C:\x', permissions: 0644}]`):    "is not supported on Windows",
		step("A", "SetFileOwner", `[{path: 'C:\x', owner: root}]`):        "the action SetFileOwner runs on linux, macOS only",
		step("A", "CreateSymlink", `[{path: 'C:\x', target: 'C:\y'}]`):    "the action CreateSymlink runs on linux, macOS only",
		step("A", "ExecuteBash", `{commands: [ls]}`):                      "the action ExecuteBash runs on linux, macOS only",
		step("A", "ExecuteBinary", `{path: cmd.exe}`) + "    onFail: x\n": "unknown field",
	} {
		if r := w.steps(t, inputs); r.code != 1 || !strings.Contains(r.err, want) {
			t.Errorf("%s: %s, want %q", inputs, r, want)
		}
	}
}

func testWineDownload(t *testing.T, w *wine) {
	server := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) { fmt.Fprint(out, "path ", r.URL.Path) }))
	defer server.Close()
	w.steps(t, step("A", "WebDownload", `[{source: '`+server.URL+`/a/file.txt', destination: 'C:\download\'}, {source: '`+server.URL+`/b', destination: 'C:\download\c.txt'}]`)).succeeded(t)
	for file, want := range map[string]string{"download/file.txt": "path /a/file.txt", "download/c.txt": "path /b"} {
		if data, err := os.ReadFile(w.drive(file)); err != nil || string(data) != want {
			t.Errorf("%s has %q, want %q (%v)", file, data, want, err)
		}
	}
}

func testWineRegistry(t *testing.T, w *wine) {
	w.steps(t, step("A", "SetRegistry", `
    - {path: 'HKLM:\SOFTWARE\IngotTest\New', name: Text, value: "a b", type: SZ}
    - {path: 'HKEY_LOCAL_MACHINE\SOFTWARE\IngotTest\New', name: Expanded, value: "%TEMP%", type: EXPAND_SZ}
    - {path: 'HKLM\SOFTWARE\IngotTest\New', name: Texts, value: [one, two words], type: MULTI_SZ}
    - {path: 'HKLM:\SOFTWARE\IngotTest\New', name: Number, value: 0x1F, type: DWORD}
    - {path: 'HKLM:\SOFTWARE\IngotTest\New', name: Long, value: 4294967296, type: QWORD}
    - {path: 'HKLM:\SOFTWARE\IngotTest\New', name: Bytes, value: [1, 255], type: BINARY}
    - {path: 'HKLM:\SOFTWARE\IngotTest\New', name: (Default), value: unnamed, type: SZ}
    - {path: 'HKCU:\Software\IngotTest', name: Text, value: user, type: SZ}
    - {path: 'HKEY_USERS\.DEFAULT\IngotTest', name: Text, value: default, type: SZ}
    - {path: 'HKCR:\.ingot', name: Text, value: class, type: SZ}`)+
		step("Again", "SetRegistry", `[{path: 'HKLM:\SOFTWARE\IngotTest\New', name: Number, value: replaced, type: SZ}]`)).succeeded(t)
	for key, values := range map[string][]string{
		`HKLM\SOFTWARE\IngotTest\New`: {"Text REG_SZ a b", "Expanded REG_EXPAND_SZ %TEMP%", `Texts REG_MULTI_SZ one\0two words`, "Number REG_SZ replaced",
			"Bytes REG_BINARY 01FF", "(Default) REG_SZ unnamed"},
		`HKCU\Software\IngotTest`: {"Text REG_SZ user"},
		`HKU\.DEFAULT\IngotTest`:  {"Text REG_SZ default"},
		`HKCR\.ingot`:             {"Text REG_SZ class"},
	} {
		printed := w.command(t, "reg", "query", key)
		lines := make(map[string]bool)
		for line := range strings.Lines(printed) {
			lines[strings.Join(strings.Fields(line), " ")] = true
		}
		for _, value := range values {
			if !lines[value] {
				t.Errorf("%s has no value %s:\n%s", key, value, printed)
			}
		}
	}
	checkQWord(t, w)
}

// checkQWord looks into an export: wine's reg does not print numbers of 64 bits.
func checkQWord(t *testing.T, w *wine) {
	t.Helper()
	w.command(t, "reg", "export", `HKLM\SOFTWARE\IngotTest`, `C:\ingot\test.reg`, "/y")
	exported, err := os.ReadFile(w.drive("ingot/test.reg"))
	if text := bytes.ReplaceAll(exported, []byte{0}, nil); err != nil || !bytes.Contains(text, []byte(`"Long"=hex(b):00,00,00,00,01,00,00,00`)) {
		t.Errorf("exported %s, %v", text, err)
	}
}

func testWineCommands(t *testing.T, w *wine) {
	r := w.steps(t, step("Echo", "ExecuteBinary", `{path: cmd.exe, arguments: [/c, echo, "%INGOT_TEST%", "%CD%"]}`)+
		step("Chained", "ExecuteBinary", `{path: 'C:\windows\system32\cmd.exe', arguments: [/c, echo, "<{{ build.Echo.outputs.stdout }}>"]}`), "-working-directory", `C:\work\here`)
	r.succeeded(t)
	if got := r.text(component.StreamStdout); !strings.Contains(got, `inherited C:\work\here`) || strings.Count(got, "inherited") != 2 {
		t.Errorf("printed %q", got)
	}
	script := step("Script", "CreateFile", `[{path: 'C:\work\fail.cmd', content: "@echo out\r\n@echo why 1>&2\r\n@exit 7\r\n"}]`)
	r = w.steps(t, script+step("Fail", "ExecuteBinary", `{path: 'C:\work\fail.cmd'}`))
	if r.code != 1 || r.result == nil || r.result.Failure == nil || *r.result.Failure.ExitCode != 7 || !strings.Contains(r.result.Failure.Stderr, "why") {
		t.Error(r)
	}
	r = w.steps(t, step("None", "ExecuteBinary", `{path: no-such-tool}`))
	if r.code != 1 || r.result == nil || r.result.Failure == nil || !strings.Contains(r.result.Failure.Message, "no-such-tool is in no folder of PATH") {
		t.Error(r)
	}
	// Wine has a powershell.exe that does nothing.
	w.steps(t, step("PowerShell", "ExecutePowerShell", `{commands: [Get-Date]}`)).succeeded(t)
}

func testWineReboot(t *testing.T, w *wine) {
	// The first time the script asks for a reboot by 3010, of which a program of Linux sees the last eight bits.
	const rebootCode = 3010 & 0xff
	steps := step("Script", "CreateFile", `[{path: 'C:\reboot\again.cmd', content: "@echo ran>> C:\\reboot\\log\r\n@if exist C:\\reboot\\flag exit 0\r\n@echo x> C:\\reboot\\flag\r\n@exit 3010\r\n"}]`) +
		step("Again", "ExecuteBinary", `{path: 'C:\reboot\again.cmd'}`) +
		step("Reboot", "Reboot", `{delaySeconds: 3}`) +
		step("After", "ExecuteBinary", `{path: cmd.exe, arguments: [/c, echo, after]}`)
	run := func() ran { return w.steps(t, steps, "-state", `C:\reboot\state.json`) }
	if r := run(); r.code != rebootCode || r.result == nil || r.result.Status != component.StatusReboot {
		t.Fatal(r)
	}
	if r := run(); r.code != rebootCode || r.result == nil || r.result.RebootDelaySeconds != 3 {
		t.Fatal(r)
	}
	r := run()
	r.succeeded(t)
	if log, err := os.ReadFile(w.drive("reboot/log")); err != nil || strings.Count(string(log), "ran") != 2 || r.result.ExecutedSteps != 4 || r.text(component.StreamStdout) != "after\r\n" {
		t.Errorf("log %q, %v; %s", log, err, r)
	}
	if _, err := os.Stat(w.drive("reboot/state.json")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the state is still there: %v", err)
	}
}

// running tells whether a program of wine has a word in its command line.
func running(t *testing.T, word string) bool {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if line, err := os.ReadFile(file); err == nil && bytes.Contains(line, []byte(word)) {
			return true
		}
	}
	return false
}

// testWineProcesses starts trees of processes whose last one is an agent that waits for a port for ever.
func testWineProcesses(t *testing.T, w *wine) {
	word := filepath.Base(filepath.Dir(w.home)) + "-" + filepath.Base(w.home) // nobody else's
	seen := make(chan bool, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for ctx.Err() == nil && !running(t, word+"-tree") {
			time.Sleep(20 * time.Millisecond)
		}
		seen <- ctx.Err() == nil
	}()
	r := w.steps(t, step("Tree", "ExecuteBinary", `{path: cmd.exe, arguments: [/c, cmd.exe, /c, '`+w.agent+`', -port, `+word+`-tree]}`)+"    timeoutSeconds: 10\n")
	cancel()
	if !<-seen {
		t.Error("the last process of the tree was never there")
	}
	if r.result == nil || r.result.Failure == nil || r.result.Failure.Message != "timed out after 10s" {
		t.Error(r)
	}
	for start := time.Now(); running(t, word+"-tree"); time.Sleep(50 * time.Millisecond) {
		if time.Since(start) > 10*time.Second {
			t.Fatal("the tree outlived its step")
		}
	}
	// What is left in the background on purpose goes on, and does not hold the step.
	r = w.steps(t, step("Background", "ExecuteBinary", `{path: cmd.exe, arguments: [/c, start, /b, '`+w.agent+`', -port, `+word+`-background]}`))
	r.succeeded(t)
	if !running(t, word+"-background") {
		t.Error("the background process ended with its step")
	}
	if got := r.text(component.StreamNotice); !strings.Contains(got, "left in the background") {
		t.Errorf("notices %q", got)
	}
}

const msiSource = `<?xml version="1.0" encoding="utf-8"?>
<Wix xmlns="http://schemas.microsoft.com/wix/2006/wi">
  <Product Id="*" UpgradeCode="7C0A6E2C-5D9B-4F0E-9E3C-3A5A6F0F7B11" Name="Ingot Test" Version="1.2.3" Manufacturer="Ingot" Language="1033">
    <Package InstallerVersion="200" Compressed="yes" InstallScope="perMachine"/>
    <Media Id="1" Cabinet="test.cab" EmbedCab="yes"/>
    <Property Id="GREETING" Value="none"/>
    <Directory Id="TARGETDIR" Name="SourceDir">
      <Directory Id="ProgramFiles64Folder">
        <Directory Id="INSTALLDIR" Name="Ingot Test">
          <Component Id="Main" Guid="0B7C3C2B-8A0D-4E5B-9B5E-6D7B0B1E2F33" Win64="yes">
            <File Id="hello" Source="hello.txt" KeyPath="yes"/>
            <RegistryKey Root="HKLM" Key="Software\IngotMSI">
              <RegistryValue Name="Greeting" Type="string" Value="[GREETING]"/>
            </RegistryKey>
          </Component>
        </Directory>
      </Directory>
    </Directory>
    <Feature Id="All" Level="1"><ComponentRef Id="Main"/></Feature>
  </Product>
</Wix>
`

func testWineMSI(t *testing.T, w *wine) {
	wixl, err := exec.LookPath("wixl")
	if err != nil {
		t.Skip("wixl is not installed (Debian package wixl), so nothing makes a package to install")
	}
	dir := t.TempDir()
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "test.wxs"), []byte(msiSource), 0o644), os.WriteFile(filepath.Join(dir, "hello.txt"), []byte("hello\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(wixl, "-a", "x64", "-o", w.drive("ingot/test.msi"), "test.wxs")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("wixl: %v\n%s", err, out)
	}
	server := httptest.NewServer(http.FileServer(http.Dir(w.drive("ingot"))))
	defer server.Close()

	r := w.steps(t, step("Unsigned", "InstallMSI", `{path: 'C:\ingot\test.msi'}`))
	if r.code != 1 || r.result == nil || r.result.Failure == nil || !strings.Contains(r.result.Failure.Message, "has no Authenticode signature") {
		t.Fatal(r)
	}
	r = w.steps(t, step("Install", "InstallMSI", `{path: '`+server.URL+`/test.msi', allowUnsignedInstaller: true, reboot: Skip, logFile: 'C:\msi logs\install.log',
      properties: {INSTALLDIR: 'C:\ingot test\', GREETING: good morning}}`)+
		step("Show", "ExecuteBinary", `{path: cmd.exe, arguments: [/c, echo, "{{ build.Install.outputs.msiExitCode }}", "{{ build.Install.outputs.logFile }}"]}`))
	r.succeeded(t)
	if got := r.text(component.StreamStdout); !strings.Contains(got, `0 "C:\msi logs\install.log"`) {
		t.Errorf("printed %q", got)
	}
	if data, err := os.ReadFile(w.drive("ingot test/hello.txt")); err != nil || string(data) != "hello\n" {
		t.Errorf("installed %q, %v", data, err)
	}
	if info, err := os.Stat(w.drive("msi logs/install.log")); err != nil || info.Size() == 0 {
		t.Errorf("log: %v", err)
	}
	if got := w.command(t, "reg", "query", `HKLM\Software\IngotMSI`, "/v", "Greeting"); !strings.Contains(got, "good morning") {
		t.Errorf("registry: %s", got)
	}
	r = w.steps(t, step("Uninstall", "UninstallMSI", `{path: 'C:\ingot\test.msi', ignoreAuthenticodeSignatureErrors: true, properties: {INSTALLDIR: 'C:\ingot test\'}}`)+
		step("NotThere", "UninstallMSI", `{path: 'C:\ingot\test.msi', allowUnsignedInstaller: true}`))
	r.succeeded(t)
	if _, err := os.Stat(w.drive("ingot test/hello.txt")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what was installed is still there: %v", err)
	}
	r = w.steps(t, step("Broken", "InstallMSI", `{path: 'C:\ingot\document.yml', allowUnsignedInstaller: true}`))
	if r.code != 1 || r.result == nil || r.result.Failure == nil || r.result.Failure.ExitCode == nil {
		t.Error(r)
	}
	r = w.steps(t, step("Force", "InstallMSI", `{path: 'C:\ingot\test.msi', allowUnsignedInstaller: true, reboot: Force}`))
	if r.result == nil || r.result.Status != component.StatusReboot {
		t.Error(r)
	}
}

// testWineUnits runs those tests of packages that need no shell and no paths of Unix.
func testWineUnits(t *testing.T, w *wine) {
	for _, unit := range []struct{ dir, name, run string }{
		{"builder/component", "component", "^Test(ParseJSON|ParseKeeps|ParseAnchors|ParseBounds|ScanReferences|Resolve|CheckParameters|SecretsClean|Cleaner)"},
		{"builder/component/action", "action", "^Test(Registry|OnWindows|InputsOfWindows|RunPowerShell|MSI|ShowLog)"},
		{"builder/agent", "agent", "^Test(OverlappedPort|SessionOverPort|CheckResult|Connect|StaleBytes)"},
	} {
		t.Run(unit.name, func(t *testing.T) {
			program := unit.name + ".test.exe"
			build(t, "windows", "amd64", "test", "-c", "-overlay", w.overlay(t, unit.dir, unit.name), "-ldflags", "-s -w -checklinkname=0",
				"-o", w.drive("ingot/"+program), "./"+unit.dir)
			stdout, stderr, code := w.start(t, filepath.Join("..", "..", unit.dir), `C:\ingot\`+program, "-test.v", "-test.short", "-test.run", unit.run)
			if code != 0 || !bytes.Contains(stdout, []byte("--- PASS")) {
				t.Errorf("exit status %d\n%s%s", code, stdout, stderr)
			}
		})
	}
}
