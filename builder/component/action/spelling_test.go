package action_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/builder/component"
)

// A secret that is a part of a path is told in no message, though cleaning the path changes it.
func TestSecretInPath(t *testing.T) {
	s := newFileServer(t, (*httptest.Server).Start)
	for _, step := range []string{
		"AppendFile, inputs: [{path: '/d/{{ Part }}/g'}]",
		"CreateFile, inputs: [{path: '/d/{{ Part }}/f/g'}]",
		"ReadFile, inputs: [{path: '/d/{{ Part }}/g'}]",
		"SetFileEncoding, inputs: [{path: '/d/{{ Part }}/g'}]",
		"WebDownload, inputs: [{source: '" + s.URL + "/file.txt', destination: '/d/{{ Part }}/f/g'}]",
		"WebDownload, inputs: [{source: '" + s.URL + "/file.txt', destination: '/d/{{ Part }}'}]",
		"WebDownload, inputs: [{source: '" + s.URL + "/file.txt', destination: '/d/{{ Part }}/f', overwrite: false}]",
	} {
		t.Run(step, func(t *testing.T) {
			m := newMachine(t)
			m.write("hidden/f", "", 0o600)
			result, err := m.Run(context.Background(), component.Request{
				Documents: []component.RunDocument{{
					Name: "d", Parameters: map[string]string{"Part": "away/../../hidden"}, SecretParameters: []string{"Part"},
					Content: []byte("schemaVersion: 1.0\nparameters: [{Part: {type: string}}]\nphases: [{name: build, steps: [{name: A, action: " + step + "}]}]\n"),
				}},
				WorkingDirectory: "/work",
			})
			if err != nil {
				t.Fatal(err)
			}
			if result.Failure == nil {
				t.Fatal("it succeeded")
			}
			if told := result.Failure.Message + m.notices; strings.Contains(told, "hidden") || !strings.Contains(told, "***") {
				t.Errorf("told %q", told)
			}
		})
	}
}
