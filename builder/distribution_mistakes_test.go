package builder

import (
	"testing"

	"github.com/ingot-image/ingot/builder/recipe"
	"github.com/ingot-image/ingot/builder/recipe/version"
	"github.com/ingot-image/ingot/export/distribution"
)

// TestPlannedImage is of a job that has no place in the catalog yet: mistakes are told before the build begins.
func TestPlannedImage(t *testing.T) {
	v, err := version.Parse("1.2.0/4")
	if err != nil {
		t.Fatal(err)
	}
	j := &job{plan: &Plan{Plan: &recipe.Plan{Name: "web", Version: v}}}
	j.plan.Distribution.Configuration = &distribution.Configuration{}
	if i := j.planned(); i.Name != "web" || i.Version != "1.2.0/4" || i.BootMode != "uefi" || i.Architecture != "x86_64" {
		t.Errorf("%+v", i)
	}
}
