package vmimport_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	ebstypes "github.com/aws/aws-sdk-go-v2/service/ebs/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/ingot-image/ingot/export/internal/ec2sim"
	"github.com/ingot-image/ingot/export/preflight"
	exports3 "github.com/ingot-image/ingot/export/s3"
	"github.com/ingot-image/ingot/export/vmimport"
)

const region = ec2sim.Region

// set sets an account up and tells the states of the plan's steps.
func set(t *testing.T, cfg aws.Config, o vmimport.SetupOptions) (states []string) {
	t.Helper()
	p, err := vmimport.PlanSetup(t.Context(), cfg, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range p.Steps {
		states = append(states, fmt.Sprintf("%s %s", s.State, s.What))
	}
	var done []string
	if err := p.Apply(t.Context(), func(s vmimport.Step) { done = append(done, s.Action) }); err != nil {
		t.Fatal(err)
	}
	if len(done) != len(p.Changes()) {
		t.Errorf("done %q of %d changes", done, len(p.Changes()))
	}
	return states
}

// look examines an account and gives the findings of a check that are neither passed nor skipped, and the status of each check.
func look(t *testing.T, cfg aws.Config, n vmimport.Needs) (problems []preflight.Finding, status map[string]preflight.Status) {
	t.Helper()
	findings, err := vmimport.Examine(t.Context(), cfg, n)
	if err != nil {
		t.Fatal(err)
	}
	status = map[string]preflight.Status{}
	for _, f := range findings {
		status[f.ID] = f.Status
		if f.Status == preflight.Failed || f.Status == preflight.Unknown {
			problems = append(problems, f)
		}
	}
	return problems, status
}

func TestSetupMakesWhatExamineMisses(t *testing.T) {
	sim := ec2sim.Start(t, ec2sim.Options{})
	cfg := sim.Config(t, region)
	needs := vmimport.Needs{Bucket: "images", TryWrite: true, SizeGiB: 8, AMINames: map[string][]string{region: {"web"}}}
	problems, _ := look(t, cfg, needs)
	var ids []string
	for _, f := range problems {
		if f.Fix == "" || f.Level != preflight.Fatal {
			t.Errorf("%+v: no fix, or not fatal", f)
		}
		ids = append(ids, f.ID+" "+f.Seen)
	}
	if want := []string{"G02 there is no such bucket", "G03 there is no such role"}; !slices.Equal(ids, want) {
		t.Fatalf("an empty account: %q, want %q", ids, want)
	}
	first := set(t, cfg, vmimport.SetupOptions{Bucket: "images"})
	for _, s := range first {
		if !strings.HasPrefix(s, "create ") {
			t.Errorf("in an empty account: %s", s)
		}
	}
	problems, status := look(t, cfg, needs)
	if len(problems) > 0 {
		t.Errorf("after the set-up: %+v", problems)
	}
	for _, id := range []string{"G01", "G02", "G03", "G04", "G05"} {
		if status[id] != preflight.Passed {
			t.Errorf("%s: %s", id, status[id])
		}
	}
	for _, s := range set(t, cfg, vmimport.SetupOptions{Bucket: "images"}) {
		if !strings.HasPrefix(s, "there ") {
			t.Errorf("set up twice: %s", s)
		}
	}
	// What it made is what it told.
	client := exports3.NewClient(cfg)
	location, err := client.GetBucketLocation(t.Context(), &s3.GetBucketLocationInput{Bucket: aws.String("images")})
	if err != nil || string(location.LocationConstraint) != region {
		t.Errorf("bucket in %v, %v", location, err)
	}
	objects, err := client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("images")})
	if err != nil || len(objects.Contents) != 0 {
		t.Errorf("left in the bucket: %v, %v", objects, err)
	}
}

