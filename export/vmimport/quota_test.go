package vmimport_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"

	"github.com/ingot-image/ingot/export/internal/ec2sim"
	"github.com/ingot-image/ingot/export/preflight"
	"github.com/ingot-image/ingot/export/vmimport"
)

// TestExamineAsksForQuotas counts what there is, and compares it with the account's own value, with AWS's default, or with the one that is known.
func TestExamineAsksForQuotas(t *testing.T) {
	const code = "L-94D7AB7D"
	sim := ec2sim.Start(t, ec2sim.Options{Step: time.Minute})
	cfg := sim.Config(t, region)
	needs := vmimport.Needs{Path: preflight.EBSDirect}
	told := func() preflight.Finding {
		t.Helper()
		findings, err := vmimport.Examine(t.Context(), cfg, needs)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range findings {
			if f.ID == "G04" {
				return f
			}
		}
		t.Fatal("no G04")
		return preflight.Finding{}
	}
	if f := told(); f.Status != preflight.Passed || !strings.HasPrefix(f.Reason, "0 of 100 pending snapshots") {
		t.Errorf("by default: %+v", f)
	}
	if _, err := ebs.NewFromConfig(cfg).StartSnapshot(t.Context(), &ebs.StartSnapshotInput{VolumeSize: aws.Int64(1)}); err != nil {
		t.Fatal(err)
	}
	sim.SetQuota(region, ec2sim.Account, code, 2)
	if f := told(); f.Status != preflight.Passed || !strings.HasPrefix(f.Reason, "1 of 2 pending snapshots") {
		t.Errorf("the account's own: %+v", f)
	}
	sim.SetQuota(region, ec2sim.Account, code, 1)
	if f := told(); f.Status != preflight.Failed || f.Level != preflight.Warning || !strings.Contains(f.Seen, "1 of 1 pending snapshots") || !strings.Contains(f.Fix, "--quota-code "+code) {
		t.Errorf("no room: %+v", f)
	}
	sim.Faults.Add(ec2sim.Fault{Service: "servicequotas", Status: http.StatusBadRequest, Code: "AccessDeniedException"})
	if f := told(); f.Status != preflight.Passed || !strings.Contains(f.Reason, "1 of 100 pending") || !strings.Contains(f.Reason, "GetServiceQuota answers AccessDeniedException") {
		t.Errorf("may not ask: %+v", f)
	}
	needs.PublicIn = []string{"us-east-1"}
	sim.SetQuota("us-east-1", ec2sim.Account, "L-0E3CBAB9", 0)
	if f := told(); f.Status != preflight.Failed || f.Where != "quota L-94D7AB7D of ebs in "+region {
		t.Errorf("%+v", f)
	}
	sim.SetQuota(region, ec2sim.Account, code, 5)
	if f := told(); f.Status != preflight.Failed || f.Where != "quota L-0E3CBAB9 of ec2 in us-east-1" {
		t.Errorf("public: %+v", f)
	}
}
