package main

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/ingot-image/ingot/builder/component/action"
)

// TestActions uses every action in a real guest: what each says it did is looked at by a later step with the system's own
// tools. UpdateOS needs a package mirror.
func TestActions(t *testing.T) {
	s := newSite(t)
	payload := []byte("served by the host\n")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(payload) }))
	defer server.Close()
	address, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	phases := fmt.Sprintf(`  - name: build
    steps:
      - name: Update
        action: UpdateOS
        maxAttempts: 2
      - name: Folder
        action: CreateFolder
        inputs:
          - path: /opt/app/conf
            permissions: 0750
      - name: File
        action: CreateFile
        inputs:
          - path: /opt/app/conf/app.conf
            content: |
              first
            owner: root
            group: adm
            permissions: 0640
      - name: Append
        action: AppendFile
        inputs:
          - path: /opt/app/conf/app.conf
            content: |
              second
      - name: Copy
        action: CopyFile
        inputs:
          - source: "{{ build.File.inputs[0].path }}"
            destination: /opt/app/copies/
          - source: /opt/app/conf/*.conf
            destination: /opt/app/more/
      - name: Permissions
        action: SetFilePermissions
        inputs:
          - path: /opt/app/copies/app.conf
            permissions: 0600
      - name: Owner
        action: SetFileOwner
        inputs:
          - path: /opt/app/copies/app.conf
            owner: daemon
            group: adm
      - name: Download
        action: WebDownload
        inputs:
          - source: http://10.0.2.2:%s/payload
            destination: /opt/app/downloads/payload
            checksum: %x
            algorithm: SHA256
      - name: Binary
        action: ExecuteBinary
        inputs:
          path: /usr/bin/stat
          arguments: ["-c", "%%U:%%G:%%a", /opt/app/copies/app.conf]
      - name: Delete
        action: DeleteFile
        inputs:
          - path: /opt/app/more/app.conf
      - name: Restart
        action: Reboot
  - name: validate
    steps:
      - name: Look
        action: ExecuteBash
        inputs:
          commands:
            - set -eu
            - test "{{ build.Binary.outputs.stdout }}" = daemon:adm:600
            - test "$(stat -c %%U:%%G:%%a /opt/app/conf/app.conf)" = root:adm:640
            - test "$(stat -c %%a /opt/app/conf)" = 750
            - test "$(cat /opt/app/copies/app.conf)" = "$(printf 'first\nsecond')"
            - test "$(cat {{ build.Download.outputs.destination }})" = "served by the host"
            - test -z "$(apt-get -s -qq upgrade)"
      - name: Assert
        action: Assert
        inputs:
          and:
            - not:
                fileExists: /opt/app/more/app.conf
            - folderExists: /opt/app/more
            - binaryExists: growpart
            - fileSHA256Equals: %x
              path: /opt/app/downloads/payload
`, address.Port(), sha256.Sum256(payload), sha256.Sum256(payload))
	for name := range action.Modules() {
		expect(t, phases, "action: "+name+"\n")
	}
	s.build(s.recipe("actions", phases), "--test=none")
	s.expectClean()
}
