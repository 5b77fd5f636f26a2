package conformance

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestCompare(t *testing.T) {
	const want = `{"id": "<id>", "time": "<time>", "path": "<dir>/a", "message": "exit …: 1", "inputs": [{"path": "<dir>"}], "loop": null, "count": 2}`
	const right = `{"id": "0e5b53ab-5c5c-4f0e-9b3c-6d6f0a9d2f11", "time": "2026-01-02T03:04:05.6+01:00", "path": "/x/a", "message": "exit status: 1",
		"inputs": "[{\"path\":\"/x\"}]", "loop": null, "count": 2}`
	tests := []struct {
		name, old, new string
		difference     string // "" for none
	}{
		{"same", "", "", ""},
		{"id", "0e5b53ab-", "", `id: want "<id>"`},
		{"time", "2026-01-02T", "2026-01-02 ", `time: want "<time>"`},
		{"folder", "/x/a", "/y/a", `path: want "<dir>/a", got "/y/a"`},
		{"wildcard", "status: 1", "status: 12", `message: want "exit …: 1"`},
		{"inputs", `\"/x\"`, `\"/x\",\"more\":1`, `inputs[0].more: was not expected: 1`},
		{"inputs that are no JSON", `[{\"path\":\"/x\"}]`, `{{`, `inputs: want`},
		{"null", `"loop": null`, `"loop": {}`, `loop: want null, got {}`},
		{"number", `"count": 2`, `"count": 3`, `count: want 2, got 3`},
		{"missing", `"loop": null,`, ``, `loop: is missing`},
		{"more", `"loop": null,`, `"loop": null, "x": 1,`, `x: was not expected: 1`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var w, g any
			if err := json.Unmarshal([]byte(want), &w); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal([]byte(strings.ReplaceAll(right, test.old, test.new)), &g); err != nil && test.old != "" {
				t.Fatal(err)
			}
			if test.old == "" {
				if err := json.Unmarshal([]byte(right), &g); err != nil {
					t.Fatal(err)
				}
			}
			got := Compare(w, g, Places{Dir: "/x"})
			if (test.difference == "") != (len(got) == 0) || len(got) > 1 || len(got) == 1 && !strings.HasPrefix(got[0], test.difference) {
				t.Errorf("got %q, want %q", got, test.difference)
			}
		})
	}
}
