package agent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/ingot-image/ingot/builder/component"
)

// Client is the host's side of a session with one running agent. It is safe for use by several goroutines. It ends when
// the guest reboots or goes down; a new session needs a new Connect on a new connection.
type Client struct {
	session *yamux.Session
}

// Connect waits for an agent to announce itself on conn and opens a session with it. It ends with ctx's error when ctx
// ends, and closes conn whenever it fails.
func Connect(ctx context.Context, conn net.Conn) (*Client, error) {
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	client, err := connect(conn)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("connect to the guest's agent: %w", err)
	}
	return client, nil
}

func connect(conn net.Conn) (*Client, error) {
	knocking := knock(conn)
	defer knocking.stop()
	r := bufio.NewReaderSize(conn, 256<<10) // QEMU waits whenever its socket is full, and costs the guest time by it
	nonce := ""
	for {
		line, err := handshakeLine(r)
		if err != nil {
			return nil, err
		}
		switch fields := strings.Fields(line); {
		case len(fields) == 3 && line == agentHello(fields[2]):
			// The agent repeats itself until it hears the answer; one answer a nonce is enough.
			if fields[2] != nonce {
				nonce = fields[2]
				knocking.end()
				if _, err := io.WriteString(conn, hostHello(nonce)+"\n"); err != nil {
					return nil, err
				}
			}
		case len(fields) == 3 && fields[0] == "INGOT-AGENT":
			return nil, fmt.Errorf("the guest's agent speaks protocol %s, this ingot %d", fields[1], Protocol)
		case nonce != "" && line == goLine(nonce):
			session, err := yamux.Client(pipe{&guestFrames{r: r}, conn}, sessionConfig())
			if err != nil {
				return nil, err
			}
			return &Client{session: session}, nil
		}
	}
}

const (
	knockEvery = 10 * time.Millisecond // at first; twice as long each time
	knocks     = 8
)

// knocker sends an agent that still serves an earlier session what is no frame of yamux, until it announces itself: so it ends that session.
// The guest's kernel tells it of the connection's end and forgets that when the next one is there at once, and a guest that goes on from
// a saved state may not know at all.
type knocker struct {
	conn    io.Writer
	stopped chan struct{}
	writing sync.Mutex // held while one is being sent
}

// knock begins a little later: an agent that waits for a host says so at once.
func knock(conn io.Writer) *knocker {
	k := &knocker{conn: conn, stopped: make(chan struct{})}
	go func() {
		for n := range knocks {
			select {
			case <-k.stopped:
				return
			case <-time.After(knockEvery << n):
			}
			k.send()
		}
	}()
	return k
}

func (k *knocker) send() {
	k.writing.Lock()
	defer k.writing.Unlock()
	select {
	case <-k.stopped:
	default:
		io.WriteString(k.conn, hostHello("knocks")+"\n")
	}
}

// stop lets no other one begin.
func (k *knocker) stop() {
	select {
	case <-k.stopped:
	default:
		close(k.stopped)
	}
}

// end is stop that waits for the one under way.
func (k *knocker) end() {
	k.stop()
	k.writing.Lock()
	defer k.writing.Unlock()
}

// Close ends the session and its connection. Requests under way end with an error.
func (c *Client) Close() error { return c.session.Close() }

// Done is closed when the session has ended, for instance because the guest went down.
func (c *Client) Done() <-chan struct{} { return c.session.CloseChan() }

// ErrSessionEnded is wrapped by the errors of requests whose answer was cut off: the agent or its guest went away.
var ErrSessionEnded = errors.New("the guest's agent went away")

