package main

import (
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

func newDoctor() *cobra.Command {
	var asJSON bool
	var cloud awsFlags
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check that this machine has what builds need",
		Long: `Doctor looks at every requirement of a build on this machine: QEMU, the accelerator and why it
was chosen, firmware by QEMU's own descriptors, tools, disk space and memory. For what is
missing it tells how to get it. Exit status 1 means that a build could not work.

With --aws it looks at the AWS account instead, and changes nothing there: credentials, bucket, service role, KMS key,
quotas and names of AMIs. Exit status 1 means that an import could not work; ingot aws setup makes what is missing.`,
		Example: "  ingot doctor\n  ingot doctor --json\n  ingot doctor --aws --bucket images-in-ireland",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cloud.check(cmd); err != nil {
				return err
			}
			if cloud.on {
				return cloud.run(cmd.Context(), cmd.OutOrStdout(), asJSON)
			}
			b, err := newBuilder()
			if err != nil {
				return err
			}
			requirements := b.Requirements(cmd.Context())
			missing := 0
			for _, r := range requirements {
				if !r.Found && !r.Optional {
					missing++
				}
			}
			out := cmd.OutOrStdout()
			if asJSON {
				err = printJSON(out, requirements)
			} else {
				t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
				for _, r := range requirements {
					state := "found"
					if !r.Found {
						state = "missing"
					}
					if !r.Found && r.Optional {
						state = "without"
					}
					fmt.Fprintf(t, "%s\t%s\t%s\n", state, r.Name, r.Detail)
					if !r.Found && r.Fix != "" {
						fmt.Fprintf(t, "\t\tfix: %s\n", r.Fix)
					}
				}
				err = t.Flush()
			}
			if err == nil && missing > 0 {
				err = errors.New(counted(missing, "requirement") + " missing")
			}
			return err
		},
	}
	cloud.register(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
