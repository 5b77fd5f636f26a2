package vmimport_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/ingot-image/ingot/export/internal/ec2sim"
	"github.com/ingot-image/ingot/export/preflight"
	"github.com/ingot-image/ingot/export/vmimport"
)

// must ends the test at an error.
func must(t *testing.T) func(any, error) {
	return func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
}

// saw tells whether a finding of a check says something, in what was seen or in its reason.
func saw(problems []preflight.Finding, id string, status preflight.Status, text string) bool {
	return slices.ContainsFunc(problems, func(f preflight.Finding) bool {
		return f.ID == id && f.Status == status && strings.Contains(f.Seen+f.Reason, text)
	})
}

// TestExamineSimulatesTheCaller asks IAM what the user may do, conditions included.
func TestExamineSimulatesTheCaller(t *testing.T) {
	sim := ec2sim.Start(t, ec2sim.Options{})
	cfg := sim.Config(t, region)
	ctx, ok := t.Context(), must(t)
	set(t, cfg, vmimport.SetupOptions{Bucket: "images"})
	identity, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	user := (*identity.Arn)[strings.LastIndexByte(*identity.Arn, '/')+1:]
	client := iam.NewFromConfig(cfg)
	ok(client.CreateUser(ctx, &iam.CreateUserInput{UserName: &user}))
	const s3 = `{"Effect":"Allow","Action":["s3:PutObject","s3:GetObject","s3:DeleteObject"],"Resource":"arn:aws:s3:::images/*"%s}`
	const pass = `{"Effect":"Allow","Action":"iam:PassRole","Resource":"*","Condition":{"StringEquals":{"iam:PassedToService":"vmie.amazonaws.com"}}}`
	for _, c := range []struct{ name, statements, id, want string }{
		{"all", fmt.Sprintf(s3, "") + "," + pass, "", ""},
		{"no role to pass", fmt.Sprintf(s3, ""), "G03", "do not allow iam:PassRole on arn:aws:iam::123456789012:role/vmimport"},
		{"another service", fmt.Sprintf(s3, "") + "," + strings.Replace(pass, "vmie", "ec2", 1), "G03", "do not allow iam:PassRole"},
		{"denied", fmt.Sprintf(s3, "") + "," + pass + `,{"Effect":"Deny","Action":"s3:DeleteObject","Resource":"*"}`, "G02", "s3:DeleteObject on arn:aws:s3:::images/ingot/disk (a policy denies it)"},
		{"read only", pass + `,{"Effect":"Allow","Action":"s3:Get*","Resource":"*"}`, "G02", "do not allow s3:PutObject, s3:DeleteObject on arn:aws:s3:::images/ingot/disk"},
		{"from an address", fmt.Sprintf(s3, `,"Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`) + "," + pass, "G02", "conditions decide on s3:PutObject, s3:GetObject, s3:DeleteObject on arn:aws:s3:::images/ingot/disk, by aws:SourceIp"},
	} {
		document := `{"Version":"2012-10-17","Statement":[` + c.statements + `]}`
		ok(client.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: &user, PolicyName: aws.String("p"), PolicyDocument: &document}))
		problems, _ := look(t, cfg, vmimport.Needs{Bucket: "images"})
		status := preflight.Failed
		if strings.Contains(c.want, "conditions") {
			status = preflight.Unknown
		}
		if c.id == "" && len(problems) > 0 || c.id != "" && (len(problems) != 1 || !saw(problems, c.id, status, c.want)) {
			t.Errorf("%s: %+v, want %s", c.name, problems, c.want)
		}
	}
}

