package vmimport

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/iam"

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
	why, sure, err := r.distrust(e.Region)
	switch {
	case err != nil:
		e.add(unknownFor(f, preflight.Fatal, r.arn, err, ""))
	case why != "" && sure:
		e.add(failed(f, preflight.Fatal, r.arn, why, prevents, "add the trust that is missing: "+setup))
	case why != "":
		g := f
		g.Status, g.Level, g.Where, g.Reason, g.Fix = preflight.Unknown, preflight.Fatal, r.arn, "cannot check: "+why, "if imports are refused, add a trust without that condition: "+setup
		e.add(g)
	}
	e.roleRights(ctx, client, f, r, prevents, setup)
	e.passRole(ctx, client, f, r)
	e.concluded(f, preflight.Fatal, r.arn)
}

// roleRights checks what the role may do: by IAM's simulation where the credentials allow that, by its documents otherwise.
func (e *examination) roleRights(ctx context.Context, client *iam.Client, f preflight.Finding, r *role, prevents, setup string) {
	all, c := wants(e.partition, e.Bucket, e.Prefix), e.context(r.arn)
	own, err := simulate(ctx, client, r.arn, all, c)
	if err != nil {
		own, err = r.lacks(all, c)
	}
	rights, unread := r.rights()
	switch {
	case err != nil:
		e.add(unknownFor(f, preflight.Fatal, r.arn, err, ""))
	case len(own.missing) > 0:
		e.add(failed(f, preflight.Fatal, r.arn, "the role is not allowed "+listed(own.missing), prevents, "add what is missing: "+setup))
	case len(own.conditional) > 0:
		g := f
		g.Status, g.Level, g.Where, g.Reason = preflight.Unknown, preflight.Fatal, r.arn, "cannot check: "+own.uncertain()
		e.add(g)
	}
	if unread != nil {
		return // said above
	}
	for _, k := range e.keys {
		fix := fmt.Sprintf("allow them in the role's policies (%s --kms-key-arn %s), and see that the key's own policy names %s or leaves it to the account", setup, k.arn, r.arn)
		c := e.keyContext(e.Region)
		e.judgeKey(f, k, "the role", r.arn, c, func(action, resource string) decision {
			result, _ := rights.decide(action, resource, c)
			return result
		}, fix)
	}
}

// passRole checks that who imports may hand the role to VM Import/Export.
func (e *examination) passRole(ctx context.Context, client *iam.Client, f preflight.Finding, r *role) {
	const fix = "have iam:PassRole on the role allowed (see docs/aws-setup.md)"
	c := e.context(e.callerARN)
	c["iam:passedtoservice"] = []string{service}
	own, err := simulate(ctx, client, e.callerARN, []want{{[]string{"iam:PassRole"}, []string{r.arn}}}, c)
	switch {
	case err != nil: // not told: doctor's own rights say nothing of those to import
	case len(own.missing) > 0:
		e.add(failed(f, preflight.Fatal, e.callerARN, "the credentials do not allow "+own.missing[0], "UnauthorizedOperation", fix))
	case len(own.conditional) > 0:
		f.Status, f.Level, f.Where, f.Reason, f.Fix = preflight.Unknown, preflight.Fatal, e.callerARN, "cannot check: "+own.uncertain(), fix
		e.add(f)
	}
}

// context is what is known of requests that a user or role makes in the import's region.
func (e *examination) context(principal string) requestContext {
	return requestContext{
		"aws:securetransport": {"true"}, "aws:requestedregion": {e.Region}, "aws:principalaccount": {e.accountID}, "aws:principalarn": {principal},
	}
}
