package vmimport_test

import (
	"strings"
	"testing"

	"github.com/ingot-image/ingot/export/internal/ec2sim"
	"github.com/ingot-image/ingot/export/preflight"
	"github.com/ingot-image/ingot/export/vmimport"
)

// TestExamineKnowsRegions tells of regions that are not enabled, and of those that are none, before anything is imported.
func TestExamineKnowsRegions(t *testing.T) {
	sim := ec2sim.Start(t, ec2sim.Options{})
	cfg := sim.Config(t, region)
	problems, _ := look(t, cfg, vmimport.Needs{Path: preflight.EBSDirect, AMINames: map[string][]string{region: {"web"}, "me-south-1": {"web"}, "eu-west-9": {"web"}}})
	if len(problems) != 2 || !saw(problems, "G01", preflight.Failed, "there is no region eu-west-9 for accounts of the partition aws") || !saw(problems, "G01", preflight.Failed, "the region me-south-1 is not enabled") {
		t.Errorf("%+v", problems)
	}
	for _, f := range problems {
		if f.Level != preflight.Fatal || f.Fix == "" {
			t.Errorf("%+v", f)
		}
	}
	for _, c := range []struct{ code, seen, fix string }{
		{"InvalidClientTokenId", "the region me-south-1 is not enabled for the account: the credentials are valid in us-east-1", "aws account enable-region --region-name me-south-1"},
		{"RegionDisabledException", "RegionDisabledException: ", "activate STS in me-south-1"},
	} {
		sim.Faults.Add(ec2sim.Fault{Service: "sts", Region: "me-south-1", Status: 403, Code: c.code, Message: "The security token included in the request is invalid."})
		problems, _ = look(t, sim.Config(t, "me-south-1"), vmimport.Needs{Path: preflight.EBSDirect})
		if len(problems) != 1 || !strings.Contains(problems[0].Seen, c.seen) || !strings.Contains(problems[0].Fix, c.fix) {
			t.Errorf("%s: %+v", c.code, problems)
		}
	}
	// Where they are valid nowhere it is the credentials.
	sim.Faults.Add(ec2sim.Times(2, ec2sim.Fault{Service: "sts", Status: 403, Code: "InvalidClientTokenId", Message: "The security token included in the request is invalid."}))
	if problems, _ = look(t, cfg, vmimport.Needs{Path: preflight.EBSDirect}); len(problems) != 1 || !strings.Contains(problems[0].Fix, "log in again") {
		t.Errorf("%+v", problems)
	}
}