// TestExamineKeepsToBoundaries tells what a permissions boundary takes from a role, by the simulation and without it.
func TestExamineKeepsToBoundaries(t *testing.T) {
	sim := ec2sim.Start(t, ec2sim.Options{})
	cfg := sim.Config(t, region)
	ctx, ok, client := t.Context(), must(t), iam.NewFromConfig(cfg)
	set(t, cfg, vmimport.SetupOptions{Bucket: "images"})
	boundary, err := client.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String("limit"),
		PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["ec2:*","s3:ListBucket","s3:GetBucketLocation"],"Resource":"*"}]}`)})
	if err != nil {
		t.Fatal(err)
	}
	policy, trust := vmimport.RolePolicy("aws", "images", nil).String(), vmimport.TrustPolicy().String()
	ok(client.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("limited"), AssumeRolePolicyDocument: &trust, PermissionsBoundary: boundary.Policy.Arn}))
	ok(client.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: aws.String("limited"), PolicyName: aws.String("p"), PolicyDocument: &policy}))
	needs := vmimport.Needs{Bucket: "images", RoleName: "limited", TryWrite: true}
	const want = "the role is not allowed s3:GetObject on arn:aws:s3:::images/ingot/disk"
	for _, way := range []string{"simulated", "by documents"} {
		if problems, _ := look(t, cfg, needs); len(problems) != 1 || !saw(problems, "G03", preflight.Failed, want) {
			t.Errorf("%s: %+v", way, problems)
		}
		sim.Faults.Add(ec2sim.Times(-1, ec2sim.Fault{Service: "iam", Action: "SimulatePrincipalPolicy", Status: 403, Code: "AccessDenied"}))
	}
}

// TestExamineReadsKeyPolicies tells who may use a key, and what is wrong with one.
func TestExamineReadsKeyPolicies(t *testing.T) {
	sim := ec2sim.Start(t, ec2sim.Options{})
	cfg := sim.Config(t, region)
	ctx, ok, keys := t.Context(), must(t), kms.NewFromConfig(cfg)
	set(t, cfg, vmimport.SetupOptions{Bucket: "images"})
	made, err := keys.CreateKey(ctx, &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	id, arn := made.KeyMetadata.KeyId, *made.KeyMetadata.Arn
	needs := vmimport.Needs{Bucket: "images", KMSKeyID: arn, TryWrite: true}
	policy := func(statement string) {
		ok(keys.PutKeyPolicy(ctx, &kms.PutKeyPolicyInput{KeyId: id, PolicyName: aws.String("default"), Policy: aws.String(`{"Version":"2012-10-17","Statement":[` + statement + `]}`)}))
	}
	const role = "arn:aws:iam::123456789012:role/vmimport"
	policy(`{"Effect":"Allow","Principal":{"AWS":"` + role + `"},"Action":"kms:*","Resource":"*"}`)
	if problems, _ := look(t, cfg, needs); len(problems) > 0 {
		t.Errorf("the key allows the role: %+v", problems)
	}
	set(t, cfg, vmimport.SetupOptions{Bucket: "images", KMSKeyIDs: []string{arn}})
	policy(`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:user/admin"},"Action":"kms:*","Resource":"*"}`)
	if problems, _ := look(t, cfg, needs); len(problems) != 1 || !saw(problems, "G03", preflight.Failed, "kms:ReEncryptTo: the key's policy does not allow it") {
		t.Errorf("the key allows another: %+v", problems)
	}
	sim.Faults.Add(ec2sim.Fault{Service: "kms", Action: "GetKeyPolicy", Status: 400, Code: "AccessDeniedException", Message: "no"})
	if problems, _ := look(t, cfg, needs); len(problems) != 1 || !saw(problems, "G03", preflight.Unknown, "kms:GetKeyPolicy: AccessDeniedException") {
		t.Errorf("a policy that may not be read: %+v", problems)
	}
	policy(`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":"kms:*","Resource":"*"}`)
	needs.CopyKeys = []vmimport.CopyKey{{Region: "us-east-1", KMSKeyID: arn}}
	if problems, _ := look(t, cfg, needs); len(problems) != 1 || !saw(problems, "G02", preflight.Failed, "the KMS key is in eu-west-1, and what it encrypts in us-east-1") {
		t.Errorf("a key of another region: %+v", problems)
	}
	needs.CopyKeys = nil
	ok(keys.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: id}))
	if problems, _ := look(t, cfg, needs); len(problems) != 1 || !saw(problems, "G02", preflight.Failed, "the KMS key is PendingDeletion, it gets deleted on 2") || !strings.Contains(problems[0].Fix, "cancel-key-deletion") {
		t.Errorf("a key that gets deleted: %+v", problems)
	}
	needs.KMSKeyID = "arn:aws:kms:eu-west-1:210987654321:key/" + *id
	sim.Faults.Add(ec2sim.Fault{Service: "kms", Action: "DescribeKey", Status: 400, Code: "AccessDeniedException", Message: "no"})
	if problems, _ := look(t, cfg, needs); len(problems) != 1 || problems[0].Status != preflight.Unknown || !strings.Contains(problems[0].Fix, "the key is account 210987654321's") {
		t.Errorf("another account's key: %+v", problems)
	}
}

// TestExamineKnowsTheRoleOfASession simulates the role that a session is of, whose path the session does not tell.
func TestExamineKnowsTheRoleOfASession(t *testing.T) {
	sim := ec2sim.Start(t, ec2sim.Options{})
	cfg := sim.Config(t, region)
	ctx, ok, client := t.Context(), must(t), iam.NewFromConfig(cfg)
	set(t, cfg, vmimport.SetupOptions{Bucket: "images"})
	role, err := client.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("ci"), Path: aws.String("/teams/"),
		AssumeRolePolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}]}`)})
	if err != nil {
		t.Fatal(err)
	}
	ok(client.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: aws.String("ci"), PolicyName: aws.String("p"),
		PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`)}))
	session := cfg.Copy()
	session.Credentials = stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), *role.Role.Arn)
	problems, _ := look(t, session, vmimport.Needs{Bucket: "images"})
	if len(problems) != 1 || !saw(problems, "G03", preflight.Failed, "do not allow iam:PassRole") || problems[0].Where != *role.Role.Arn {
		t.Errorf("%+v", problems)
	}
}

// TestExamineRefusesSharingWithTheAccountsOwnKey tells that nobody else can use what AWS's own key encrypts.
func TestExamineRefusesSharingWithTheAccountsOwnKey(t *testing.T) {
	sim := ec2sim.Start(t, ec2sim.Options{})
	needs := vmimport.Needs{Path: preflight.EBSDirect, CopyKeys: []vmimport.CopyKey{{Region: "us-east-1", KMSKeyID: "alias/aws/ebs", Shared: true}}}
	if problems, _ := look(t, sim.Config(t, region), needs); len(problems) != 1 || !saw(problems, "G02", preflight.Failed, "the AMI in us-east-1 is shared, and the KMS key is AWS's own") {
		t.Errorf("%+v", problems)
	}
	needs.CopyKeys[0].Shared = false
	if problems, _ := look(t, sim.Config(t, region), needs); len(problems) > 0 {
		t.Errorf("%+v", problems)
	}
}
