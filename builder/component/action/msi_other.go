//go:build !windows

package action

func verifyAuthenticode(string) error { return onlyOnWindows("the check of signatures") }

func msiMeaning(int) string { return "" }
