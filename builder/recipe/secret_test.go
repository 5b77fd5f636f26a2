package recipe_test

import (
	"encoding/json"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/builder/recipe"
)

// TestSecretParameters: a secret value goes to the guest and nowhere else.
func TestSecretParameters(t *testing.T) {
	load := func(value string) *recipe.Plan {
		dir := folder(t, map[string]string{
			"r.yaml": "name: web-server\nsemanticVersion: 1.0.0\nparentImage: debian-12\ncomponents:\n  - componentArn: a.yaml\n    parameters:\n" +
				"      - {name: Port, value: 81}\n      - {name: Greeting, value: [" + value + "], secret: true}\n",
			"a.yaml": document,
		})
		p, err := recipe.Load(t.Context(), filepath.Join(dir, "r.yaml"), environment())
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := load("hunter2")
	data, err := json.Marshal(p)
	if err != nil || strings.Contains(string(data), "hunter2") || !strings.Contains(string(data), `"secretParameters":["Greeting"]`) {
		t.Errorf("the plan's JSON is %s, %v", data, err)
	}
	documents := p.Documents("build")
	if len(documents) != 1 || !reflect.DeepEqual(documents[0].Parameters, map[string]string{"Greeting": "hunter2", "Port": "81"}) ||
		!reflect.DeepEqual(documents[0].SecretParameters, []string{"Greeting"}) {
		t.Errorf("what runs is %+v", documents)
	}
	for _, c := range p.Components {
		if _, plain := c.Parameters["Greeting"]; plain {
			t.Error("the secret is among the plain parameters")
		}
	}
	// Who knows the digest cannot find the value by trying.
	if p.Digest() != load("another").Digest() {
		t.Error("the digest depends on the value of a secret")
	}
}
