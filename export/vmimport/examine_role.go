package vmimport

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/ingot-image/ingot/export/account"
	"github.com/ingot-image/ingot/export/preflight"
)

// role is G03.
func (e *examination) role(ctx context.Context) {
	f := about("G03", "VM Import/Export can take the role on, which may read the bucket and make snapshots")
	if !e.throughS3(f) {
		return
	}
	prevents := fmt.Sprintf("The service role %s does not exist or does not have sufficient permissions for the service to continue", e.RoleName)
	setup := fmt.Sprintf("ingot aws setup --bucket %s", e.Bucket)
	if e.RoleName != DefaultRole {
		setup += " --role-name " + e.RoleName
	}
	where := "role " + e.RoleName
	client := iam.NewFromConfig(e.cfg)
	r, err := readRole(ctx, client, e.RoleName)
	switch {
	case err != nil:
		e.add(unknownFor(f, preflight.Fatal, where, err, "have iam:GetRole, iam:ListRolePolicies, iam:GetRolePolicy, iam:ListAttachedRolePolicies, iam:GetPolicy and iam:GetPolicyVersion allowed, or have somebody who may look run ingot doctor --aws"))
		return
	case r == nil:
		e.add(failed(f, preflight.Fatal, where, "there is no such role", prevents, "make it: "+setup))
		return
	}
	if why, err := r.distrust(); err != nil {
		e.add(unknownFor(f, preflight.Fatal, r.arn, err, ""))
	} else if why != "" {
		e.add(failed(f, preflight.Fatal, r.arn, why, prevents, "add the trust that is missing: "+setup))
	}
	all := wants(account.Partition(e.Region), e.Bucket, e.Prefix, e.keys)
	missing, conditional, err := r.lacks(all)
	if simulated, ok := e.simulated(ctx, client, r.arn, all); ok {
		missing, conditional, err = simulated, nil, nil
	}
	switch {
	case err != nil:
		e.add(unknownFor(f, preflight.Fatal, r.arn, err, ""))
	case len(missing) > 0:
		e.add(failed(f, preflight.Fatal, r.arn, "the role is not allowed "+strings.Join(missing, ", "), prevents, "add what is missing: "+setup))
	case len(conditional) > 0:
		f.Status, f.Level, f.Where, f.Reason = preflight.Unknown, preflight.Fatal, r.arn, "cannot check: conditions decide on "+strings.Join(conditional, ", ")
		e.add(f)
	}
	if missing, err := simulate(ctx, client, e.callerARN, []string{"iam:PassRole"}, []string{r.arn}); err == nil && len(missing) > 0 {
		e.add(failed(f, preflight.Fatal, e.callerARN, "the credentials do not allow "+missing[0], "UnauthorizedOperation", "have iam:PassRole on the role allowed (see docs/aws-setup.md)"))
	}
	e.concluded(f, preflight.Fatal, r.arn)
}

// simulated asks IAM what the role lacks. It is false where the credentials do not allow that.
func (e *examination) simulated(ctx context.Context, client *iam.Client, arn string, all []want) (missing []string, ok bool) {
	for _, w := range all {
		lacking, err := simulate(ctx, client, arn, w.actions, w.resources)
		if err != nil {
			return nil, false
		}
		missing = append(missing, lacking...)
	}
	return missing, true
}
