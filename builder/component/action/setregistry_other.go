//go:build !windows

package action

func writeRegistry(_, _, _, _ string, _ registryData) error { return onlyOnWindows("SetRegistry") }
