package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/ingot-image/ingot/builder/aws"
	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/component/action"
	"github.com/ingot-image/ingot/builder/component/managed"
)

// listedComponent is a managed component in the list.
type listedComponent struct {
	Name        string   `json:"name"`
	Version     string   `json:"version"`
	Platform    string   `json:"platform"`
	Phases      []string `json:"phases"`
	Parameters  []string `json:"parameters"`
	Tested      bool     `json:"tested"` // whether Ingot's tests run it in a VM
	Description string   `json:"description"`
}

func newComponentList() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the managed components that come with Ingot",
		Long: `List shows the managed components: they have the names and parameters of Amazon's, and what is in
them is Ingot's own. Recipes, component run and component validate take them by name. Those marked as
tested are run in a VM by Ingot's own tests; the others are only validated.`,
		Example: `  ingot component list
  ingot component list --json | jq -r '.[] | select(.tested) | .name'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var list []listedComponent
			for _, c := range managed.List() {
				l, err := listComponent(c)
				if err != nil {
					return err
				}
				list = append(list, l)
			}
			out := cmd.OutOrStdout()
			if asJSON {
				return printJSON(out, list)
			}
			t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "NAME\tVERSION\tPLATFORM\tTESTED\tPHASES\tDESCRIPTION")
			for _, c := range list {
				tested := "-"
				if c.Tested {
					tested = "yes"
				}
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", c.Name, c.Version, c.Platform, tested, strings.Join(c.Phases, ","), firstSentence(c.Description))
			}
			return t.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// firstSentence is enough of a description for a table.
func firstSentence(text string) string {
	first, _, _ := strings.Cut(text, ". ")
	return strings.TrimSuffix(first, ".")
}

func listComponent(c managed.Component) (listedComponent, error) {
	_, content, _ := managed.Lookup(c.Name)
	d, err := component.Parse(c.Name, content, action.Modules())
	if err != nil {
		return listedComponent{}, fmt.Errorf("managed component: %w", err)
	}
	l := listedComponent{
		Name: c.Name, Version: c.Version, Platform: c.Platform, Tested: c.Tested, Description: c.Description, Parameters: []string{},
	}
	for _, phase := range d.Phases {
		l.Phases = append(l.Phases, phase.Name)
	}
	for _, parameter := range d.Parameters {
		l.Parameters = append(l.Parameters, parameter.Name)
	}
	return l, nil
}

func newComponentShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show NAME",
		Short: "Print the document of a managed component",
		Long: `Show prints the document of a managed component, named as in a recipe or by Amazon's ARN, to read it or
to start one's own from.`,
		Example: `  ingot component show update-linux
  ingot component show hello-world-linux/1.0.x`,
		Args: cobra.ExactArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return managed.Names(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			content, err := aws.Managed{}.Component(cmd.Context(), args[0])
			if err != nil {
				return usageError{err}
			}
			_, err = cmd.OutOrStdout().Write(content)
			return err
		},
	}
}
