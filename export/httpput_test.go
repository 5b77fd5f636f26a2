package export

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ingot-image/ingot/export/distribution"
)

// web is a web server that takes PUT.
type web struct {
	*httptest.Server
	mu       sync.Mutex
	files    map[string][]byte
	puts     int
	trouble  func(w http.ResponseWriter, r *http.Request, put int) bool // tells whether that was the answer
	received http.Header
}

func startWeb(t *testing.T) *web {
	s := &web{files: map[string][]byte{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *web) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPut {
		s.mu.Lock()
		s.puts++
		put := s.puts
		s.received = r.Header
		s.mu.Unlock()
		if s.trouble != nil && s.trouble(w, r, put) {
			return
		}
		data, err := io.ReadAll(r.Body)
		if err != nil || int64(len(data)) != r.ContentLength {
			return
		}
		s.mu.Lock()
		s.files[path.Base(r.URL.Path)] = data
		s.mu.Unlock()
		w.WriteHeader(http.StatusCreated)
		return
	}
	s.mu.Lock()
	data, ok := s.files[path.Base(r.URL.Path)]
	s.mu.Unlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(data)))
}

func (s *web) write(t *testing.T, folder string) {
	t.Helper()
	for name, data := range s.files {
		if err := os.WriteFile(filepath.Join(folder, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func quick(t *testing.T, p Place) Place {
	t.Helper()
	p.(*webFolder).delay = time.Millisecond
	return p
}

func TestPutAgain(t *testing.T) {
	server := startWeb(t)
	server.trouble = func(w http.ResponseWriter, r *http.Request, put int) bool {
		switch put {
		case 1:
			http.Error(w, "busy", http.StatusServiceUnavailable)
		case 2:
			io.CopyN(io.Discard, r.Body, 1<<20)
			panic(http.ErrAbortHandler)
		default:
			return false
		}
		return true
	}
	t.Setenv("SHELF_TOKEN", "Bearer hush")
	place := quick(t, newPlace(t, distribution.Distribution{HTTP: &distribution.HTTP{URL: server.URL + "/golden", HeaderEnv: map[string]string{"Authorization": "SHELF_TOKEN"}}}))
	d := image(t)
	if _, err := place.Deliver(t.Context(), d, nil); err != nil {
		t.Fatal(err)
	}
	if server.puts != 6 {
		t.Errorf("%d requests, want 4 and 2 more", server.puts)
	}
	if got := server.received.Get("Authorization"); got != "Bearer hush" {
		t.Errorf("Authorization: %q", got)
	}
	folder := t.TempDir()
	server.write(t, folder)
	sha256sum(t, folder)
	// What somebody took away is brought again, and only that.
	delete(server.files, d.Files[1].Name)
	if got, err := place.Deliver(t.Context(), d, nil); err != nil || got.Skipped || server.puts != 7 {
		t.Errorf("Deliver = %+v, %v after %d requests", got, err, server.puts)
	}
}

func TestPutRefused(t *testing.T) {
	for _, test := range []struct {
		name  string
		state func(s *web)
		want  string
		puts  int
	}{
		{"a redirect", func(s *web) {
			s.trouble = func(w http.ResponseWriter, r *http.Request, _ int) bool {
				http.Redirect(w, r, "http://elsewhere.example/", http.StatusTemporaryRedirect)
				return true
			}
		}, "points to http://elsewhere.example/, which is not followed", 1},
		{"no credentials", func(s *web) {
			s.trouble = func(w http.ResponseWriter, r *http.Request, _ int) bool {
				w.WriteHeader(http.StatusUnauthorized)
				return true
			}
		}, "401 Unauthorized; give the credentials", 1},
		{"always busy", func(s *web) {
			s.trouble = func(w http.ResponseWriter, r *http.Request, _ int) bool {
				w.WriteHeader(http.StatusBadGateway)
				return true
			}
		}, "502 Bad Gateway", putAttempts},
		{"taken and thrown away", func(s *web) {
			s.trouble = func(w http.ResponseWriter, r *http.Request, _ int) bool { io.Copy(io.Discard, r.Body); return true }
		}, "does not have it", 1},
		{"cut short", func(s *web) {
			s.trouble = func(w http.ResponseWriter, r *http.Request, _ int) bool {
				io.Copy(io.Discard, r.Body)
				s.mu.Lock()
				defer s.mu.Unlock()
				s.files[path.Base(r.URL.Path)] = []byte("half")
				return true
			}
		}, "4 bytes of 3145728", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := startWeb(t)
			test.state(server)
			t.Setenv("SHELF_TOKEN", "hush")
			place := quick(t, newPlace(t, distribution.Distribution{HTTP: &distribution.HTTP{URL: server.URL, HeaderEnv: map[string]string{"X-Token": "SHELF_TOKEN"}}}))
			_, err := place.Deliver(t.Context(), image(t), nil)
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "hush") {
				t.Errorf("Deliver = %v, want %q", err, test.want)
			}
			if server.puts != test.puts {
				t.Errorf("%d requests, want %d", server.puts, test.puts)
			}
		})
	}
}

func TestHeaderWithoutVariable(t *testing.T) {
	_, err := NewPlace(t.Context(), distribution.Distribution{HTTP: &distribution.HTTP{URL: "https://shelf.example/", HeaderEnv: map[string]string{"Authorization": "INGOT_TEST_NOT_SET"}}}, PlaceOptions{})
	if err == nil || !strings.Contains(err.Error(), "INGOT_TEST_NOT_SET is not set") {
		t.Errorf("NewPlace = %v", err)
	}
}
