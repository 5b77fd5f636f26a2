package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/component/managed"
)

// TestManagedComponents runs the managed components that need nothing but Debian's archive in a VM, and the checks among them
// once more on a machine that has what they are there to find. It needs a package mirror.
func TestManagedComponents(t *testing.T) {
	s := newSite(t)
	prepare := s.write("prepare.yml", `schemaVersion: 1.0
phases:
  - name: build
    steps:
      - name: SmallerPackageLists
        action: CreateFile
        inputs:
          - path: /etc/apt/apt.conf.d/99smaller
            content: |
              Acquire::Languages "none";
      # The base has a Python, for cloud-init. Removing all that depends on it would take a minute; here the package manager
      # just forgets it.
      - name: ForgetPython
        action: ExecuteBash
        inputs:
          commands:
            - |
              set -euo pipefail
              awk -v RS= -v ORS='\n\n' '!/(^|\n)Package: (python3|libpython3)(-[^\n]*)?\n/ && !/\n(Pre-)?Depends:[^\n]*[ ,]python3([ ,:(]|\n|$)/' /var/lib/dpkg/status >/root/status
              mv /root/status /var/lib/dpkg/status
              rm /usr/bin/python3
              ! command -v python3
      - name: NewHostKey
        action: ExecuteBash
        inputs:
          commands:
            - |
              set -euo pipefail
              rm -f /etc/ssh/ssh_host_*
              ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
`)
	// The instance metadata service, as far as public keys are concerned: version 2 only, on the real address.
	metadata := s.write("metadata.yml", `schemaVersion: 1.0
phases:
  - name: build
    steps:
      - name: Program
        action: CreateFile
        inputs:
          - path: /root/metadata.py
            content: |
              import http.server
              class Handler(http.server.BaseHTTPRequestHandler):
                  def answer(self, status, text):
                      self.send_response(status)
                      self.end_headers()
                      self.wfile.write(text.encode())
                  def do_PUT(self):
                      ok = self.path == "/latest/api/token" and self.headers["X-aws-ec2-metadata-token-ttl-seconds"]
                      self.answer(200 if ok else 400, "token")
                  def do_GET(self):
                      if self.headers["X-aws-ec2-metadata-token"] != "token":
                          return self.answer(401, "")
                      keys = {"/latest/meta-data/public-keys/": "0=sample\n1=other",
                              "/latest/meta-data/public-keys/0/openssh-key": open("/root/key0.pub").read(),
                              "/latest/meta-data/public-keys/1/openssh-key": open("/root/key1.pub").read()}
                      self.answer(200 if self.path in keys else 404, keys.get(self.path, ""))
              http.server.HTTPServer(("169.254.169.254", 80), Handler).serve_forever()
      - name: Start
        action: ExecuteBash
        timeoutSeconds: 300
        inputs:
          commands:
            - |
              set -euo pipefail
              mkdir -p -m 0700 /root/.ssh
              for n in 0 1; do
                ssh-keygen -q -t ed25519 -N '' -C "of the test" -f "/root/key$n"
              done
              printf 'command="true" %s %s another comment\n' $(cut -d ' ' -f 1,2 /root/key0.pub) >>/root/.ssh/authorized_keys
              cat /root/key1.pub >>/root/.ssh/authorized_keys
              ip address add 169.254.169.254/32 dev lo
              systemd-run --collect --unit metadata python3 /root/metadata.py
              for _ in $(seq 1 60); do
                if (exec 3<>/dev/tcp/169.254.169.254/80) 2>/dev/null; then
                  exit 0
                fi
                sleep 1
              done
              exit 1
`)
	faults := s.write("faults.yml", "schemaVersion: 1.0\nphases:\n  - name: test\n    steps:\n"+
		fault("validate-ssh-public-key-linux", "sed -i '$d' /root/.ssh/authorized_keys")+
		fault("validate-ssh-host-key-generation-linux", "touch -d '2001-02-03' /etc/ssh/ssh_host_ed25519_key")+
		fault("chrony-time-configuration-test", "sed -i -E '/^(pool|server|sourcedir)/d' /etc/chrony/chrony.conf")+
		fault("apt-repository-test-linux", "rm -rf /etc/apt/sources.list.d/* && echo 'deb [trusted=yes] file:/nowhere ./' >/etc/apt/sources.list")+
		fault("simple-boot-test-linux", "systemd-run --unit broken --wait false || systemctl is-failed broken")+
		`      - name: Repair
        action: ExecuteBash
        inputs:
          commands:
            - systemctl reset-failed broken
`)
	sample, err := filepath.Abs("../../testdata/samples/linux/update-os.yml")
	if err != nil {
		t.Fatal(err)
	}
	documents := []string{
		prepare, "update-linux", sample, "python-3-linux", "hello-world-linux", metadata,
		"validate-ssh-public-key-linux", "validate-ssh-host-key-generation-linux", "apt-repository-test-linux",
		"chrony-time-configuration-test", "ebs-volume-usage-test-linux", faults, "reboot-linux", "reboot-test-linux",
		"simple-boot-test-linux",
	}
	for _, c := range managed.List() {
		if c.Tested != slices.Contains(documents, c.Name) {
			t.Errorf("%s: tested is %v", c.Name, c.Tested)
		}
	}
	detail, console := s.runInVM("-d", strings.Join(documents, ","))
	expect(t, console, "Hello World! Test.", "Setting up python3", "Python 3.11.2 works", "is authorized for root", "is in nobody's ~/.ssh/authorized_keys",
		"is older than the latest boot", "names no time source", "fetched base-files_", "the file on the ext4 volume is as it was written",
		"broken.service loaded failed failed")
	for i, d := range detail.Documents {
		want := component.StatusSuccess
		if documents[i] == faults {
			want = component.StatusSuccessWithIgnoredFailure
		}
		if d.Status != want {
			t.Errorf("%s: %s: %s", documents[i], d.Status, d.FailureMessage)
		}
	}
	if len(detail.Documents) != len(documents) {
		t.Errorf("%d documents were run", len(detail.Documents))
	}
}

