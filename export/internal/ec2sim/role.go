package ec2sim

import (
	"cmp"
	"errors"
	"net/url"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/smithy-go"
	"github.com/ingot-image/ingot/export/internal/ec2sim/permit"
)

// need is something that the service does as the role.
type need struct{ action, resource string }

// What VM Import does as its role (VM Import/Export User Guide, "Required permissions", the service role's policy).
func importNeeds(bucket, key, kmsKey string) []need {
	needs := []need{
		{"s3:GetBucketLocation", "arn:aws:s3:::" + bucket}, {"s3:ListBucket", "arn:aws:s3:::" + bucket}, {"s3:GetObject", "arn:aws:s3:::" + bucket + "/" + key},
		{"ec2:ModifySnapshotAttribute", "*"}, {"ec2:CopySnapshot", "*"}, {"ec2:RegisterImage", "*"}, {"ec2:DescribeSnapshots", "*"},
	}
	return append(needs, keyNeeds(kmsKey)...)
}

func exportNeeds(bucket, key string) []need {
	return []need{
		{"s3:GetBucketLocation", "arn:aws:s3:::" + bucket}, {"s3:ListBucket", "arn:aws:s3:::" + bucket}, {"s3:GetBucketAcl", "arn:aws:s3:::" + bucket},
		{"s3:GetObject", "arn:aws:s3:::" + bucket + "/" + key}, {"s3:PutObject", "arn:aws:s3:::" + bucket + "/" + key},
		{"ec2:CopySnapshot", "*"}, {"ec2:DescribeSnapshots", "*"},
	}
}

func keyNeeds(key string) (needs []need) {
	if key == "" {
		return nil
	}
	for _, action := range []string{"CreateGrant", "Decrypt", "DescribeKey", "Encrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext", "ReEncryptFrom", "ReEncryptTo"} {
		needs = append(needs, need{"kms:" + action, key})
	}
	return needs
}

// assume demands that the service may assume the role and do as it what it needs to.
func (s *Server) assume(p place, role string, needs []need) error {
	name := cmp.Or(role, "vmimport")
	refused := refuse("InvalidParameter", "The service role %s does not exist or does not have sufficient permissions for the service to continue", name)
	client := iam.NewFromConfig(s.behind(p))
	found, err := client.GetRole(s.ctx, &iam.GetRoleInput{RoleName: &name})
	var api smithy.APIError
	if errors.As(err, &api) && api.ErrorCode() == "NoSuchEntity" {
		return refused
	}
	if err != nil {
		return err
	}
	trust, err := parsePolicy(found.Role.AssumeRolePolicyDocument)
	if err != nil || !trust.Trusts("vmie.amazonaws.com", map[string]string{"sts:externalid": "vmimport"}) {
		return refused
	}
	policies, err := s.policiesOf(client, name)
	if err != nil {
		return err
	}
	for _, n := range needs {
		if !policies.Allow(n.action, n.resource, map[string]string{"aws:sourceaccount": p.account, "aws:requestedregion": p.region}) {
			return refused
		}
	}
	return nil
}

// policiesOf are a role's policies, those in it and those attached to it. One that cannot be read allows nothing.
func (s *Server) policiesOf(client *iam.Client, role string) (policies permit.Policies, err error) {
	inline, err := client.ListRolePolicies(s.ctx, &iam.ListRolePoliciesInput{RoleName: &role})
	if err != nil {
		return nil, err
	}
	attached, err := client.ListAttachedRolePolicies(s.ctx, &iam.ListAttachedRolePoliciesInput{RoleName: &role})
	if err != nil {
		return nil, err
	}
	var documents []*string
	for _, name := range inline.PolicyNames {
		policy, err := client.GetRolePolicy(s.ctx, &iam.GetRolePolicyInput{RoleName: &role, PolicyName: &name})
		if err != nil {
			return nil, err
		}
		documents = append(documents, policy.PolicyDocument)
	}
	for _, a := range attached.AttachedPolicies {
		policy, err := client.GetPolicy(s.ctx, &iam.GetPolicyInput{PolicyArn: a.PolicyArn})
		if err != nil {
			return nil, err
		}
		version, err := client.GetPolicyVersion(s.ctx, &iam.GetPolicyVersionInput{PolicyArn: a.PolicyArn, VersionId: policy.Policy.DefaultVersionId})
		if err != nil {
			return nil, err
		}
		documents = append(documents, version.PolicyVersion.Document)
	}
	for _, d := range documents {
		if policy, err := parsePolicy(d); err == nil {
			policies = append(policies, policy)
		}
	}
	return policies, nil
}

// parsePolicy reads a document as IAM gives it: with its URL's escapes.
func parsePolicy(document *string) (permit.Policy, error) {
	if document == nil {
		return permit.Policy{}, errors.New("no policy")
	}
	plain, err := url.QueryUnescape(aws.ToString(document))
	if err != nil {
		return permit.Policy{}, err
	}
	return permit.Parse(plain)
}
