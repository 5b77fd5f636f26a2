package vmimport

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/ingot-image/ingot/export/account"
)

// role is what IAM tells of a role.
type role struct {
	arn      string
	trust    string            // its document
	inline   map[string]string // documents by the policies' names
	attached []string          // documents
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

// distrust says why VM Import/Export cannot take the role on, "" if it can.
func (r *role) distrust() (string, error) {
	trust, err := readDocument(r.trust)
	if err != nil {
		return "", err
	}
	return trust.trusts(), nil
}

// want is what a role must be allowed.
type want struct {
	actions   []string
	resources []string
}

// wants are what the role does on imports, with actions that no wildcard stands for, as they are evaluated one by one.
func wants(partition, bucket, prefix string, keys []string) []want {
	arn := "arn:" + partition + ":s3:::" + bucket
	all := []want{
		{[]string{"s3:GetBucketLocation", "s3:ListBucket"}, []string{arn}},
		{[]string{"s3:GetObject"}, []string{arn + "/" + prefix + "disk"}},
		{[]string{"ec2:ModifySnapshotAttribute", "ec2:CopySnapshot", "ec2:RegisterImage", "ec2:DescribeSnapshots", "ec2:DescribeImages"}, []string{"*"}},
	}
	if len(keys) > 0 {
		all = append(all, want{[]string{"kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncryptFrom", "kms:ReEncryptTo"}, keys})
	}
	return all
}

// lacks lists what the role's policies do not allow, and what they allow only under conditions.
func (r *role) lacks(all []want) (missing, conditional []string, err error) {
	var documents []*policyDocument
	texts := slices.Clone(r.attached)
	for _, text := range r.inline {
		texts = append(texts, text)
	}
	for _, text := range texts {
		d, err := readDocument(text)
		if err != nil {
			return nil, nil, err
		}
		documents = append(documents, d)
	}
	for _, w := range all {
		for _, resource := range w.resources {
			for _, action := range w.actions {
				text := action
				if resource != "*" {
					text += " on " + resource
				}
				switch decide(documents, action, resource) {
				case notAllowed, denied:
					missing = append(missing, text)
				case perhaps:
					conditional = append(conditional, text)
				}
			}
		}
	}
	return missing, conditional, nil
}

// simulate has IAM itself tell which actions a user's or role's policies do not allow, boundaries and the organization's among them.
func simulate(ctx context.Context, client *iam.Client, principal string, actions, resources []string) (missing []string, err error) {
	if strings.HasSuffix(principal, ":root") {
		return nil, fmt.Errorf("the root user has no policies")
	}
	pages := iam.NewSimulatePrincipalPolicyPaginator(client, &iam.SimulatePrincipalPolicyInput{PolicySourceArn: &principal, ActionNames: actions, ResourceArns: resources})
	for pages.HasMorePages() {
		// Where it is not allowed or not known there is another way: it is asked once.
		page, err := pages.NextPage(ctx, func(o *iam.Options) { o.Retryer = aws.NopRetryer{} })
		if err != nil {
			return nil, err
		}
		for _, r := range page.EvaluationResults {
			if r.EvalDecision != iamtypes.PolicyEvaluationDecisionTypeAllowed {
				missing = append(missing, fmt.Sprintf("%s on %s", value(r.EvalActionName), value(r.EvalResourceName)))
			}
		}
	}
	return missing, nil
}
