package ami_test

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
)

// allowed are the actions of the policy that the documentation gives.
func allowed(t *testing.T) map[string]bool {
	t.Helper()
	text, err := os.ReadFile("../../docs/ami.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)<!-- permissions -->\n```json\n(.*?)\n```").FindSubmatch(text)
	if found == nil {
		t.Fatal("docs/ami.md has no policy")
	}
	var policy struct {
		Statement []struct{ Action any }
	}
	if err := json.Unmarshal(found[1], &policy); err != nil {
		t.Fatal(err)
	}
	actions := map[string]bool{}
	for _, s := range policy.Statement {
		switch a := s.Action.(type) {
		case string:
			actions[a] = true
		case []any:
			for _, action := range a {
				actions[action.(string)] = true
			}
		}
	}
	return actions
}

// permitted makes sure that the documented policy allows all that was asked of AWS.
func (w *world) permitted() {
	w.Helper()
	actions, seen := allowed(w.T), map[string]bool{}
	for _, r := range w.sim.Requests() {
		action := r.Service + ":" + r.Action
		if r.Service == "ebs" || strings.HasPrefix(r.Action, "CreateLaunchTemplate") && !strings.HasSuffix(r.Action, "Version") || action == "kms:CreateKey" {
			continue // the test's own
		}
		if !actions[action] && !seen[action] {
			w.Errorf("docs/ami.md does not allow %s", action)
		}
		seen[action] = true
	}
}
