package agent

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/ingot-image/ingot/builder/component"
)

// Server is the guest's side: it serves one host at a time over the port that Open opens.
type Server struct {
	Modules component.Modules                  // the actions that documents may use
	Open    func() (io.ReadWriteCloser, error) // opens the port; called again after each session
	System  System                             // the operating system's part

	services hostServices
}

// System is what the agent needs of the operating system it runs on.
type System interface {
	Info() Info
	// Ready blocks until the start-up is over.
	Ready(ctx context.Context) (Ready, error)
	BootFiles() (BootFiles, error)
	// Power begins an orderly reboot or power-off and returns.
	Power(reboot bool) error
	// Environment is that of the programs run by Exec.
	Environment() []string
}

// retryPause is the wait between two looks at a port that has no host at its other end.
const retryPause = 50 * time.Millisecond

// Serve serves session after session until ctx ends, and returns ctx's error.
func (s *Server) Serve(ctx context.Context) error {
	for ctx.Err() == nil {
		port, err := s.Open()
		if err == nil && s.serveOne(ctx, port) {
			continue // the next host may be there
		}
		select {
		case <-ctx.Done():
		case <-time.After(retryPause):
		}
	}
	return ctx.Err()
}

// serveOne does one handshake and serves its session, if it comes to one, until the host leaves.
func (s *Server) serveOne(ctx context.Context, port io.ReadWriteCloser) (served bool) {
	defer context.AfterFunc(ctx, func() { port.Close() })()
	defer port.Close()
	in := &patientReader{r: port}
	in.patient.Store(true)
	r := bufio.NewReader(in)
	if err := greet(r, port); err != nil {
		return false
	}
	in.patient.Store(false)
	session, err := yamux.Server(pipe{r, port}, sessionConfig())
	if err != nil {
		return false
	}
	defer session.Close()
	for {
		stream, err := session.AcceptStream()
		if err != nil {
			return true
		}
		go s.serveStream(ctx, stream)
	}
}

// greet announces the agent until a host answers.
func greet(r *bufio.Reader, w io.Writer) error {
	random := make([]byte, 12)
	rand.Read(random)
	nonce := hex.EncodeToString(random)

	var mu sync.Mutex // held while a line is being written, so that the last one comes last
	answered := make(chan struct{})
	defer func() {
		select {
		case <-answered:
		default:
			close(answered)
		}
	}()
	go func() {
		for {
			mu.Lock()
			select {
			case <-answered:
				mu.Unlock()
				return
			default:
			}
			// What is left of an earlier session may stand before it.
			_, err := io.WriteString(w, "\n"+agentHello(nonce)+"\n")
			mu.Unlock()
			if err != nil {
				return
			}
			select {
			case <-answered:
				return
			case <-time.After(300 * time.Millisecond):
			}
		}
	}()
	for {
		line, err := handshakeLine(r)
		if err != nil {
			return err
		}
		// What is left of an earlier session may stand before the answer without an end of line between them.
		if strings.HasSuffix(line, hostHello(nonce)) {
			mu.Lock()
			defer mu.Unlock()
			close(answered)
			_, err := io.WriteString(w, goLine(nonce)+"\n")
			return err
		}
	}
}

// patientReader waits where a virtio-serial port without a host at its other end answers with an end of file.
type patientReader struct {
	r       io.Reader
	patient atomic.Bool
}

func (p *patientReader) Read(b []byte) (int, error) {
	for {
		n, err := p.r.Read(b)
		if n > 0 || err != io.EOF || !p.patient.Load() {
			return n, err
		}
		time.Sleep(retryPause)
	}
}

