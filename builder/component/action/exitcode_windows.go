package action

// rebootExitCode is the exit status by which a command asks to be run again after a reboot: ERROR_SUCCESS_REBOOT_REQUIRED.
const rebootExitCode = 3010
