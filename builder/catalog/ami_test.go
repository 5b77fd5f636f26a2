package catalog

import (
	"errors"
	"reflect"
	"testing"

	"github.com/ingot-image/ingot/builder/recipe/version"
)

func TestSetAMIs(t *testing.T) {
	c := newCatalog(t)
	b := reserve(t, c, "web-server", "1.0.0")
	if err := b.Finish(t.Context(), fullRecord); err != nil {
		t.Fatal(err)
	}
	for _, amis := range [][]AMI{
		{{Region: "eu-west-1", AccountID: "123456789012", Image: "ami-1", Name: "web", State: "available"}},
		{{Region: "us-east-1", AccountID: "123456789012", Image: "ami-2", Name: "web", Description: "d", State: "pending"},
			{Region: "eu-west-1", AccountID: "123456789012", Image: "ami-1", Name: "web", State: "available"}},
	} {
		if err := c.SetAMIs(t.Context(), "Web Server", b.Version, amis); err != nil {
			t.Fatal(err)
		}
		i, err := c.Get(t.Context(), "web-server/1.0.0/1")
		if err != nil || !reflect.DeepEqual(i.AMIs, amis) {
			t.Fatalf("%+v, %v; want %+v", i, err, amis)
		}
	}
	if err := c.SetAMIs(t.Context(), "web-server", version.Version{Major: 7, Build: 1}, nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("AMIs of a build that there is not: %v", err)
	}
}
