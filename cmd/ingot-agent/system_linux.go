package main

import "github.com/ingot-image/ingot/builder/agent"

// rebootExitCode is the exit status of a run that wants a reboot.
const rebootExitCode = 194

func system() agent.System { return agent.Linux{Root: "/"} }

func prepareConsole() {}
