// Package imds is the instance metadata service of EC2, version 2, as an http.Handler: what an instance finds at 169.254.169.254, for a virtual
// machine that is to believe it runs on EC2.
//
//	service := imds.New(imds.Instance{InstanceID: "i-0123456789abcdef0", PublicKey: "ssh-ed25519 AAAA…", UserData: []byte("#!/bin/sh\n…")})
//	http.Serve(listener, service)
//	…
//	for _, r := range service.Requests() {
//		fmt.Println(r.Method, r.Path, r.Status, r.UserAgent)
//	}
//
// Version 2 wants a session token with every request (EC2 user guide, "Use the Instance Metadata Service to access instance metadata"); version 1, without,
// is refused as on an instance with HttpTokens=required, which is what an AMI with ImdsSupport v2.0 starts. Every request is remembered, so that one can tell which
// programs of the guest asked for what.
package imds

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"maps"
	"net"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Headers of version 2.
const (
	TokenHeader = "X-Aws-Ec2-Metadata-Token"
	TTLHeader   = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"
)

const (
	tokenPath = "/latest/api/token"
	maxTTL    = 21600 // seconds: six hours, the service's own
	maxTokens = 1024
	// maxRequests is how many requests are remembered, and maxText how much of the text in each: the guest is taken for hostile.
	maxRequests = 4096
	maxText     = 256
)

// Request is a request that the service got.
type Request struct {
	Time      time.Time `json:"time"`
	Method    string    `json:"method"`
	Path      string    `json:"path"`
	UserAgent string    `json:"userAgent,omitempty"` // who asked: "Cloud-Init/22.4.2"
	Status    int       `json:"status"`              // of the answer
}

// Service answers for one instance. It is safe for several goroutines.
type Service struct {
	versions []string
	leaves   map[string][]byte // by path below the version: "meta-data/ami-id"

	mu       sync.Mutex
	now      func() time.Time
	tokens   map[string]time.Time // to their end
	requests []Request
	changed  chan struct{} // closed and replaced at every request
}

// New gives the metadata service of an instance. What is not given in it has a plausible value; see [Instance].
func New(i Instance) *Service {
	i = i.complete()
	return &Service{
		versions: versions(), leaves: i.tree(), now: time.Now, tokens: map[string]time.Time{}, changed: make(chan struct{}),
	}
}

// Requests are those so far, oldest first; some thousands are kept.
func (s *Service) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Changed is closed at the next request.
func (s *Service) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// ServeHTTP answers a request as the service does: text without a final newline, a folder as the list of what is in it, 401 without a token that is valid, 404
// for what this instance does not have. An error's body is a page of XHTML, which a script that does not look at the status takes for the value.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status, body := s.answer(w.Header(), r)
	w.Header().Set("Server", "EC2ws")
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "text/plain")
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	// Remembered before the guest has the answer: who waits for a request finds what came before it.
	s.remember(Request{Time: s.now(), Method: bounded(r.Method), Path: bounded(r.URL.Path), UserAgent: bounded(r.UserAgent()), Status: status})
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		w.Write(body)
	}
}