// serveStream answers one request. When the host closes the stream, what is being done for it is cancelled.
func (s *Server) serveStream(ctx context.Context, stream *yamux.Stream) {
	defer stream.Close()
	r := bufio.NewReaderSize(stream, 64<<10)
	var req request
	if err := readLine(r, &req); err != nil {
		writeLine(stream, response{Error: "bad request: " + err.Error()})
		return
	}
	out := &answers{w: stream}
	// These have more to read.
	switch {
	case req.Put != nil:
		receiveFile(*req.Put, r, out)
		return
	case req.Shell != nil:
		s.shell(ctx, *req.Shell, r, stream)
		return
	case req.Serve != nil:
		s.services.take(ctx, *req.Serve, stream, r)
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		io.Copy(io.Discard, r)
		cancel()
		// The host reads no more: an answer that is being written must not wait for it.
		stream.SetWriteDeadline(time.Unix(1, 0))
	}()
	if req.Tar != nil {
		sendTar(ctx, *req.Tar, stream)
		return
	}
	if req.Run != nil {
		s.run(ctx, *req.Run, req.Services, stream)
		return
	}
	if err := s.answer(ctx, req, out); err != nil {
		out.send(response{Error: err.Error()})
	}
}

// answers is a stream that several goroutines may answer on, a line at a time.
type answers struct {
	mu sync.Mutex
	w  io.Writer
}

func (a *answers) send(r response) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return writeLine(a.w, r)
}

func (s *Server) answer(ctx context.Context, req request, out *answers) error {
	switch {
	case req.Info != nil:
		info := s.System.Info()
		return out.send(response{Info: &info})
	case req.Ready != nil:
		ready, err := s.System.Ready(ctx)
		if err != nil {
			return err
		}
		return out.send(response{Ready: &ready})
	case req.Exec != nil:
		return s.exec(ctx, *req.Exec, out)
	case req.Get != nil:
		return sendFile(*req.Get, out)
	case req.Boot != nil:
		files, err := s.System.BootFiles()
		if err != nil {
			return err
		}
		return out.send(response{Boot: &files})
	case req.Wake != nil:
		waker, ok := s.System.(Waker)
		if !ok {
			return errors.New("this guest cannot be saved")
		}
		if err := waker.Wake(req.Wake.Time, req.Wake.Entropy); err != nil {
			return err
		}
		return out.send(response{Done: true})
	case req.Sync != nil:
		waker, ok := s.System.(Waker)
		if !ok {
			return errors.New("this guest cannot be saved")
		}
		waker.Sync()
		return out.send(response{Done: true})
	case req.Power != nil:
		if err := out.send(response{Done: true}); err != nil {
			return err
		}
		return s.System.Power(req.Power.Reboot)
	}
	return errors.New("unknown request")
}

// exec runs one command and streams what it writes.
func (s *Server) exec(ctx context.Context, c Command, out *answers) error {
	cmd := exec.CommandContext(ctx, c.Path, c.Args...)
	cmd.Env = append(s.System.Environment(), c.Env...)
	cmd.Dir = "/"
	cmd.Stdin = strings.NewReader(c.Stdin)
	cmd.Stdout = outputWriter{"stdout", out}
	cmd.Stderr = outputWriter{"stderr", out}
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return out.send(response{Exit: &Exit{Code: exit.ExitCode()}})
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		return err
	}
	return out.send(response{Exit: &Exit{}})
}

type outputWriter struct {
	stream string
	out    *answers
}

func (w outputWriter) Write(p []byte) (int, error) {
	if err := w.out.send(response{Output: &Output{Stream: w.stream, Data: p}}); err != nil {
		return 0, err
	}
	return len(p), nil
}

// sendFile sends a regular file's size and then its bytes.
func sendFile(req getRequest, out *answers) error {
	f, err := os.Open(req.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	stat, err := f.Stat()
	if err != nil {
		return err
	}
	if !stat.Mode().IsRegular() {
		return &fs.PathError{Op: "read", Path: req.Path, Err: errors.New("not a regular file")}
	}
	size := stat.Size()
	if size > req.Limit {
		return fmt.Errorf("%s has %d bytes, more than the limit of %d", req.Path, size, req.Limit)
	}
	if err := out.send(response{Size: &size}); err != nil {
		return err
	}
	_, err = io.CopyN(out.w, f, size)
	if err != nil {
		// The length is already promised: only the end of the stream can tell the host.
		return fmt.Errorf("read %s: %w", req.Path, err)
	}
	return nil
}
