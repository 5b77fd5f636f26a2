package vmimport_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/ingot-image/ingot/export/internal/ec2sim"
	"github.com/ingot-image/ingot/export/preflight"
	"github.com/ingot-image/ingot/export/vmimport"
)

// TestSetupGoesOn breaks the set-up off before each of its steps. Run again, it does what is missing, and no more.
func TestSetupGoesOn(t *testing.T) {
	sim := ec2sim.Start(t, ec2sim.Options{})
	cfg := sim.Config(t, region)
	first, err := vmimport.PlanSetup(t.Context(), cfg, vmimport.SetupOptions{Bucket: "images"})
	if err != nil {
		t.Fatal(err)
	}
	var actions []string
	for _, s := range first.Changes() {
		actions = append(actions, s.Action)
	}
	for i, action := range actions {
		_, name, _ := strings.Cut(action, ":")
		service := strings.Split(action, ":")[0]
		name = strings.NewReplacer("PutBucketPublicAccessBlock", "PutPublicAccessBlock", "PutEncryptionConfiguration", "PutBucketEncryption",
			"PutLifecycleConfiguration", "PutBucketLifecycleConfiguration").Replace(name)
		sim.Faults.Add(ec2sim.Fault{Service: service, Action: name, Status: 403, Code: "AccessDenied", Message: "not now"})
		p, err := vmimport.PlanSetup(t.Context(), cfg, vmimport.SetupOptions{Bucket: "images"})
		if err != nil {
			t.Fatal(err)
		}
		var done []string
		err = p.Apply(t.Context(), func(s vmimport.Step) { done = append(done, s.Action) })
		if err == nil || !strings.Contains(err.Error(), action) || !strings.Contains(err.Error(), "run ingot aws setup again to go on") {
			t.Errorf("%d: %s: %v", i, action, err)
		}
		if want := actions[max(i-1, 0):i]; !slices.Equal(done, want) {
			t.Errorf("before %s: done %q, want %q", action, done, want)
		}
	}
	for _, s := range set(t, cfg, vmimport.SetupOptions{Bucket: "images"}) {
		if n := len(actions) - 1; !strings.HasPrefix(s, "there ") && !strings.Contains(s, "policies of role") {
			t.Errorf("after %q: %s", actions[n], s)
		}
	}
	if problems, _ := look(t, cfg, vmimport.Needs{Bucket: "images", TryWrite: true}); len(problems) > 0 {
		t.Errorf("%+v", problems)
	}
}

// TestSetupWaitsForWhatItMade does not fail where AWS does not know yet what it has just made.
func TestSetupWaitsForWhatItMade(t *testing.T) {
	sim := ec2sim.Start(t, ec2sim.Options{})
	sim.Faults.Add(ec2sim.Times(2, ec2sim.Fault{Service: "iam", Action: "PutRolePolicy", Status: 404, Code: "NoSuchEntity", Message: "The role with name vmimport cannot be found."}))
	for _, s := range set(t, sim.Config(t, region), vmimport.SetupOptions{Bucket: "images"}) {
		if !strings.HasPrefix(s, "create ") {
			t.Error(s)
		}
	}
	if n := sim.Count("iam", "PutRolePolicy"); n != 3 {
		t.Errorf("asked %d times", n)
	}
}

// TestSetupLeavesWhatItCannotMend tells what stands in the way, and changes nothing, however often it is run.
func TestSetupLeavesWhatItCannotMend(t *testing.T) {
	trust := vmimport.TrustPolicy().String()
	const denyTrust = `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"sts:AssumeRole"}]}`
	for name, c := range map[string]struct{ trust, policy, boundary, want string }{
		"denied":   {trust, `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"s3:*","Resource":"*"}]}`, "", "a policy of the role denies it s3:GetBucketLocation, s3:ListBucket, s3:GetObject"},
		"boundary": {trust, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ec2:*","Resource":"*"}]}`, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`, "its permissions boundary does not hold ec2:ModifySnapshotAttribute"},
		"trust":    {denyTrust, vmimport.RolePolicy("aws", "images", nil).String(), "", "its trust denies vmie.amazonaws.com"},
	} {
		t.Run(name, func(t *testing.T) {
			sim := ec2sim.Start(t, ec2sim.Options{})
			cfg := sim.Config(t, region)
			ctx, ok, client := t.Context(), must(t), iam.NewFromConfig(cfg)
			in := &iam.CreateRoleInput{RoleName: aws.String("vmimport"), AssumeRolePolicyDocument: &c.trust}
			if c.boundary != "" {
				boundary, err := client.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String("limit"), PolicyDocument: &c.boundary})
				if err != nil {
					t.Fatal(err)
				}
				in.PermissionsBoundary = boundary.Policy.Arn
			}
			ok(client.CreateRole(ctx, in))
			ok(client.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: in.RoleName, PolicyName: aws.String("p"), PolicyDocument: &c.policy}))
			p, err := vmimport.PlanSetup(ctx, cfg, vmimport.SetupOptions{Bucket: "images"})
			if err != nil {
				t.Fatal(err)
			}
			before := len(sim.Requests())
			if wrong := p.Wrong(); len(wrong) != 1 || !strings.Contains(wrong[0].Detail, c.want) {
				t.Errorf("%+v", wrong)
			}
			if err := p.Apply(ctx, nil); err == nil || len(sim.Requests()) != before {
				t.Errorf("applied: %v", err)
			}
		})
	}
}

// TestSetupLeavesBucketsOfOthers takes no bucket of another account, though that lets this one see it.
func TestSetupLeavesBucketsOfOthers(t *testing.T) {
	sim := ec2sim.Start(t, ec2sim.Options{})
	set(t, sim.AccountConfig(t, region, "210987654321"), vmimport.SetupOptions{Bucket: "theirs"})
	cfg := sim.Config(t, region)
	p, err := vmimport.PlanSetup(t.Context(), cfg, vmimport.SetupOptions{Bucket: "theirs"})
	if err != nil || len(p.Wrong()) != 1 || !strings.Contains(p.Wrong()[0].Detail, "another account's") {
		t.Errorf("%+v, %v", p, err)
	}
	problems, _ := look(t, cfg, vmimport.Needs{Bucket: "theirs", TryWrite: true})
	if !saw(problems, "G02", preflight.Failed, "the bucket is another account's") {
		t.Errorf("%+v", problems)
	}
}

// TestSetupTakesARNsOfKeys refuses what a policy cannot name.
func TestSetupTakesARNsOfKeys(t *testing.T) {
	sim := ec2sim.Start(t, ec2sim.Options{})
	for _, key := range []string{"alias/images", "1234abcd-12ab-34cd-56ef-1234567890ab", "arn:aws:kms:eu-west-1:123456789012:alias/images", "arn:aws:kms:us-east-1:123456789012:key/k"} {
		p, err := vmimport.PlanSetup(t.Context(), sim.Config(t, region), vmimport.SetupOptions{Bucket: "images", KMSKeyIDs: []string{key}})
		if err != nil || len(p.Wrong()) != 1 || !strings.Contains(p.Wrong()[0].Detail, "arn:aws:kms:eu-west-1:ACCOUNT:key/ID") {
			t.Errorf("%s: %+v, %v", key, p, err)
		}
	}
}
