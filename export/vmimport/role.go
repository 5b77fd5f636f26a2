package vmimport

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/ingot-image/ingot/export/account"
)

// role is what IAM tells of a role.
type role struct {
	arn      string
	trust    string            // its document
	inline   map[string]string // documents by the policies' names
	attached []string          // documents
	boundary string            // the permissions boundary's document, "" for none
}

// readRole reads a role with its policies, nil if there is none.
func readRole(ctx context.Context, client *iam.Client, name string) (*role, error) {
	out, err := client.GetRole(ctx, &iam.GetRoleInput{RoleName: &name})
	if account.Code(err) == "NoSuchEntity" {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("iam:GetRole: %w", err)
	}
	r := &role{arn: value(out.Role.Arn), trust: value(out.Role.AssumeRolePolicyDocument), inline: map[string]string{}}
	if b := out.Role.PermissionsBoundary; b != nil && b.PermissionsBoundaryArn != nil {
		if r.boundary, err = managedPolicy(ctx, client, b.PermissionsBoundaryArn); err != nil {
			return nil, err
		}
	}
	inline := iam.NewListRolePoliciesPaginator(client, &iam.ListRolePoliciesInput{RoleName: &name})
	for inline.HasMorePages() {
		page, err := inline.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("iam:ListRolePolicies: %w", err)
		}
		for _, policy := range page.PolicyNames {
			out, err := client.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: &name, PolicyName: &policy})
			if err != nil {
				return nil, fmt.Errorf("iam:GetRolePolicy: %w", err)
			}
			r.inline[policy] = value(out.PolicyDocument)
		}
	}
	attached := iam.NewListAttachedRolePoliciesPaginator(client, &iam.ListAttachedRolePoliciesInput{RoleName: &name})
	for attached.HasMorePages() {
		page, err := attached.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("iam:ListAttachedRolePolicies: %w", err)
		}
		for _, policy := range page.AttachedPolicies {
			document, err := managedPolicy(ctx, client, policy.PolicyArn)
			if err != nil {
				return nil, err
			}
			r.attached = append(r.attached, document)
		}
	}
	return r, nil
}

func managedPolicy(ctx context.Context, client *iam.Client, arn *string) (string, error) {
	policy, err := client.GetPolicy(ctx, &iam.GetPolicyInput{PolicyArn: arn})
	if err != nil {
		return "", fmt.Errorf("iam:GetPolicy: %w", err)
	}
	version, err := client.GetPolicyVersion(ctx, &iam.GetPolicyVersionInput{PolicyArn: arn, VersionId: policy.Policy.DefaultVersionId})
	if err != nil {
		return "", fmt.Errorf("iam:GetPolicyVersion: %w", err)
	}
	return value(version.PolicyVersion.Document), nil
}

// distrust says why VM Import/Export cannot take the role on, or may not be able to, "" if it can.
func (r *role) distrust(region string) (why string, sure bool, err error) {
	trust, err := readDocument(r.trust)
	if err != nil {
		return "", false, err
	}
	why, sure = trust.trusts(region)
	return why, sure, nil
}

// want is what a role must be allowed.
type want struct {
	actions   []string
	resources []string
}

// wants are what the role does on imports, with actions that no wildcard stands for, as they are evaluated one by one.
func wants(partition, bucket, prefix string) []want {
	arn := "arn:" + partition + ":s3:::" + bucket
	return []want{
		{[]string{"s3:GetBucketLocation", "s3:ListBucket"}, []string{arn}},
		{[]string{"s3:GetObject"}, []string{arn + "/" + prefix + "disk"}},
		{[]string{"ec2:ModifySnapshotAttribute", "ec2:CopySnapshot", "ec2:RegisterImage", "ec2:DescribeSnapshots", "ec2:DescribeImages"}, []string{"*"}},
	}
}

// keyWant is what is done with a KMS key, by the role and by who imports (VM Import/Export User Guide, "Required permissions"; EBS User Guide, "IAM
// permissions for EBS direct APIs", "Permissions to use AWS KMS keys").
func keyWant(key string) want {
	return want{[]string{"kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncryptFrom", "kms:ReEncryptTo"}, []string{key}}
}

