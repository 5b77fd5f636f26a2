package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/ingot-image/ingot/builder/component"
)

// validation is what awstoe validate prints on its standard output, and with --json the problems, too.
type validation struct {
	ValidationStatus component.Status   `json:"validationStatus"`
	Message          string             `json:"message"`
	Problems         component.Problems `json:"problems,omitempty"`
}

func newComponentValidate() *cobra.Command {
	var documents, platform string
	var asJSON, trace bool
	var cloud cloudFlags
	cmd := &cobra.Command{
		Use:   "validate -d FILE[,FILE]",
		Short: "Check component documents without running them",
		Long: `Validate checks component documents as awstoe validate does, and prints the same JSON on the standard
output. All mistakes of all documents are told on the standard error, each with its line and column.

A document is a file, s3://BUCKET/KEY, or the name or ARN of a managed component.
Exit status: 0 valid, 1 not valid, 2 a mistake in the flags.`,
		Example: `  ingot component validate -d hello.yml
  ingot component validate -d hello.yml,iis.yml --platform windows
  ingot component validate -d hello.yml --json | jq '.problems[] | {line, column, message}'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			modules, err := modulesFor(platform)
			if err != nil {
				return err
			}
			if documents == "" {
				return usageError{errors.New("--documents must be given")}
			}
			names, err := documentNames(documents)
			if err != nil {
				return err
			}
			services, err := cloud.open(cmd.Context())
			if err != nil {
				return err
			}
			given := make([]givenDocument, len(names))
			for i, name := range names {
				given[i].name = name
			}
			source := documentSource{services: services, owner: cloud.documentOwner, modules: modules}
			return printValidation(cmd, given, source.load(cmd.Context(), given), asJSON, trace)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&documents, "documents", "d", "", "documents to check, separated by commas")
	cloud.register(cmd)
	flags.BoolVarP(&trace, "trace", "t", false, "tell what each document holds, too")
	flags.StringVar(&platform, "platform", "", "linux, windows or macOS: what the documents are for (default: this machine's)")
	flags.BoolVar(&asJSON, "json", false, "put the mistakes into the JSON instead of on the standard error")
	cmd.RegisterFlagCompletionFunc("platform", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return []string{"linux", "windows", "macOS"}, cobra.ShellCompDirectiveNoFileComp
	})
	return cmd
}

func printValidation(cmd *cobra.Command, given []givenDocument, err error, asJSON, trace bool) error {
	v := validation{ValidationStatus: component.StatusSuccess, Message: fmt.Sprintf("Document(s) %s is/are valid.", listed(given))}
	if err != nil && !errors.As(err, &v.Problems) {
		return err
	}
	if trace {
		traceDocuments(given)
	}
	if err != nil {
		v.ValidationStatus = component.StatusFailed
		v.Message = fmt.Sprintf("Document(s) %s is/are invalid. %s", listed(given), v.Problems.Error())
	}
	if !asJSON {
		for _, p := range v.Problems {
			fmt.Fprintln(os.Stderr, printable(p.String()))
		}
		v.Problems = nil
	}
	e := json.NewEncoder(cmd.OutOrStdout()) // one line, as awstoe
	e.SetEscapeHTML(false)
	if failed := e.Encode(v); failed != nil {
		return failed
	}
	if err != nil {
		return exitStatus(exitFailed)
	}
	return nil
}

// traceDocuments tells what the valid documents hold.
func traceDocuments(given []givenDocument) {
	for _, d := range given {
		if d.parsed == nil {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s: %d bytes, %s, %s\n", d.name, len(d.content),
			counted(len(d.parsed.Parameters), "parameter"), counted(len(d.parsed.Constants), "constant"))
		for _, phase := range d.parsed.Phases {
			for _, step := range phase.Steps {
				fmt.Fprintln(os.Stderr, printable(fmt.Sprintf("%s:%d:%d: %s › %s: %s", d.name, step.Line, step.Column, phase.Name, step.Name, step.Action)))
			}
		}
	}
}
