package grants_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ingot-image/ingot/builder/agent"
	"github.com/ingot-image/ingot/builder/agent/grants"
	"github.com/ingot-image/ingot/builder/aws"
	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/component/action"
)

// system is a guest's operating system of which a run needs nothing.
type system struct{}

func (system) Info() agent.Info                           { return agent.Info{} }
func (system) Ready(context.Context) (agent.Ready, error) { return agent.Ready{}, nil }
func (system) BootFiles() (agent.BootFiles, error)        { return agent.BootFiles{}, nil }
func (system) Power(bool) error                           { return nil }
func (system) Environment() []string                      { return nil }
func (system) open(c net.Conn) func() (io.ReadWriteCloser, error) {
	once := make(chan net.Conn, 1)
	once <- c
	return func() (io.ReadWriteCloser, error) {
		select {
		case c := <-once:
			return c, nil
		default:
			return nil, io.EOF
		}
	}
}

const runDocument = `schemaVersion: 1.0
phases:
  - name: build
    steps:
      - name: Download
        action: S3Download
        inputs:
          - {source: 's3://artifacts/app/{{ aws:ssm:/app/version }}.txt', destination: DIR/one.txt}
          - {source: 's3://artifacts/all/*', destination: DIR/all}
      - name: Use
        action: ExecuteBash
        inputs:
          commands:
            - 'cat DIR/one.txt DIR/all/a DIR/all/sub/b'
            - 'echo "the password is {{ aws:ssm:/app/password }}"'
      - {name: Name, action: ExecuteBash, inputs: {commands: [echo report-7]}}
      - name: Upload
        action: S3Upload
        inputs:
          - {source: DIR/one.txt, destination: 's3://artifacts/reports/{{ build.Name.outputs.stdout }}.txt'}
      - name: Nested
        action: ExecuteDocument
        inputs: {document: 's3://artifacts/documents/nested.yml', parameters: [{name: Which, value: inner}]}
      - name: Forbidden
        action: ExecuteBash
        onFailure: Ignore
        inputs: {commands: ['echo "{{ aws:ssm:/app/missing }}"']}
`

const nestedDocument = `schemaVersion: 1.0
parameters: [{Which: {type: string}}]
phases:
  - name: build
    steps:
      - name: Fetch
        action: S3Download
        inputs: [{source: 's3://artifacts/{{ Which }}/x', destination: DIR/inner}]
      - name: Print
        action: ExecuteBash
        inputs: {commands: ['cat DIR/inner']}
`

// TestRun runs a document that uses S3, stored parameters and a nested document in an agent at the other end of a pipe, with the
// stand-ins of this machine.
func TestRun(t *testing.T) {
	guestDir, bucket := t.TempDir(), t.TempDir()
	place := func(text string) string { return strings.ReplaceAll(text, "DIR", guestDir) }
	for name, text := range map[string]string{
		"app/1.10.txt": "one\n", "all/a": "a\n", "all/sub/b": "b\n", "documents/nested.yml": place(nestedDocument), "inner/x": "from inside\n", "private": "secret",
	} {
		path := filepath.Join(bucket, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(guestDir, "all"), 0o755); err != nil {
		t.Fatal(err)
	}
	parameters := filepath.Join(t.TempDir(), "parameters.yaml")
	if err := os.WriteFile(parameters, []byte("/app/version: 1.10\n/app/password: {type: SecureString, value: hunter2hunter2}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	services, err := aws.Open(t.Context(), aws.Options{SSMParameters: parameters, S3Map: []string{"s3://artifacts=" + bucket}})
	if err != nil {
		t.Fatal(err)
	}

	host, guest := net.Pipe()
	server := &agent.Server{Modules: action.Modules(), Open: system{}.open(guest), System: system{}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	go server.Serve(ctx)
	client, err := agent.Connect(ctx, host)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	request := component.Request{
		Documents:        []component.RunDocument{{Name: "test", Content: []byte(place(runDocument))}},
		WorkingDirectory: guestDir,
	}
	var events, printed strings.Builder
	result, err := client.Run(ctx, request, grants.Limit(agent.Services(*services), request, action.Modules()), func(e component.Event) {
		json.NewEncoder(&events).Encode(e)
		printed.WriteString(e.Text)
	})
	if err != nil {
		t.Fatal(err)
	}
	if result.Status != component.StatusSuccess || result.IgnoredFailedSteps != 1 {
		t.Fatalf("the run ended %s: %+v\n%s", result.Status, result.Failure, events.String())
	}
	for _, want := range []string{"one\na\nb\n", "the password is ***", "from inside"} {
		if !strings.Contains(printed.String(), want) {
			t.Errorf("the documents printed %q, without %q", printed.String(), want)
		}
	}
	if all := events.String(); strings.Contains(all, "hunter2") {
		t.Errorf("the secret is in the events: %s", all)
	}
	if data, _ := json.Marshal(result); strings.Contains(string(data), "hunter2") {
		t.Errorf("the secret is in the result: %s", data)
	}
	found, err := filepath.Glob(filepath.Join(bucket, "reports", "*"))
	if err != nil || len(found) != 1 {
		t.Fatalf("uploaded were %v, %v", found, err)
	}
	if data, err := os.ReadFile(found[0]); err != nil || string(data) != "one\n" {
		t.Errorf("the upload holds %q, %v", data, err)
	}
}
