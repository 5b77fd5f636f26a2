package main

import (
	"cmp"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/component/action"
)

func newComponent() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "component",
		Short: "Check and run component documents, here or in a throwaway VM",
		Long: `Component works with component documents, the language of AWSTOE, without building an image.
Validate and run take the flags of awstoe, and print and exit as it does.`,
		Example: `  ingot component validate -d hello.yml
  ingot component run -d hello.yml --vm debian-12
  ingot component list`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("there is no command %q (see ingot component --help)", args[0])}
			}
			return cmd.Help()
		},
	}
	cmd.AddCommand(newComponentValidate(), newComponentRun(), newComponentList(), newComponentShow())
	return cmd
}

// exitStatus ends the program with a status after everything was told.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// The exit statuses of awstoe that ask for a reboot.
const (
	exitReboot        = 194
	exitRebootWindows = 3010
)

func rebootStatus() exitStatus {
	if runtime.GOOS == "windows" {
		return exitRebootWindows
	}
	return exitReboot
}

// modulesFor are the actions of documents for a platform, spelt as the service does: linux, windows or macOS. Empty is this machine's.
func modulesFor(platform string) (component.Modules, error) {
	if err := oneOf("platform", platform, "linux", "windows", "macOS"); err != nil {
		return nil, err
	}
	goos := map[string]string{"": runtime.GOOS, "macOS": "darwin"}[platform]
	return action.Modules().For(cmp.Or(goos, platform)), nil
}

// documentNames reads --documents: names separated by commas.
func documentNames(text string) ([]string, error) {
	var names []string
	for name := range strings.SplitSeq(text, ",") {
		if strings.TrimSpace(name) == "" {
			return nil, usageError{errors.New("--documents: a name is empty; separate documents by a comma without spaces")}
		}
		names = append(names, name)
	}
	return names, nil
}
