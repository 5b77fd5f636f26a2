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
		"AppendFile, inputs: [{path: '/d/{{ Part }}/f'}]",
		"CreateFile, inputs: [{path: '/file/{{ Part }}/f'}]",
		"ReadFile, inputs: [{path: '/d/{{ Part }}/f'}]",
		"SetFileEncoding, inputs: [{path: '/d/{{ Part }}/f'}]",
		"WebDownload, inputs: [{source: '" + s.URL + "/file.txt', destination: '/file/{{ Part }}/f'}]",
		"WebDownload, inputs: [{source: '" + s.URL + "/file.txt', destination: '/there/{{ Part }}'}]",
		"WebDownload, inputs: [{source: '" + s.URL + "/file.txt', destination: '/there/{{ Part }}', overwrite: false}]",
	} {
		t.Run(step, func(t *testing.T) {
			m := newMachine(t)
			m.write("file", "", 0o600)
			m.mkdirAll("there/top/secret")
			result, err := m.Run(context.Background(), component.Request{
				Documents: []component.RunDocument{{
					Name: "d", Parameters: map[string]string{"Part": "top//secret"}, SecretParameters: []string{"Part"},
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
			if told := result.Failure.Message + m.notices; strings.Contains(told, "secret") || !strings.Contains(told, "***") {
				t.Errorf("told %q", told)
			}
		})
	}
}