// lacks lists what the role's policies do not allow, and what they allow only under conditions that cannot be known here.
func (r *role) lacks(all []want, c requestContext) (l lack, err error) {
	rights, err := r.rights()
	if err != nil {
		return l, err
	}
	for _, w := range all {
		for _, resource := range w.resources {
			for _, action := range w.actions {
				verdict, open := rights.decide(action, resource, c)
				l.add(verdict, action, resource, open)
			}
		}
	}
	return l, nil
}

// lack is what somebody may not do, or not surely.
type lack struct {
	missing     []string // "ACTION on RESOURCE"
	conditional []string
	open        []string // keys of conditions that decide
}

func (l *lack) add(verdict decision, action, resource string, open []string) {
	text := action
	if resource != "*" {
		text += " on " + resource
	}
	switch verdict {
	case denied:
		l.missing = append(l.missing, text+byPolicy)
	case notAllowed:
		l.missing = append(l.missing, text)
	case perhaps:
		l.conditional = append(l.conditional, text)
		l.open = append(l.open, open...)
	}
}

// of is what is known of an action.
func (l lack) of(action, resource string) decision {
	is := func(text string) bool { return text == action || text == action+" on "+resource }
	switch {
	case slices.ContainsFunc(l.missing, func(text string) bool {
		return strings.HasSuffix(text, byPolicy) && is(strings.TrimSuffix(text, byPolicy))
	}):
		return denied
	case slices.ContainsFunc(l.missing, is):
		return notAllowed
	case slices.ContainsFunc(l.conditional, is):
		return perhaps
	}
	return allowed
}

// byPolicy marks what a policy denies.
const byPolicy = " (a policy denies it)"

// listed joins what a lack names, with a resource once for all the actions on it that follow each other.
func listed(texts []string) string {
	texts = slices.Clone(texts)
	for i := range len(texts) - 1 {
		action, resource, one := strings.Cut(texts[i], " on ")
		if _, next, same := strings.Cut(texts[i+1], " on "); one && same && next == resource {
			texts[i] = action
		}
	}
	return strings.Join(texts, ", ")
}

// uncertain says what is not sure.
func (l lack) uncertain() string {
	text := "conditions decide on " + listed(l.conditional)
	if len(l.open) > 0 {
		open := slices.Clone(l.open)
		slices.Sort(open)
		text += ", by " + strings.Join(slices.Compact(open), ", ")
	}
	return text
}

// rights are the policies of a role: what they and its permissions boundary allow, it may do.
type rights struct {
	identity []*policyDocument
	boundary []*policyDocument // none: there is no boundary
}

func (r *role) rights() (all rights, err error) {
	texts := slices.Clone(r.attached)
	for _, text := range r.inline {
		texts = append(texts, text)
	}
	for _, text := range texts {
		d, err := readDocument(text)
		if err != nil {
			return all, err
		}
		all.identity = append(all.identity, d)
	}
	if r.boundary != "" {
		d, err := readDocument(r.boundary)
		if err != nil {
			return all, err
		}
		all.boundary = []*policyDocument{d}
	}
	return all, nil
}

// blocked tells what of a role's wants no further policy allows, and why.
func (r *role) blocked(all []want, c requestContext) (why []string, err error) {
	rights, err := r.rights()
	if err != nil {
		return nil, err
	}
	var denies, outside []string
	for _, w := range all {
		for _, resource := range w.resources {
			for _, action := range w.actions {
				if verdict, _ := decide(rights.identity, action, resource, c); verdict == denied {
					denies = append(denies, action)
				}
				if rights.boundary == nil {
					continue
				}
				if verdict, _ := decide(rights.boundary, action, resource, c); verdict <= notAllowed {
					outside = append(outside, action)
				}
			}
		}
	}
	if len(denies) > 0 {
		why = append(why, "a policy of the role denies it "+strings.Join(denies, ", "))
	}
	if len(outside) > 0 {
		why = append(why, "its permissions boundary does not hold "+strings.Join(outside, ", "))
	}
	return why, nil
}

func (r rights) decide(action, resource string, c requestContext) (decision, []string) {
	result, open := decide(r.identity, action, resource, c)
	if r.boundary != nil {
		within, more := decide(r.boundary, action, resource, c)
		result, open = min(result, within), append(open, more...)
	}
	return result, open
}
