package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

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
	Description string   `json:"description"`
}

func newComponentList() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the managed components that come with Ingot",
		Long: `List shows the managed components: they have the names and parameters of Amazon's, and what is in
them is Ingot's own. A recipe, component run and component validate take them by name.`,
		Example: `  ingot component list
  ingot component list --json | jq -r '.[].name'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var list []listedComponent
			for _, name := range managed.Names() {
				c, err := managedComponent(name)
				if err != nil {
					return err
				}
				list = append(list, c)
			}
			out := cmd.OutOrStdout()
			if asJSON {
				return printJSON(out, list)
			}
			t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "NAME\tVERSION\tPLATFORM\tPHASES\tDESCRIPTION")
			for _, c := range list {
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", c.Name, c.Version, c.Platform, strings.Join(c.Phases, ","), c.Description)
			}
			return t.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func managedComponent(name string) (listedComponent, error) {
	version, content, _ := managed.Lookup(name)
	d, err := component.Parse(name, content, action.Modules())
	if err != nil {
		return listedComponent{}, fmt.Errorf("managed component: %w", err)
	}
	c := listedComponent{Name: name, Version: version, Platform: "linux", Description: d.Description}
	if strings.HasSuffix(name, "-windows") {
		c.Platform = "windows"
	}
	for _, phase := range d.Phases {
		c.Phases = append(c.Phases, phase.Name)
	}
	return c, nil
}

func newComponentShow() *cobra.Command {
	return &cobra.Command{
		Use:     "show NAME",
		Short:   "Print the document of a managed component",
		Long:    `Show prints the document of a managed component, to read it or to start one's own from.`,
		Example: `  ingot component show update-linux`,
		Args:    cobra.ExactArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return managed.Names(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			_, content, ok := managed.Lookup(args[0])
			if !ok {
				return usageError{fmt.Errorf("there is no managed component %q; see ingot component list", args[0])}
			}
			_, err := cmd.OutOrStdout().Write(content)
			return err
		},
	}
}
