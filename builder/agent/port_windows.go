package agent

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/windows"
)

// OpenPort opens the virtio-serial port of the given name, as the driver vioserial of virtio-win names it. A close ends a read under way.
//
// The tests do this with named pipes; nobody has yet run it with the driver on a real Windows.
func OpenPort(name string) (io.ReadWriteCloser, error) {
	return openPort(`\\.\Global\` + name)
}

func openPort(path string) (*overlappedPort, error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return nil, fmt.Errorf("open port %s: %w", path, err)
	}
	handle, err := windows.CreateFile(name, windows.GENERIC_READ|windows.GENERIC_WRITE, 0, nil, windows.OPEN_EXISTING, windows.FILE_FLAG_OVERLAPPED, 0)
	if err != nil {
		return nil, fmt.Errorf("open port %s: %w", path, err)
	}
	return newPort(handle)
}

// overlappedPort is a device that was opened for overlapped operations: only so can one goroutine write while another one waits in a read
// ("Synchronous and Asynchronous I/O" of the Windows documentation).
type overlappedPort struct {
	handle  windows.Handle
	closing windows.Handle // an event, set when Close begins
	busy    sync.RWMutex   // held for reading by operations, for writing by Close
	gone    bool           // the handles are closed
}

func newPort(handle windows.Handle) (*overlappedPort, error) {
	closing, err := windows.CreateEvent(nil, 1, 0, nil)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open port: %w", err), windows.CloseHandle(handle))
	}
	return &overlappedPort{handle: handle, closing: closing}, nil
}

// errNoHost is what vioserial answers to a read when no host has the other end open, and to a write that would have to wait.
const errNoHost = windows.ERROR_NO_SYSTEM_RESOURCES

// maxPortWrite is the size of a piece of a write, in bytes. vioserial takes 32 KiB at once.
const maxPortWrite = 32 << 10

// Read implements [io.Reader]. It is at the end when no host has the other end open.
func (p *overlappedPort) Read(data []byte) (int, error) {
	if len(data) == 0 {
		return 0, nil
	}
	n, err := p.operate(func(o *windows.Overlapped) error { return windows.ReadFile(p.handle, data, nil, o) })
	runtime.KeepAlive(data)
	switch {
	case errors.Is(err, errNoHost), errors.Is(err, windows.ERROR_BROKEN_PIPE), err == nil && n == 0:
		return n, io.EOF
	case err != nil:
		return n, &os.PathError{Op: "read", Path: "port", Err: err}
	}
	return n, nil
}

// Write implements [io.Writer]. Without a host it waits for one.
func (p *overlappedPort) Write(data []byte) (int, error) {
	written := 0
	for written < len(data) {
		piece := data[written:min(len(data), written+maxPortWrite)]
		n, err := p.operate(func(o *windows.Overlapped) error { return windows.WriteFile(p.handle, piece, nil, o) })
		runtime.KeepAlive(piece)
		written += n
		switch {
		case errors.Is(err, errNoHost):
			time.Sleep(retryPause)
		case err != nil:
			return written, &os.PathError{Op: "write", Path: "port", Err: err}
		}
	}
	return written, nil
}

// operate starts an operation and waits until it is done or the port is closed.
func (p *overlappedPort) operate(start func(*windows.Overlapped) error) (int, error) {
	p.busy.RLock()
	defer p.busy.RUnlock()
	if p.gone || p.closed() {
		return 0, os.ErrClosed
	}
	done, err := windows.CreateEvent(nil, 1, 0, nil)
	if err != nil {
		return 0, err
	}
	defer windows.CloseHandle(done)
	operation := &windows.Overlapped{HEvent: done}
	switch err := start(operation); {
	case errors.Is(err, windows.ERROR_IO_PENDING):
		_, err := windows.WaitForMultipleObjects([]windows.Handle{done, p.closing}, false, windows.INFINITE)
		if err != nil || p.closed() {
			_ = windows.CancelIoEx(p.handle, operation) // it may be done in the same moment
		}
	case err != nil:
		return 0, err
	}
	// The system writes to the buffer and the operation until this returns.
	var n uint32
	err = windows.GetOverlappedResult(p.handle, operation, &n, true)
	if errors.Is(err, windows.ERROR_OPERATION_ABORTED) {
		err = os.ErrClosed
	}
	return int(n), err
}

func (p *overlappedPort) closed() bool {
	event, err := windows.WaitForSingleObject(p.closing, 0)
	return err != nil || event == windows.WAIT_OBJECT_0
}

// Close implements [io.Closer]. It ends operations under way.
func (p *overlappedPort) Close() error {
	// Operations must not need the lock to learn of the event.
	p.busy.RLock()
	err := os.ErrClosed
	if !p.gone {
		err = windows.SetEvent(p.closing)
	}
	p.busy.RUnlock()
	p.busy.Lock()
	defer p.busy.Unlock()
	if p.gone || err != nil {
		return err
	}
	p.gone = true
	return errors.Join(windows.CloseHandle(p.handle), windows.CloseHandle(p.closing))
}