// do sends one request and gives each line of the answer to each, until it says that the answer is complete.
// Cancelling ctx closes the stream, on which the agent ends what it does for it.
func (c *Client) do(ctx context.Context, req request, each func(response, *bufio.Reader) (done bool, err error)) error {
	stream, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer stream.Close()
	defer endWith(ctx, stream)()
	if err := writeLine(stream, req); err != nil {
		return cutOff(ctx, err)
	}
	r := bufio.NewReaderSize(stream, 64<<10)
	for {
		var resp response
		if err := readLine(r, &resp); err != nil {
			return cutOff(ctx, err)
		}
		if resp.Error != "" {
			return errors.New(resp.Error)
		}
		done, err := each(resp, r)
		if done || err != nil {
			return err
		}
	}
}

// endWith ends a stream when ctx ends, until the function it returns is called.
func endWith(ctx context.Context, stream *yamux.Stream) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		stream.SetDeadline(time.Unix(1, 0))
		stream.Close()
	})
}

// cutOff is the error of a request that did not come to its end.
func cutOff(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w: %w", ErrSessionEnded, err)
}

// simple sends a request that is answered by that it is done.
func (c *Client) simple(ctx context.Context, req request) error {
	return c.do(ctx, req, func(r response, _ *bufio.Reader) (bool, error) { return r.Done, nil })
}

// open opens a stream. A guest that does not read can hold that up: then the session is of no use any more.
func (c *Client) open(ctx context.Context) (*yamux.Stream, error) {
	stop := context.AfterFunc(ctx, func() { c.session.Close() })
	stream, err := c.session.OpenStream()
	if !stop() {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSessionEnded, err)
	}
	return stream, nil
}

// Info asks what the guest is.
func (c *Client) Info(ctx context.Context) (*Info, error) {
	var info *Info
	err := c.do(ctx, request{Info: &struct{}{}}, func(r response, _ *bufio.Reader) (bool, error) {
		info = r.Info
		return info != nil, nil
	})
	if err != nil {
		return nil, fmt.Errorf("ask the guest about itself: %w", err)
	}
	return info, nil
}

// Ready waits until the guest's start-up is over: systemd has finished its first transaction, the network is up as far
// as it comes up, and cloud-init, if it is enabled, has ended. It sets no limit of its own.
func (c *Client) Ready(ctx context.Context) (*Ready, error) {
	var ready *Ready
	err := c.do(ctx, request{Ready: &struct{}{}}, func(r response, _ *bufio.Reader) (bool, error) {
		ready = r.Ready
		return ready != nil, nil
	})
	if err != nil {
		return nil, fmt.Errorf("wait for the guest's start-up: %w", err)
	}
	return ready, nil
}

// Run runs component documents and gives each event to events, in order, as it comes. The result may ask for a reboot
// (component.Runner), which is the caller's to do, or say that the run is paused, if the request asks for that. An error means that the run itself could not go on, never that a
// step failed.
//
// While they run, documents may reach the services: what those give, they give to whatever asks in the guest.
func (c *Client) Run(ctx context.Context, req component.Request, services Services, events func(component.Event)) (*component.Result, error) {
	result, err := c.run(ctx, req, services, events)
	if err == nil {
		err = checkResult(req, result)
	}
	if err != nil {
		return nil, fmt.Errorf("run components: %w", err)
	}
	return result, nil
}

// maxRebootDelay bounds the Reboot action's delaySeconds.
const maxRebootDelay = 24 * 60 * 60

// checkResult refuses results that the engine never gives: a guest may say anything.
func checkResult(req component.Request, r *component.Result) error {
	ok := false
	switch r.Status {
	case component.StatusSuccess:
		ok = r.Failure == nil && r.FailedSteps == 0
	case component.StatusFailed:
		ok = r.Failure != nil
	case component.StatusPaused:
		asked := req.PauseAfterMS > 0 || req.PauseAfterDocument
		ok = asked && r.State != nil && r.Failure == nil && r.FailedSteps == 0
	case component.StatusReboot:
		ok = r.State != nil && r.RebootDelaySeconds >= 0 && r.RebootDelaySeconds <= maxRebootDelay
	}
	if !ok {
		return errors.New("the guest's agent gave a result that makes no sense")
	}
	return nil
}

