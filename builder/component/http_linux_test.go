package component

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Root certificates that a step has installed count for the next one.
func TestFreshRoots(t *testing.T) {
	t.Setenv("SSL_CERT_FILE", "")
	t.Setenv("SSL_CERT_DIR", "")
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ErrorLog = nil
	server.StartTLS()
	defer server.Close()
	bundle := filepath.Join(t.TempDir(), "ca-certificates.crt")
	client := defaultHTTP(false).(*http.Client)
	transport := client.Transport.(freshRoots)
	transport.bundles = []string{filepath.Join(t.TempDir(), "none"), bundle}
	client.Transport = transport
	get := func() error {
		response, err := client.Get(server.URL)
		if err == nil {
			response.Body.Close()
		}
		return err
	}
	const unknown = "certificate signed by unknown authority"
	if err := get(); err == nil || !strings.Contains(err.Error(), unknown) {
		t.Errorf("without roots: %v", err)
	}
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(bundle, root, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := get(); err != nil {
		t.Errorf("with roots: %v", err)
	}
	t.Setenv("SSL_CERT_FILE", filepath.Join(t.TempDir(), "mine"))
	if err := get(); err == nil || !strings.Contains(err.Error(), unknown) {
		t.Errorf("with roots of the user's own: %v", err)
	}
}
