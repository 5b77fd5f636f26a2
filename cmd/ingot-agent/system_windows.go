package main

import (
	"golang.org/x/sys/windows"

	"github.com/ingot-image/ingot/builder/agent"
)

// rebootExitCode is the exit status of a run that wants a reboot.
const rebootExitCode = 3010

func system() agent.System { return agent.Windows{} }

// prepareConsole gives the agent, which as a service has none, a console in UTF-8. Programs that it starts inherit it, and print in its
// code page instead of that of the system's language.
func prepareConsole() {
	const utf8 = 65001
	_, _, _ = windows.NewLazySystemDLL("kernel32.dll").NewProc("AllocConsole").Call() // fails if there is one
	_ = windows.SetConsoleOutputCP(utf8)
}
