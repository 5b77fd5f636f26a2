package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/ingot-image/ingot/export/account"
	"github.com/ingot-image/ingot/export/distribution"
	"github.com/ingot-image/ingot/export/preflight"
	"github.com/ingot-image/ingot/export/vmimport"
)

// awsFlags are what ingot doctor --aws looks for.
type awsFlags struct {
	on    bool
	path  string
	names []string
	needs vmimport.Needs
}

func (f *awsFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&f.on, "aws", false, "look at the AWS account instead: credentials, bucket, role, keys, quotas, names")
	flags.StringVar(&f.path, "path", distribution.ImportSnapshot, "with --aws: how images get to AWS: import-snapshot, ebs-direct or import-image")
	flags.StringVar(&f.needs.Region, "region", "", "with --aws: region of imports, instead of the AWS settings'")
	flags.StringVar(&f.needs.Bucket, "bucket", "", "with --aws: bucket of imports (default ingot-import-ACCOUNT-REGION)")
	flags.StringVar(&f.needs.RoleName, "role-name", vmimport.DefaultRole, "with --aws: service role of imports")
	flags.StringVar(&f.needs.KMSKeyID, "kms-key-id", "", "with --aws: KMS key that snapshots get encrypted with")
	flags.StringSliceVar(&f.names, "ami-name", nil, "with --aws: name that an AMI shall get")
	flags.BoolVar(&f.needs.TryWrite, "try-write", false, "with --aws: write a small object into the bucket and delete it, to be sure that this is allowed")
}

// check refuses flags that mean nothing together.
func (f *awsFlags) check(cmd *cobra.Command) error {
	if !f.on {
		for _, name := range []string{"path", "region", "bucket", "role-name", "kms-key-id", "ami-name", "try-write"} {
			if cmd.Flags().Changed(name) {
				return usageError{fmt.Errorf("--%s needs --aws", name)}
			}
		}
		return nil
	}
	if !slices.Contains(distribution.Paths(), f.path) {
		return usageError{fmt.Errorf("--path %q: must be import-snapshot, ebs-direct or import-image", f.path)}
	}
	return nil
}

// awsReport is what it prints as JSON.
type awsReport struct {
	Path     preflight.Path      `json:"path"`
	Findings []preflight.Finding `json:"findings"`
}

// run looks at the account, and fails if something fatal is missing.
func (f *awsFlags) run(ctx context.Context, out io.Writer, asJSON bool) error {
	report := preflight.Report{Path: preflight.Path(f.path)}
	cfg, err := account.Load(ctx, account.Options{Region: f.needs.Region})
	switch {
	case errors.Is(err, account.ErrNoRegion), errors.Is(err, account.ErrNoCredentials):
		report.Findings = []preflight.Finding{vmimport.NoAccount(err)}
	case err != nil:
		return err
	default:
		f.needs.Path = report.Path
		if len(f.names) > 0 {
			f.needs.AMINames = map[string][]string{cfg.Region: f.names}
		}
		if report.Findings, err = vmimport.Examine(ctx, cfg, f.needs); err != nil {
			return err
		}
	}
	if asJSON {
		err = printJSON(out, awsReport{report.Path, report.Findings})
	} else {
		for _, finding := range report.Findings {
			printAccountFinding(out, finding)
		}
		err = nil
	}
	if err == nil && report.Fatal() {
		n := 0
		for _, finding := range report.Failed() {
			if finding.Level == preflight.Fatal {
				n++
			}
		}
		err = fmt.Errorf("%s to AWS", counted(n, "obstacle"))
	}
	return err
}

func printAccountFinding(w io.Writer, f preflight.Finding) {
	state := map[preflight.Status]string{preflight.Passed: "passed", preflight.Skipped: "skipped", preflight.Unknown: "unknown"}[f.Status]
	if f.Status == preflight.Failed {
		state = string(f.Level)
	}
	text := f.Title
	if f.Status == preflight.Failed {
		text = f.Seen
	}
	fmt.Fprintf(w, "%s  %-8s %s\n", f.ID, state, printable(text))
	for _, line := range [][2]string{{"", f.Where}, {"", f.Reason}, {"prevents: ", f.Prevents}, {"fix: ", f.Fix}} {
		if line[1] != "" {
			fmt.Fprintf(w, "              %s%s\n", line[0], printable(line[1]))
		}
	}
}