// ExitError is a command's unsuccessful end.
type ExitError struct {
	Path   string
	Code   int
	Stderr string // the last part of it
}

func (e *ExitError) Error() string {
	if e.Stderr == "" {
		return fmt.Sprintf("%s exited %d in the guest", e.Path, e.Code)
	}
	return fmt.Sprintf("%s exited %d in the guest: %s", e.Path, e.Code, e.Stderr)
}

// MaxOutput bounds what Exec returns of a command's standard output, in bytes; more is an error.
const MaxOutput = 16 << 20

// Exec runs a command and returns its standard output. A non-zero status is an *ExitError. If live is given it gets each
// piece of output as it comes.
func (c *Client) Exec(ctx context.Context, cmd Command, live func(Output)) ([]byte, error) {
	var stdout []byte
	var stderr tail
	err := c.do(ctx, request{Exec: &cmd}, func(r response, _ *bufio.Reader) (bool, error) {
		switch {
		case r.Output != nil:
			if live != nil {
				live(*r.Output)
			}
			if r.Output.Stream == "stderr" {
				stderr.Write(r.Output.Data)
				return false, nil
			}
			if len(stdout)+len(r.Output.Data) > MaxOutput {
				return true, fmt.Errorf("over %d bytes of output", MaxOutput)
			}
			stdout = append(stdout, r.Output.Data...)
		case r.Exit != nil && r.Exit.Code != 0:
			return true, &ExitError{Path: cmd.Path, Code: r.Exit.Code, Stderr: stderr.String()}
		case r.Exit != nil:
			return true, nil
		}
		return false, nil
	})
	if err != nil {
		return stdout, fmt.Errorf("run %s: %w", cmd.Path, err)
	}
	return stdout, nil
}

// Get copies a file of the guest to w, at most limit bytes.
func (c *Client) Get(ctx context.Context, path string, limit int64, w io.Writer) error {
	err := c.do(ctx, request{Get: &getRequest{Path: path, Limit: limit}}, func(r response, body *bufio.Reader) (bool, error) {
		if r.Size == nil {
			return false, nil
		}
		if *r.Size < 0 || *r.Size > limit {
			return true, fmt.Errorf("%d bytes, more than the limit of %d", *r.Size, limit)
		}
		_, err := io.CopyN(w, body, *r.Size)
		return true, err
	})
	if err != nil {
		return fmt.Errorf("get %s from the guest: %w", path, err)
	}
	return nil
}

// BootFiles asks which kernel and initrd the guest would boot next.
func (c *Client) BootFiles(ctx context.Context) (*BootFiles, error) {
	var files *BootFiles
	err := c.do(ctx, request{Boot: &struct{}{}}, func(r response, _ *bufio.Reader) (bool, error) {
		files = r.Boot
		return files != nil, nil
	})
	if err != nil {
		return nil, fmt.Errorf("find the guest's kernel: %w", err)
	}
	return files, nil
}

// Reboot asks the guest for an orderly reboot and returns when the agent has taken the order.
func (c *Client) Reboot(ctx context.Context) error { return c.power(ctx, true) }

// PowerOff asks the guest for an orderly shutdown and returns when the agent has taken the order.
func (c *Client) PowerOff(ctx context.Context) error { return c.power(ctx, false) }

func (c *Client) power(ctx context.Context, reboot bool) error {
	err := c.simple(ctx, request{Power: &powerRequest{Reboot: reboot}})
	// The guest may be gone before its answer is through, which is what was asked for.
	if err != nil && !errors.Is(err, ErrSessionEnded) {
		return fmt.Errorf("send the guest down: %w", err)
	}
	return nil
}

// tail keeps the end of what is written to it.
type tail struct{ data []byte }

const tailSize = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.data = append(t.data, p...)
	if over := len(t.data) - tailSize; over > 0 {
		t.data = append(t.data[:0], t.data[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return strings.TrimSpace(strings.ToValidUTF8(string(t.data), "?")) }
