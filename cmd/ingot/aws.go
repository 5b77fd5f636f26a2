package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/ingot-image/ingot/export/account"
	"github.com/ingot-image/ingot/export/vmimport"
)

func newAWS() *cobra.Command {
	cmd := &cobra.Command{Use: "aws", Short: "Prepare an AWS account for imports", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(newAWSSetup())
	return cmd
}

// setUp is what ingot aws setup prints as JSON.
type setUp struct {
	*vmimport.SetupPlan
	Applied bool `json:"applied"`
}

func newAWSSetup() *cobra.Command {
	var region string
	var yes, asJSON bool
	var o vmimport.SetupOptions
	cmd := &cobra.Command{
		Use:   "setup",
		Short: "Make the bucket and the role that imports need",
		Long: `Setup makes what VM Import/Export needs of an AWS account: a bucket in the region, closed to the public, encrypted, whose
temporary objects are deleted after 7 days; and the service role vmimport with its trust and policy, as AWS documents them.

It looks at what is there, shows every step with the policies as they will be, what is added to one that is there marked with +, and asks. What is there and right is left as it
is; what lacks something gets it added; nothing is deleted. Run it again whenever you like. --yes does not ask; without it and
without a terminal nothing is changed.
Exit status: 0 done or nothing to do, 1 it failed, 2 nothing was changed: not confirmed, or something stands in the way.`,
		Example: `  ingot aws setup
  ingot aws setup --bucket images-in-ireland --region eu-west-1 --yes`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, out := cmd.Context(), cmd.OutOrStdout()
			cfg, err := account.Load(ctx, account.Options{Region: region})
			if errors.Is(err, account.ErrNoRegion) || errors.Is(err, account.ErrNoCredentials) {
				return usageError{err}
			}
			if err != nil {
				return err
			}
			plan, err := vmimport.PlanSetup(ctx, cfg, o)
			if err != nil {
				return err
			}
			told := out
			if asJSON {
				told = cmd.ErrOrStderr()
			}
			printSetup(told, plan)
			if wrong := plan.Wrong(); len(wrong) > 0 {
				err = usageError{fmt.Errorf("%s: %s; nothing was changed", wrong[0].What, wrong[0].Detail)}
			} else if len(plan.Changes()) > 0 && !yes {
				err = confirm(cmd.InOrStdin(), cmd.ErrOrStderr(), "Go on?")
			}
			applied := false
			if err == nil {
				err = plan.Apply(ctx, func(s vmimport.Step) { fmt.Fprintf(told, "done  %s: %s\n", s.What, s.Action) })
				applied = err == nil
			}
			if asJSON {
				err = errors.Join(err, printJSON(out, setUp{plan, applied}))
			}
			return err
		},
	}
	cmd.Flags().StringVar(&o.Bucket, "bucket", "", "the bucket's name (default ingot-import-ACCOUNT-REGION)")
	cmd.Flags().StringVar(&o.RoleName, "role-name", vmimport.DefaultRole, "the service role's name")
	cmd.Flags().StringSliceVar(&o.KMSKeyIDs, "kms-key-arn", nil, "ARN of a KMS key that the role may use, for encrypted snapshots or buckets")
	cmd.Flags().StringVar(&region, "region", "", "region of the bucket and of imports, instead of the AWS settings'")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the plan as JSON, and the rest to standard error")
	return cmd
}

func printSetup(w io.Writer, p *vmimport.SetupPlan) {
	fmt.Fprintf(w, "Account %s, region %s\n", p.AccountID, p.Region)
	for _, s := range p.Steps {
		fmt.Fprintf(w, "%-6s  %s: %s\n", s.State, printable(s.What), printable(s.Detail))
		for _, line := range changed(s.Before, s.Document) {
			fmt.Fprintf(w, "        %s\n", printable(line))
		}
	}
	if len(p.Changes()) == 0 && len(p.Wrong()) == 0 {
		fmt.Fprintln(w, "Everything is there.")
	}
}

// changed are the lines of a document as it will be, those that are new beginning with "+ ", those that go with "- ", the others with two spaces. Without a
// document before they all begin with spaces. Statements are only added, so that what is new is one piece.
func changed(before, after string) (lines []string) {
	old, now := strings.Split(before, "\n"), strings.Split(after, "\n")
	if after == "" {
		return nil
	}
	head, tail := len(now), 0
	if before != "" {
		for head = 0; head < min(len(old), len(now)) && old[head] == now[head]; head++ {
		}
		for tail = 0; tail < min(len(old), len(now))-head && old[len(old)-1-tail] == now[len(now)-1-tail]; tail++ {
		}
	}
	mark := func(sign string, some []string) {
		for _, line := range some {
			lines = append(lines, sign+" "+line)
		}
	}
	mark(" ", now[:head])
	if before != "" {
		mark("-", old[head:len(old)-tail])
		mark("+", now[head:len(now)-tail])
		mark(" ", now[len(now)-tail:])
	}
	return lines
}

// errNotConfirmed is the answer no.
var errNotConfirmed = usageError{errors.New("not confirmed; nothing was changed")}

// confirm asks at a terminal. Without one the answer is no.
func confirm(in io.Reader, out io.Writer, question string) error {
	file, ok := in.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return usageError{errors.New("there is no terminal to confirm at; nothing was changed: give --yes to go on")}
	}
	fmt.Fprintf(out, "%s [y/N] ", question)
	answer, err := bufio.NewReader(file).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
		return errNotConfirmed
	}
	return nil
}
