package export_test

import (
	"testing"

	"github.com/ingot-image/ingot/builder/recipe"
	"github.com/ingot-image/ingot/export"
	"github.com/ingot-image/ingot/export/internal/s3sim"
)

// The configuration that docs/on-premises.md shows is read, and gives a place for each of its distributions.
func TestDocumentedConfiguration(t *testing.T) {
	const file = "../testdata/distributions/on-premises.yaml"
	s3sim.Start(t).Setenv(t)
	t.Setenv("REPOSITORY_AUTHORIZATION", "Bearer hush")
	configuration, err := recipe.ReadDistribution(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range configuration.Distributions {
		if d.S3 != nil {
			d.S3.Profile = "" // of files that this machine has not
		}
		if _, err := export.NewPlace(t.Context(), d, export.PlaceOptions{}); err != nil {
			t.Error(err)
		}
	}
	if len(configuration.Distributions) != 4 {
		t.Errorf("%d distributions", len(configuration.Distributions))
	}
}
