package component

import (
	"crypto/tls"
	"net/http"
	"time"
)

// defaultHTTP returns a client which waits a bounded time for connections and headers; how long a body takes is up to the step's timeout.
func defaultHTTP(ignoreCertificateErrors bool) HTTPClient {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = 2 * time.Minute
	transport.DisableKeepAlives = true
	transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: ignoreCertificateErrors} // by the user's explicit input
	return &http.Client{Transport: transport}
}
