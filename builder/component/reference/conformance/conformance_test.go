package conformance

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/ingot-image/ingot/builder/aws"
	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/component/action"
)

const folder = "../../../../testdata/conformance"

// TestConformance runs every case on this machine, each in a folder of its own, and then once more with pauses.
func TestConformance(t *testing.T) {
	cases, err := Load(folder)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.FileServer(http.Dir(folder)))
	t.Cleanup(server.Close)
	modules := action.Modules().For("linux")
	type run struct {
		Case
		pauses bool
	}
	var runs []run
	for _, c := range cases {
		runs = append(runs, run{c, false})
		if c.Problems == nil {
			runs = append(runs, run{c, true})
		}
	}
	for _, c := range runs {
		name := c.Name
		if c.pauses {
			name += "/paused"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.Root && os.Geteuid() != 0 {
				t.Skip("the case can be run by the superuser only")
			}
			folder := t.TempDir()
			dir := filepath.Join(folder, "case")
			if err := c.Prepare(dir); err != nil {
				t.Fatal(err)
			}
			services, err := c.services(t)
			if err != nil {
				t.Fatal(err)
			}
			places := Places{Dir: dir, Work: filepath.Join(folder, "work"), Server: server.URL, Pauses: c.pauses}
			got, err := c.Run(t.Context(), modules, component.System{S3: services.S3, Parameters: services.Parameters}, places)
			if c.Problems != nil {
				expectProblems(t, c.Case, err)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, difference := range Compare(c.Want, got, places) {
				t.Error(difference)
			}
			if text := text(got); t.Failed() && testing.Verbose() {
				t.Log(text)
			}
		})
	}
}

func (c Case) services(t *testing.T) (*aws.Services, error) {
	bucket := filepath.Join(t.TempDir(), "bucket")
	if err := os.CopyFS(bucket, os.DirFS(c.Folder)); err != nil {
		return nil, err
	}
	return aws.Open(t.Context(), aws.Options{
		SSMParameters: filepath.Join(folder, "parameters.yml"),
		S3Map:         []string{"s3://conformance/" + c.Name + "=" + bucket},
	})
}

// expectProblems compares all problems, which may have … in them.
func expectProblems(t *testing.T, c Case, err error) {
	t.Helper()
	var got component.Problems
	if !errors.As(err, &got) {
		t.Fatalf("want problems, got %v", err)
	}
	got = slices.Clone(got.Sorted())
	for i := range got {
		got[i].File = ""
	}
	want, err := Decoded(c.Problems)
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := Decoded(got)
	if err != nil {
		t.Fatal(err)
	}
	for _, difference := range Compare(want, decoded, Places{}) {
		t.Error(difference)
	}
}
