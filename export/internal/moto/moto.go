// Package moto runs moto's server for tests: a stand-in for S3, IAM, STS, SSM, KMS and much of EC2 on a loopback port. `make setup-test` installs it under
// bin/moto; without it tests are skipped, with that reason.
//
//	server := moto.Start(t) // empty, and this test's alone until it ends
//	config.BaseEndpoint = &server.URL
//
// Starting takes a second or two, so that a server that a test is done with is emptied and kept for the next one. The kernel ends them all with the test
// binary, however that ends.
package moto

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// startLimit is how long a server may take to listen.
const startLimit = 60 * time.Second

// Server is a running server.
type Server struct {
	URL string // without a slash at the end
}

// idle are the servers that no test of this binary has: the one thing that tests share.
var idle struct {
	sync.Mutex
	servers []*Server
}

// Start gives the test an empty server of its own. It skips the test if moto is not installed.
func Start(tb testing.TB) *Server {
	tb.Helper()
	s, err := take()
	if errors.Is(err, fs.ErrNotExist) {
		tb.Skipf("moto's server is not installed: run make setup-test (%v)", err)
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		idle.Lock()
		defer idle.Unlock()
		idle.servers = append(idle.servers, s)
	})
	if err := s.Reset(); err != nil {
		tb.Fatal(err)
	}
	return s
}

// Reset forgets everything that the server holds.
func (s *Server) Reset() error {
	response, err := http.Post(s.URL+"/moto-api/reset", "", nil)
	if err != nil {
		return fmt.Errorf("reset moto: %w", err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("reset moto: %s", response.Status)
	}
	return nil
}

func take() (*Server, error) {
	idle.Lock()
	defer idle.Unlock()
	if n := len(idle.servers); n > 0 {
		s := idle.servers[n-1]
		idle.servers = idle.servers[:n-1]
		return s, nil
	}
	program, err := installed()
	if err != nil {
		return nil, err
	}
	return run(program)
}

// installed finds the program in the repository that the test runs in.
func installed() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("find go.mod: %w", fs.ErrNotExist)
		}
		dir = filepath.Dir(dir)
	}
	program := filepath.Join(dir, "bin", "moto", "bin", "moto_server")
	_, err = os.Stat(program)
	return program, err
}

// listening is what the server says once it answers.
var listening = regexp.MustCompile(`Running on (http://[0-9.]+:[0-9]+)`)

// run starts a server that ends when this process does. The kernel sends its signal when the thread that started it ends, so that thread is kept
// (prctl(2), PR_SET_PDEATHSIG).
func run(program string) (*Server, error) {
	command := exec.Command(program, "-H", "127.0.0.1", "-p", "0")
	// Amazon's own images are hundreds in each region, and none is wanted.
	command.Env = append(os.Environ(), "MOTO_EC2_LOAD_DEFAULT_AMIS=false", "PYTHONUNBUFFERED=1")
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	output, err := command.StderrPipe()
	if err != nil {
		return nil, fmt.Errorf("start moto: %w", err)
	}
	started, found := make(chan error, 1), make(chan string, 1)
	go func() {
		runtime.LockOSThread()
		started <- command.Start()
		var said strings.Builder
		lines := bufio.NewScanner(io.TeeReader(io.LimitReader(output, 1<<20), &said))
		for lines.Scan() {
			if m := listening.FindStringSubmatch(lines.Text()); m != nil {
				found <- m[1]
				break
			}
		}
		io.Copy(io.Discard, output)
		command.Wait()
		select {
		case found <- "ended: " + said.String():
		default: // it had been listening
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start moto: %w", err)
	}
	select {
	case url := <-found:
		if strings.HasPrefix(url, "ended") {
			return nil, fmt.Errorf("start moto: it %s", url)
		}
		return &Server{URL: url}, nil
	case <-time.After(startLimit):
		command.Process.Kill()
		return nil, fmt.Errorf("start moto: it does not listen after %s", startLimit)
	}
}
