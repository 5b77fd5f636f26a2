package agent

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/windows"
)

// pipePort makes a named pipe, and returns its server's end. Ends of a named pipe behave as a port whose other end is open.
func pipePort(t *testing.T, path string) *overlappedPort {
	t.Helper()
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		t.Fatal(err)
	}
	handle, err := windows.CreateNamedPipe(name, windows.PIPE_ACCESS_DUPLEX|windows.FILE_FLAG_OVERLAPPED, windows.PIPE_TYPE_BYTE, 1, 4096, 4096, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := newPort(handle)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func TestOverlappedPort(t *testing.T) {
	const path = `\\.\pipe\ingot-test-port`
	host := pipePort(t, path)
	guest, err := openPort(path)
	if err != nil {
		t.Fatal(err)
	}
	// A read that waits does not hold up a write in the other direction, larger than the pipe and in pieces.
	want := bytes.Repeat([]byte("0123456789abcdef"), 10_000)
	echoed := make(chan error, 1)
	go func() {
		got := make([]byte, len(want))
		_, err := io.ReadFull(host, got)
		if err == nil && !bytes.Equal(got, want) {
			err = errors.New("other bytes arrived")
		}
		if err == nil {
			_, err = io.WriteString(host, "all there")
		}
		echoed <- err
	}()
	answer := make(chan string, 1)
	go func() {
		data := make([]byte, 9)
		n, _ := io.ReadFull(guest, data)
		answer <- string(data[:n])
	}()
	time.Sleep(50 * time.Millisecond)
	if n, err := guest.Write(want); n != len(want) || err != nil {
		t.Fatalf("wrote %d bytes, %v", n, err)
	}
	if err := <-echoed; err != nil {
		t.Fatal(err)
	}
	if got := <-answer; got != "all there" {
		t.Errorf("read %q", got)
	}
	// Closing ends a read that waits.
	ended := make(chan error, 1)
	go func() {
		_, err := guest.Read(make([]byte, 1))
		ended <- err
	}()
	time.Sleep(50 * time.Millisecond)
	if err := guest.Close(); err != nil {
		t.Error(err)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("the read ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the read goes on after the port was closed")
	}
	if _, err := guest.Read(make([]byte, 1)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a read of the closed port gave %v", err)
	}
	if err := guest.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the second close gave %v", err)
	}
	if _, err := host.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("a read without a guest gave %v", err)
	}
}

// portConn is a port as the host has it, only that nothing on it ever times out.
type portConn struct{ *overlappedPort }

func (portConn) LocalAddr() net.Addr              { return &net.UnixAddr{} }
func (portConn) RemoteAddr() net.Addr             { return &net.UnixAddr{} }
func (portConn) SetDeadline(time.Time) error      { return nil }
func (portConn) SetReadDeadline(time.Time) error  { return nil }
func (portConn) SetWriteDeadline(time.Time) error { return nil }

// TestSessionOverPort holds a whole session over a port.
func TestSessionOverPort(t *testing.T) {
	const path = `\\.\pipe\ingot-test-session`
	host := pipePort(t, path)
	opened := make(chan struct{}) // the first time; a pipe that nobody has opened cannot be read
	tell := sync.OnceFunc(func() { close(opened) })
	server := &Server{Open: func() (io.ReadWriteCloser, error) {
		defer tell()
		return openPort(path)
	}, System: Windows{}}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	go server.Serve(ctx)
	<-opened
	client, err := Connect(ctx, portConn{host})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	info, err := client.Info(ctx)
	if err != nil || info.BootID == "" || info.OSID != "windows" || info.OS == "" || info.Architecture != "amd64" || info.Kernel == "0.0.0" {
		t.Errorf("Info = %+v, %v", info, err)
	}
	if again, err := client.Info(ctx); err != nil || *again != *info {
		t.Errorf("Info changed to %+v, %v", again, err)
	}
	if ready, err := client.Ready(ctx); err != nil || ready.State == "" {
		t.Errorf("Ready = %+v, %v", ready, err)
	}
	if _, err := client.BootFiles(ctx); err == nil {
		t.Error("a Windows guest has boot files")
	}
	out, err := client.Exec(ctx, Command{Path: "cmd.exe", Args: []string{"/c", "echo %X%"}, Env: []string{"X=1"}}, nil)
	if err != nil || string(out) != "1\r\n" {
		t.Errorf("Exec = %q, %v", out, err)
	}
}
