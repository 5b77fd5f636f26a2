package action_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/builder/component"
)

// fileServer answers requests by their path, and counts them.
type fileServer struct {
	*httptest.Server
	requests map[string]int
}

func newFileServer(t *testing.T, start func(*httptest.Server)) *fileServer {
	s := &fileServer{requests: map[string]int{}}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests[r.URL.Path]++
		n := s.requests[r.URL.Path]
		switch r.URL.Path {
		case "/file.txt":
			fmt.Fprint(w, "content")
		case "/moved":
			http.Redirect(w, r, "/file.txt", http.StatusFound)
		case "/flaky":
			if n < 5 {
				http.Error(w, "not now", http.StatusServiceUnavailable)
				return
			}
			fmt.Fprint(w, "at last")
		case "/broken":
			http.Error(w, "never", http.StatusInternalServerError)
		case "/short": // the connection breaks in the middle
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, "half")
		case "/nocontent":
			w.WriteHeader(http.StatusNoContent)
		default:
			http.NotFound(w, r)
		}
	}))
	start(s.Server)
	t.Cleanup(s.Close)
	return s
}

func TestWebDownload(t *testing.T) {
	s := newFileServer(t, (*httptest.Server).Start)
	sum := sha256.Sum256([]byte("content"))
	right, wrong := hex.EncodeToString(sum[:]), strings.Repeat("00", 32)
	tests := []struct {
		name, inputs, path, content, failure, notice string
		requests                                     string // PATH N
	}{
		{"file", `source: URL/file.txt, destination: /new/dir/f`, "new/dir/f", "content", "", "", "/file.txt 1"},
		{"folder", `source: URL/file.txt, destination: /new/dir/`, "new/dir/file.txt", "content", "", "", "/file.txt 1"},
		{"redirect", `source: URL/moved, destination: /d/`, "d/moved", "content", "", "", "/file.txt 1"},
		{"checksum", `source: URL/file.txt, destination: /f, checksum: ` + strings.ToUpper(right) + `, algorithm: sha256`, "f", "content", "", "", "/file.txt 1"},
		{"there already", `source: URL/file.txt, destination: /same, checksum: ` + right + `, algorithm: SHA256`, "same", "content", "", "/same has the right checksum already", "/file.txt 0"},
		{"there, but another", `source: URL/file.txt, destination: /old, checksum: ` + right + `, algorithm: SHA256`, "old", "content", "", "", "/file.txt 1"},
		{"wrong checksum", `source: URL/file.txt, destination: /old, checksum: "` + wrong + `", algorithm: SHA256`, "old", "old", "the SHA256 checksum is " + right + ", not " + wrong, "", "/file.txt 1"},
		{"checksum without algorithm", `source: URL/file.txt, destination: /f, checksum: abc`, "f", "content", "", "not verified", "/file.txt 1"},
		{"no overwrite", `source: URL/file.txt, destination: /old, overwrite: false`, "old", "old", "web download to /old: it exists, and overwrite is false", "", "/file.txt 0"},
		{"retried", `source: URL/flaky, destination: /f`, "f", "at last", "", "attempt 4 of 5 failed: the server answered 503 Service Unavailable; trying again in 8s", "/flaky 5"},
		{"given up", `source: "URL/broken?token=secret", destination: /old`, "old", "old", "/broken: the server answered 500", "trying again in 1s", "/broken 5"},
		{"not found", `source: URL/nope, destination: /old`, "old", "old", "the server answered 404", "", "/nope 1"},
		{"only 200 will do", `source: URL/nocontent, destination: /old`, "old", "old", "the server answered 204", "", "/nocontent 5"},
		{"half a file", `source: URL/short, destination: /old`, "old", "old", "unexpected EOF", "", "/short 5"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := newMachine(t)
			m.write("same", "content", 0o600)
			m.write("old", "old", 0o600)
			clear(s.requests)
			failure := m.run("WebDownload", "[{"+strings.ReplaceAll(test.inputs, "URL", s.URL)+"}]")
			expect(t, failure, test.failure)
			if strings.Contains(failure, "secret") {
				t.Errorf("the failure tells the URL's query: %s", failure)
			}
			if got := m.read(test.path); got != test.content {
				t.Errorf("%s holds %q, want %q", test.path, got, test.content)
			}
			if !strings.Contains(m.notices, test.notice) {
				t.Errorf("notices %q", m.notices)
			}
			path, want, _ := strings.Cut(test.requests, " ")
			if got := fmt.Sprint(s.requests[path]); got != want {
				t.Errorf("%s requests of %s, want %s", got, path, want)
			}
			m.noTemporaryFiles()
		})
	}
}

func TestWebDownloadOutput(t *testing.T) {
	s := newFileServer(t, (*httptest.Server).Start)
	m := newMachine(t)
	expect(t, m.runDocument(fmt.Sprintf(`schemaVersion: 1.0
phases:
  - name: build
    steps:
      - name: Get
        action: WebDownload
        inputs: [{source: "%[1]s/file.txt", destination: /d/}, {source: "%[1]s/moved", destination: /x}]
      - name: Note
        action: CreateFile
        inputs: [{path: /all, content: "{{ build.Get.outputs.destination }}"}, {path: /second, content: "{{ build.Get.outputs[1].destination }}"}]
`, s.URL)), "")
	if m.read("all") != "/d/file.txt\n/x" || m.read("second") != "/x" {
		t.Errorf("outputs %q and %q", m.read("all"), m.read("second"))
	}
}

func TestWebDownloadCertificates(t *testing.T) {
	s := newFileServer(t, (*httptest.Server).StartTLS)
	s.Config.ErrorLog = nil
	m := newMachine(t)
	expect(t, m.run("WebDownload", fmt.Sprintf("[{source: %s/file.txt, destination: /f}]", s.URL)), "certificate")
	expect(t, m.run("WebDownload", fmt.Sprintf("[{source: %s/file.txt, destination: /f, ignoreCertificateErrors: true}]", s.URL)), "")
	if m.read("f") != "content" {
		t.Errorf("file holds %q", m.read("f"))
	}
}

func TestWebDownloadTimeout(t *testing.T) {
	stop := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "begin")
		w.(http.Flusher).Flush()
		<-stop
	}))
	defer s.Close()
	defer close(stop)
	m := newMachine(t)
	expect(t, m.runDocument(fmt.Sprintf(`schemaVersion: 1.0
phases: [{name: build, steps: [{name: A, action: WebDownload, timeoutSeconds: 1, inputs: [{source: "%s/x", destination: /f}]}]}]
`, s.URL)), "timed out after 1s")
	if m.read("f") != "-" {
		t.Error("half a file is there")
	}
	m.noTemporaryFiles()
}

var _ component.HTTPClient = http.DefaultClient