func TestSetupMendsByAdding(t *testing.T) {
	sim := ec2sim.Start(t, ec2sim.Options{})
	cfg := sim.Config(t, region)
	ctx := t.Context()
	roles, buckets := iam.NewFromConfig(cfg), exports3.NewClient(cfg)
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	other := `{"Version":"2012-10-17","Statement":{"Sid":"Other","Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}}`
	must(roles.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("vmimport"), AssumeRolePolicyDocument: &other}))
	must(roles.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: aws.String("vmimport"), PolicyName: aws.String("mine"),
		PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::another*"},{"Effect":"Allow","Action":["ec2:*"],"Resource":"*"}]}`)}))
	must(buckets.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("images"), CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: region}}))
	must(buckets.PutBucketLifecycleConfiguration(ctx, &s3.PutBucketLifecycleConfigurationInput{Bucket: aws.String("images"), LifecycleConfiguration: &types.BucketLifecycleConfiguration{
		Rules: []types.LifecycleRule{{ID: aws.String("logs"), Status: "Enabled", Filter: &types.LifecycleRuleFilter{Prefix: aws.String("logs/")}, Expiration: &types.LifecycleExpiration{Days: aws.Int32(1)}}}}}))

	problems, _ := look(t, cfg, vmimport.Needs{Bucket: "images", TryWrite: true})
	var seen []string
	for _, f := range problems {
		seen = append(seen, f.ID+" "+f.Seen)
	}
	for i, want := range []string{"G02 no lifecycle rule", "G03 it does not trust vmie.amazonaws.com", "G03 the role is not allowed s3:GetBucketLocation, s3:ListBucket on arn:aws:s3:::images"} {
		if i >= len(seen) || !strings.HasPrefix(seen[i], want) {
			t.Fatalf("before: %q, want %q at %d", seen, want, i)
		}
	}
	states := set(t, cfg, vmimport.SetupOptions{Bucket: "images"})
	if n := slices.Index(states, "mend trust of role vmimport"); n < 0 || !slices.Contains(states, "mend policies of role vmimport") || !slices.Contains(states, "there bucket images") {
		t.Errorf("states %q", states)
	}
	if problems, _ := look(t, cfg, vmimport.Needs{Bucket: "images", TryWrite: true}); len(problems) > 0 {
		t.Errorf("after: %+v", problems)
	}
	role, err := roles.GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String("vmimport")})
	if err != nil || !strings.Contains(*role.Role.AssumeRolePolicyDocument, "Other") {
		t.Errorf("the trust that was there is gone: %v, %v", role, err)
	}
	rules, err := buckets.GetBucketLifecycleConfiguration(ctx, &s3.GetBucketLifecycleConfigurationInput{Bucket: aws.String("images")})
	if err != nil || len(rules.Rules) != 2 {
		t.Errorf("rules %+v, %v", rules, err)
	}
	must(roles.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: aws.String("vmimport"), PolicyName: aws.String("mine")}))
}

func TestExamineNamesWhatIsWrong(t *testing.T) {
	sim := ec2sim.Start(t, ec2sim.Options{})
	cfg := sim.Config(t, region)
	ctx := t.Context()
	set(t, cfg, vmimport.SetupOptions{Bucket: "images"})
	set(t, sim.Config(t, "us-east-1"), vmimport.SetupOptions{Bucket: "elsewhere"})
	key, err := kms.NewFromConfig(cfg).CreateKey(ctx, &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	arn := *key.KeyMetadata.Arn
	for _, c := range []struct {
		name   string
		needs  vmimport.Needs
		before func() error
		want   string // id, level and what is seen
	}{
		{"bucket elsewhere", vmimport.Needs{Bucket: "elsewhere"}, nil, "G02 fatal the bucket is in us-east-1, and the import in " + region},
		{"role of another name", vmimport.Needs{Bucket: "images", RoleName: "other", TryWrite: true}, nil, "G03 fatal there is no such role"},
		{"key", vmimport.Needs{Bucket: "images", KMSKeyID: "alias/none"}, nil, "G02 fatal there is no such KMS key in " + region},
		{"role without the key", vmimport.Needs{Bucket: "images", KMSKeyID: arn, TryWrite: true}, nil, "G03 fatal the role is not allowed kms:CreateGrant, kms:Decrypt"},
		{"key that is off", vmimport.Needs{Bucket: "images", KMSKeyID: arn, TryWrite: true}, func() error {
			_, err := kms.NewFromConfig(cfg).DisableKey(ctx, &kms.DisableKeyInput{KeyId: key.KeyMetadata.KeyId})
			return err
		}, "G02 fatal the KMS key is Disabled"},
		{"versions", vmimport.Needs{Bucket: "images", TryWrite: true}, func() error {
			_, err := exports3.NewClient(cfg).PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{Bucket: aws.String("images"), VersioningConfiguration: &types.VersioningConfiguration{Status: "Enabled"}})
			return err
		}, "G02 warning the bucket keeps versions"},
	} {
		if c.before != nil {
			if err := c.before(); err != nil {
				t.Fatal(err)
			}
		}
		problems, _ := look(t, cfg, c.needs)
		if !slices.ContainsFunc(problems, func(f preflight.Finding) bool {
			return strings.HasPrefix(fmt.Sprintf("%s %s %s", f.ID, f.Level, f.Seen), c.want)
		}) {
			t.Errorf("%s: %+v, want %s", c.name, problems, c.want)
		}
	}
}

