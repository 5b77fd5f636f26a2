package component

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
)

// group is a command with all processes that it starts: a job object ("Job Objects" in the Windows documentation).
type group struct {
	cmd *exec.Cmd
	job windows.Handle
}

// killedExitCode is that of processes which were ended by the group, as taskkill's.
const killedExitCode = 1

func newGroup(cmd *exec.Cmd, c Command) (group, error) {
	// The first thread waits until the process is in the job, so that no child can start outside of it.
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_SUSPENDED}
	if c.CommandLine != "" {
		cmd.SysProcAttr.CmdLine = syscall.EscapeArg(c.Path) + " " + c.CommandLine
	}
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return group{}, fmt.Errorf("create a job object: %w", err)
	}
	// Installers and services start processes with CREATE_BREAKAWAY_FROM_JOB, which fails in jobs that do not allow it.
	var limits windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION
	limits.BasicLimitInformation.LimitFlags = windows.JOB_OBJECT_LIMIT_BREAKAWAY_OK
	if _, err := windows.SetInformationJobObject(job, windows.JobObjectExtendedLimitInformation,
		uintptr(unsafe.Pointer(&limits)), uint32(unsafe.Sizeof(limits))); err != nil {
		return group{}, errors.Join(fmt.Errorf("set up a job object: %w", err), windows.CloseHandle(job))
	}
	return group{cmd, job}, nil
}

// join puts the started process into the job and lets it run. If that fails it is ended, so that it can be waited for.
func (g group) join() error {
	var assigned error
	err := g.cmd.Process.WithHandle(func(process uintptr) {
		assigned = windows.AssignProcessToJobObject(g.job, windows.Handle(process))
	})
	if err = errors.Join(err, assigned); err == nil {
		err = resume(uint32(g.cmd.Process.Pid))
	}
	if err != nil {
		_ = g.terminate()
		return fmt.Errorf("start the process in a job object: %w", err)
	}
	return nil
}

// resume starts the first thread of a process that was created suspended. What CreateProcess knew of it is gone, so it is looked for.
func resume(pid uint32) error {
	snapshot, err := windows.CreateToolhelp32Snapshot(windows.TH32CS_SNAPTHREAD, 0)
	if err != nil {
		return fmt.Errorf("list threads: %w", err)
	}
	defer windows.CloseHandle(snapshot)
	entry := windows.ThreadEntry32{Size: uint32(unsafe.Sizeof(windows.ThreadEntry32{}))}
	for err = windows.Thread32First(snapshot, &entry); err == nil; err = windows.Thread32Next(snapshot, &entry) {
		if entry.OwnerProcessID != pid {
			continue
		}
		thread, err := windows.OpenThread(windows.THREAD_SUSPEND_RESUME, false, entry.ThreadID)
		if err != nil {
			return fmt.Errorf("open the first thread: %w", err)
		}
		defer windows.CloseHandle(thread)
		if _, err := windows.ResumeThread(thread); err != nil {
			return fmt.Errorf("resume the first thread: %w", err)
		}
		return nil
	}
	return errors.New("the process has no thread")
}

// terminate ends the tree at once: there is no polite way for processes without windows. The process itself may not be in the job yet.
func (g group) terminate() error {
	g.kill()
	return g.cmd.Process.Kill()
}

func (g group) kill() { _ = windows.TerminateJobObject(g.job, killedExitCode) }

// close lets go of the job; processes of it that are left live on.
func (g group) close() { _ = windows.CloseHandle(g.job) }

func exitError(err *exec.ExitError) *ExitError { return &ExitError{Code: err.ExitCode()} }

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

func missingEnviron([]string) []string { return nil }