// fault is steps that break what a managed component checks, and expect it to say so.
func fault(name, command string) string {
	id := strings.ReplaceAll(name, "-", "")
	return fmt.Sprintf(`      - name: Break-%[1]s
        action: ExecuteBash
        inputs:
          commands:
            - %[3]s
      - name: Run-%[1]s
        action: ExecuteDocument
        onFailure: Ignore
        inputs:
          document: arn:aws:imagebuilder:eu-central-1:aws:component/%[2]s/x.x.x
      - name: Found-%[1]s
        action: Assert
        inputs:
          patternMatches: '"failedStepCount":1,.*"status":"failed"'
          value: "{{ test.Run-%[1]s.outputs.outputs }}"
`, id, name, command)
}

// TestSamples runs the sample documents for Linux in a VM, those of S3 and the Parameter Store with their stand-ins.
func TestSamples(t *testing.T) {
	s := newSite(t)
	payload := []byte("release 1\n")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/files/release.txt" {
			http.NotFound(w, r)
			return
		}
		w.Write(payload)
	}))
	defer server.Close()
	address, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	bucket := filepath.Join(filepath.Dir(s.recipes), "bucket")
	for name, content := range map[string]string{"application/settings.ini": "a = 1\n", "application/certificates/root.pem": "pem\n"} {
		path := filepath.Join(bucket, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const password = "correct-horse-battery-staple"
	parameters := s.write("parameters.yml", `/samples/database/host: db.example.com
/samples/database/password: {type: SecureString, value: `+password+`}
/samples/servers: [one, two]
`)

	type parameter struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	type document struct {
		Path       string      `json:"path"`
		Parameters []parameter `json:"parameters,omitempty"`
	}
	var config struct {
		Documents []document `json:"documents"`
	}
	files, err := filepath.Glob("../../testdata/samples/linux/*")
	if err != nil || len(files) < 15 {
		t.Fatalf("found %d samples, %v", len(files), err)
	}
	// What reboots comes last. The sample of UpdateOS needs package lists, and is run by TestManagedComponents.
	slices.SortStableFunc(files, func(a, b string) int {
		return boolOrder(filepath.Base(a) == "reboots.yml", filepath.Base(b) == "reboots.yml")
	})
	for _, file := range files {
		d := document{}
		if d.Path, err = filepath.Abs(file); err != nil {
			t.Fatal(err)
		}
		switch filepath.Base(file) {
		case "update-os.yml":
			continue
		case "web-download.yml":
			d.Parameters = []parameter{
				{"Source", "http://10.0.2.2:" + address.Port() + "/files"},
				{"Checksum", fmt.Sprintf("%x", sha256.Sum256(payload))},
			}
		}
		config.Documents = append(config.Documents, d)
	}
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	detail, console := s.runInVM("--config", s.write("samples.json", string(text)),
		"--s3-map", "s3://samples-bucket="+bucket, "--ssm-parameters", parameters)
	for i, d := range detail.Documents {
		name := filepath.Base(config.Documents[i].Path)
		want := component.StatusSuccess
		switch name {
		case "conditionals.yml", "failures-and-timeouts.yml", "nested-documents.yml":
			want = component.StatusSuccessWithIgnoredFailure
		}
		if d.Status != want {
			t.Errorf("%s: %s: %s", name, d.Status, d.FailureMessage)
		}
	}
	if len(detail.Documents) != len(config.Documents) {
		t.Errorf("%d documents were run, not %d", len(detail.Documents), len(config.Documents))
	}
	for name, want := range map[string]string{"results/one.txt": "one\n", "results/all/deep/two.txt": "two\n"} {
		if got, err := os.ReadFile(filepath.Join(bucket, name)); err != nil || string(got) != want {
			t.Errorf("%s in the bucket is %q, %v", name, got, err)
		}
	}
	expect(t, console, "db.example.com", "Stdout: ***", "Stdout: [server]", "Stdout: port = 8080")
	logs, err := filepath.Glob(filepath.Join(s.out, "TOE_*", "*"))
	if err != nil || len(logs) < 4 {
		t.Fatalf("the log folder has %q, %v", logs, err)
	}
	for _, file := range logs {
		content, err := os.ReadFile(file)
		if err != nil {
			continue // a folder
		}
		if strings.Contains(string(content), password) {
			t.Errorf("%s has the password in it", filepath.Base(file))
		}
	}
}

// boolOrder sorts what is false before what is true.
func boolOrder(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// runInVM runs documents in a VM of Debian 12 by component run, and gives what its log folder tells.
func (s *site) runInVM(args ...string) (detail component.ExecutionDetail, console string) {
	s.t.Helper()
	stdout, stderr := s.run(0, append([]string{"component", "run", "--vm", "debian-12", "--log-directory", s.out}, args...)...)
	var summary struct {
		Status component.Status `json:"status"`
		LogURL string           `json:"logUrl"`
	}
	if err := json.Unmarshal([]byte(stdout), &summary); err != nil {
		s.t.Fatalf("%v: %s\n%s", err, stdout, stderr)
	}
	data, err := os.ReadFile(filepath.Join(summary.LogURL, "detailedoutput.json"))
	if err == nil {
		err = json.Unmarshal(data, &detail)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	// Failures that are ignored are no failures of the run.
	if summary.Status != component.StatusSuccess || detail.Status != summary.Status {
		s.t.Errorf("the status is %s on the standard output, %s in the log folder", summary.Status, detail.Status)
	}
	text, err := os.ReadFile(filepath.Join(summary.LogURL, "console.log"))
	if err != nil {
		s.t.Fatal(err)
	}
	return detail, string(text)
}