func TestExamineWhatItMayNotSee(t *testing.T) {
	sim := ec2sim.Start(t, ec2sim.Options{})
	cfg := sim.Config(t, region)
	set(t, cfg, vmimport.SetupOptions{Bucket: "images"})
	sim.Faults.Add(ec2sim.Times(2, ec2sim.Fault{Service: "iam", Action: "GetRole", Status: 403, Code: "AccessDenied", Message: "not authorized to perform: iam:GetRole"}))
	problems, status := look(t, cfg, vmimport.Needs{Bucket: "images", TryWrite: true})
	if status["G03"] != preflight.Unknown || len(problems) != 1 || !strings.Contains(problems[0].Reason, "cannot check: AccessDenied") || problems[0].Fix == "" {
		t.Errorf("%+v", problems)
	}
	if problems, _ := look(t, cfg, vmimport.Needs{Bucket: "images"}); !slices.ContainsFunc(problems, func(f preflight.Finding) bool {
		return f.ID == "G02" && f.Status == preflight.Unknown && strings.Contains(f.Fix, "--try-write")
	}) {
		t.Errorf("without writing: %+v", problems)
	}
}

func TestExamineWithoutS3(t *testing.T) {
	sim := ec2sim.Start(t, ec2sim.Options{})
	problems, status := look(t, sim.Config(t, region), vmimport.Needs{Path: preflight.EBSDirect})
	if len(problems) > 0 || status["G02"] != preflight.Skipped || status["G03"] != preflight.Skipped || status["G04"] != preflight.Passed {
		t.Errorf("%+v, %v", problems, status)
	}
}

func TestExamineFindsTheNameTaken(t *testing.T) {
	sim := ec2sim.Start(t, ec2sim.Options{})
	cfg := sim.Config(t, region)
	client := ec2.NewFromConfig(cfg)
	snapshot := emptySnapshot(t, cfg)
	if _, err := client.RegisterImage(t.Context(), &ec2.RegisterImageInput{Name: aws.String("web"), RootDeviceName: aws.String("/dev/xvda"), VirtualizationType: aws.String("hvm"),
		BlockDeviceMappings: []ec2types.BlockDeviceMapping{{DeviceName: aws.String("/dev/xvda"), Ebs: &ec2types.EbsBlockDevice{SnapshotId: &snapshot}}}}); err != nil {
		t.Fatal(err)
	}
	problems, _ := look(t, cfg, vmimport.Needs{Path: preflight.EBSDirect, AMINames: map[string][]string{region: {"web"}, "us-east-1": {"web"}}})
	if len(problems) != 1 || problems[0].ID != "G05" || problems[0].Where != region || !strings.Contains(problems[0].Seen, `is called "web" already`) {
		t.Errorf("%+v", problems)
	}
}

// emptySnapshot is one of 1 GiB.
func emptySnapshot(t *testing.T, cfg aws.Config) string {
	t.Helper()
	blocks, client := ebs.NewFromConfig(cfg), ec2.NewFromConfig(cfg)
	started, err := blocks.StartSnapshot(t.Context(), &ebs.StartSnapshotInput{VolumeSize: aws.Int64(1)})
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 512<<10)
	sum := sha256.Sum256(data)
	if _, err := blocks.PutSnapshotBlock(t.Context(), &ebs.PutSnapshotBlockInput{SnapshotId: started.SnapshotId, BlockIndex: aws.Int32(0), BlockData: bytes.NewReader(data),
		DataLength: aws.Int32(512 << 10), Checksum: aws.String(base64.StdEncoding.EncodeToString(sum[:])), ChecksumAlgorithm: ebstypes.ChecksumAlgorithmChecksumAlgorithmSha256}); err != nil {
		t.Fatal(err)
	}
	if _, err := blocks.CompleteSnapshot(t.Context(), &ebs.CompleteSnapshotInput{SnapshotId: started.SnapshotId, ChangedBlocksCount: aws.Int32(1)}); err != nil {
		t.Fatal(err)
	}
	if err := ec2.NewSnapshotCompletedWaiter(client, func(o *ec2.SnapshotCompletedWaiterOptions) { o.MinDelay = 10 * time.Millisecond }).Wait(
		t.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{*started.SnapshotId}}, time.Minute); err != nil {
		t.Fatal(err)
	}
	return *started.SnapshotId
}

func TestSetupRefusesABucketElsewhere(t *testing.T) {
	sim := ec2sim.Start(t, ec2sim.Options{})
	set(t, sim.Config(t, "us-east-1"), vmimport.SetupOptions{Bucket: "images"})
	p, err := vmimport.PlanSetup(t.Context(), sim.Config(t, region), vmimport.SetupOptions{Bucket: "images"})
	if err != nil || len(p.Wrong()) != 1 {
		t.Fatalf("%+v, %v", p, err)
	}
	before := len(sim.Requests())
	if err := p.Apply(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "it is in us-east-1") || len(sim.Requests()) != before {
		t.Errorf("%v after %d requests", err, len(sim.Requests())-before)
	}
}
