package component

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"os"
	"time"
)

// defaultHTTP returns a client which waits a bounded time for connections and headers; how long a body takes is up to the step's timeout.
func defaultHTTP(ignoreCertificateErrors bool) HTTPClient {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = 2 * time.Minute
	transport.DisableKeepAlives = true
	transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: ignoreCertificateErrors} // by the user's explicit input
	// These are where Debian's and Red Hat's package ca-certificates puts them.
	return &http.Client{Transport: freshRoots{transport, []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"}}}
}

// freshRoots is a transport that knows root certificates which a step of the run has installed. Go reads those of the system once in the
// life of a process; when a server's certificate is unknown, they are read again from the first bundle that is there.
type freshRoots struct {
	transport *http.Transport
	bundles   []string
}

// RoundTrip implements [http.RoundTripper].
func (t freshRoots) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := t.transport.RoundTrip(request)
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	if !unknown || request.Body != nil {
		return response, err
	}
	roots := t.roots()
	if roots == nil {
		return nil, err
	}
	again := t.transport.Clone()
	again.TLSClientConfig.RootCAs = roots
	return again.RoundTrip(request)
}

// roots returns nil if there are none. Who names roots in the environment (crypto/x509) trusts no others.
func (t freshRoots) roots() *x509.CertPool {
	if os.Getenv("SSL_CERT_FILE") != "" || os.Getenv("SSL_CERT_DIR") != "" {
		return nil
	}
	for _, bundle := range t.bundles {
		if data, err := os.ReadFile(bundle); err == nil {
			roots := x509.NewCertPool()
			roots.AppendCertsFromPEM(data)
			return roots
		}
	}
	return nil
}