func (s *Service) answer(header http.Header, r *http.Request) (int, []byte) {
	name := path.Clean("/" + r.URL.Path)
	if r.Method == http.MethodPut {
		return s.newToken(header, r, name)
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead || name == tokenPath {
		return refuse(header, http.StatusMethodNotAllowed)
	}
	if !s.authorised(header, r.Header.Get(TokenHeader)) {
		return refuse(header, http.StatusUnauthorized)
	}
	if name == "/" {
		return http.StatusOK, []byte(strings.Join(s.versions, "\n"))
	}
	version, below, _ := strings.Cut(name[1:], "/")
	if !slices.Contains(s.versions, version) {
		return refuse(header, http.StatusNotFound)
	}
	if body, ok := s.leaves[below]; ok {
		return http.StatusOK, body
	}
	if list := s.list(below); len(list) > 0 {
		return http.StatusOK, []byte(strings.Join(list, "\n"))
	}
	return refuse(header, http.StatusNotFound)
}

// newToken answers PUT /latest/api/token. A request that came through a proxy gets none, as by the service.
func (s *Service) newToken(header http.Header, r *http.Request, name string) (int, []byte) {
	if name != tokenPath {
		return refuse(header, http.StatusMethodNotAllowed)
	}
	if r.Header.Get("X-Forwarded-For") != "" {
		return refuse(header, http.StatusForbidden)
	}
	ttl, err := strconv.Atoi(r.Header.Get(TTLHeader))
	if err != nil || ttl < 1 || ttl > maxTTL {
		return refuse(header, http.StatusBadRequest)
	}
	secret := make([]byte, 40)
	rand.Read(secret)
	token := base64.URLEncoding.EncodeToString(secret)
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.tokens, func(_ string, end time.Time) bool { return !s.now().Before(end) })
	if len(s.tokens) >= maxTokens {
		return refuse(header, http.StatusServiceUnavailable)
	}
	s.tokens[token] = s.now().Add(time.Duration(ttl) * time.Second)
	header.Set(TTLHeader, strconv.Itoa(ttl))
	return http.StatusOK, []byte(token)
}

// authorised tells whether a token is valid still, and says in the answer for how long.
func (s *Service) authorised(header http.Header, token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	end, known := s.tokens[token]
	left := end.Sub(s.now())
	if !known || left <= 0 {
		return false
	}
	header.Set(TTLHeader, strconv.Itoa(int(left.Seconds()+0.5)))
	return true
}

// list gives the entries of a folder: folders end in a slash, and keys of meta-data/public-keys are listed as NUMBER=NAME.
func (s *Service) list(folder string) []string {
	var entries []string
	prefix := folder + "/"
	if folder == "" {
		prefix = ""
	}
	for leaf := range s.leaves {
		below, ok := strings.CutPrefix(leaf, prefix)
		if !ok {
			continue
		}
		entry, _, deeper := strings.Cut(below, "/")
		switch {
		case folder == "meta-data/public-keys":
			entry += "=" + keyName
		case deeper:
			entry += "/"
		}
		entries = append(entries, entry)
	}
	slices.Sort(entries)
	return slices.Compact(entries)
}

// errorPage is the body of every error, with the status twice.
const errorPage = `<?xml version="1.0" encoding="iso-8859-1"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"
	"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">
 <head>
  <title>%[1]s</title>
 </head>
 <body>
  <h1>%[1]s</h1>
 </body>
</html>
`

func refuse(header http.Header, status int) (int, []byte) {
	header.Set("Content-Type", "text/html")
	return status, fmt.Appendf(nil, errorPage, strconv.Itoa(status)+" - "+http.StatusText(status))
}

func (s *Service) remember(r Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.requests) == maxRequests {
		s.requests = slices.Delete(s.requests, maxRequests/2, maxRequests/2+1) // the first tell how it began, the last how it is
	}
	s.requests = append(s.requests, r)
	close(s.changed)
	s.changed = make(chan struct{})
}

func bounded(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), maxText)], "?")
}

// Server is an http.Server for the service with limits that suit a hostile guest.
//
// EC2 sends the answer to a PUT with the hop limit as its IP time-to-live: 1, or 2 for instances of an AMI with ImdsSupport v2.0, so that a token gets past one
// router at most, such as into a container with a network of its own. QEMU's user network sets the time-to-live by itself, to more than that, and has no
// option for it: containers behind containers get a token here that they would not get on EC2.
func (s *Service) Server() *http.Server {
	return &http.Server{Handler: s, ReadHeaderTimeout: time.Minute, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10}
}

// Serve answers on a listener until that is closed.
func (s *Service) Serve(l net.Listener) error { return s.Server().Serve(l) }
