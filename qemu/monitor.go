package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/digitalocean/go-qemu/qmp"
)

// ErrMonitorClosed is returned, wrapped with the reason, by every command on a monitor whose connection has ended.
var ErrMonitorClosed = errors.New("qmp: connection closed")

// CommandError is QEMU's refusal of a command.
type CommandError struct {
	Command string
	Class   string // GenericError, CommandNotFound, DeviceNotFound …
	Desc    string
}

func (e *CommandError) Error() string { return fmt.Sprintf("qmp %s: %s", e.Command, e.Desc) }

// Monitor is a client of the QEMU Machine Protocol (docs/interop/qmp-spec of QEMU). It is a qmp.Monitor of
// digitalocean/go-qemu, so that the typed commands of its package qmp/raw work with it:
//
//	status, err := raw.NewMonitor(vm.Monitor()).QueryStatus()
//
// Unlike that library's own socket monitor it matches replies by id, takes contexts, has no limit on a reply's
// size, and delivers events through queues of unbounded length, so that a slow receiver delays nobody.
// All methods may be called from several goroutines.
type Monitor struct {
	conn    net.Conn
	writing chan struct{} // held while a command is written
	done    chan struct{} // closed when the reader has ended

	connectOnce sync.Once
	connectErr  error
	version     qmp.Version

	mu      sync.Mutex
	started bool // the reader runs
	nextID  uint64
	pending map[uint64]chan<- reply
	queues  map[*eventQueue]struct{}
	err     error // why the connection ended
}

var _ qmp.Monitor = (*Monitor)(nil)

type reply struct {
	value json.RawMessage
	err   *CommandError
	lost  error // the connection ended
}

// message is any of QMP's server messages but the greeting.
type message struct {
	qmp.Event
	ID     *uint64         `json:"id"`
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Class string `json:"class"`
		Desc  string `json:"desc"`
	} `json:"error"`
}

// NewMonitor makes a monitor of a connection to a QMP server; Connect must be called before the first command.
func NewMonitor(conn net.Conn) *Monitor {
	return &Monitor{
		conn:    conn,
		writing: make(chan struct{}, 1),
		done:    make(chan struct{}),
		pending: map[uint64]chan<- reply{},
		queues:  map[*eventQueue]struct{}{},
	}
}

// DialMonitor connects to a QMP server ("unix" and a path, or "tcp" and an address) and greets it.
func DialMonitor(ctx context.Context, network, address string) (*Monitor, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("dial qmp: %w", err)
	}
	m := NewMonitor(conn)
	if err := m.ConnectContext(ctx); err != nil {
		return nil, err
	}
	return m, nil
}

// Connect is ConnectContext without a context.
func (m *Monitor) Connect() error { return m.ConnectContext(context.Background()) }

// ConnectContext receives QEMU's greeting and enters command mode. Only the first call does anything; the others
// return its result. If it fails the connection is closed.
func (m *Monitor) ConnectContext(ctx context.Context) error {
	m.connectOnce.Do(func() {
		if m.connectErr = m.connect(ctx); m.connectErr != nil {
			m.Disconnect()
		}
	})
	return m.connectErr
}

func (m *Monitor) connect(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { m.conn.SetReadDeadline(time.Unix(1, 0)) })
	dec := json.NewDecoder(m.conn)
	var greeting struct {
		QMP *struct {
			Version qmp.Version `json:"version"`
		} `json:"QMP"`
	}
	err := dec.Decode(&greeting)
	if !stop() {
		err = ctx.Err()
	}
	if err == nil && greeting.QMP == nil {
		err = errors.New("the server does not speak QMP")
	}
	if err != nil {
		return fmt.Errorf("qmp greeting: %w", err)
	}
	m.version = greeting.QMP.Version
	m.mu.Lock()
	if m.err != nil {
		m.mu.Unlock()
		return m.err
	}
	m.started = true
	m.mu.Unlock()
	go m.read(dec)
	return m.Execute(ctx, "qmp_capabilities", nil, nil)
}

// Version returns QEMU's version as its greeting gave it.
func (m *Monitor) Version() qmp.Version { return m.version }

// Done is closed when the connection has ended and all events have been handed to their queues.
func (m *Monitor) Done() <-chan struct{} { return m.done }

// Disconnect closes the connection. Commands under way fail with ErrMonitorClosed and event channels are closed
// once their queues are empty. It never blocks on a receiver of events.
func (m *Monitor) Disconnect() error {
	m.mu.Lock()
	started := m.started
	if !started && m.err == nil {
		m.started = true
		m.endLocked(errors.New("disconnected"))
		close(m.done)
	}
	m.mu.Unlock()
	err := m.conn.Close()
	<-m.done
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// read takes messages until the connection ends. It never waits for a receiver.
func (m *Monitor) read(dec *json.Decoder) {
	defer close(m.done)
	for {
		var msg message
		if err := dec.Decode(&msg); err != nil {
			m.conn.Close()
			m.mu.Lock()
			m.endLocked(err)
			m.mu.Unlock()
			return
		}
		m.mu.Lock()
		switch {
		case msg.Event.Event != "":
			for q := range m.queues {
				q.push(msg.Event)
			}
		case msg.ID != nil:
			if ch, ok := m.pending[*msg.ID]; ok {
				delete(m.pending, *msg.ID)
				r := reply{value: msg.Return}
				if msg.Error != nil {
					r.err = &CommandError{Class: msg.Error.Class, Desc: msg.Error.Desc}
				}
				ch <- r // has room for the one reply
			}
		}
		m.mu.Unlock()
	}
}

func (m *Monitor) endLocked(cause error) {
	m.err = fmt.Errorf("%w: %w", ErrMonitorClosed, cause)
	for _, ch := range m.pending {
		ch <- reply{lost: m.err}
	}
	clear(m.pending)
	for q := range m.queues {
		q.end()
	}
	clear(m.queues)
}

// Execute runs one command. args (nil for none) becomes its arguments, and its result is stored in out unless that
// is nil. QEMU's refusal is a *CommandError. When ctx ends first the command may still be carried out.
func (m *Monitor) Execute(ctx context.Context, command string, args, out any) error {
	fields := map[string]any{"execute": command}
	if args != nil {
		fields["arguments"] = args
	}
	value, err := m.roundTrip(ctx, command, fields)
	if err != nil || out == nil {
		return err
	}
	if err := json.Unmarshal(value, out); err != nil {
		return fmt.Errorf("qmp %s: result: %w", command, err)
	}
	return nil
}

// Run is RunContext without a context.
func (m *Monitor) Run(command []byte) ([]byte, error) {
	return m.RunContext(context.Background(), command)
}

// RunContext runs one command given as QMP's JSON object, and returns the whole reply, {"return": …}, with the
// command's id if it had one. QEMU's refusal is a *CommandError.
func (m *Monitor) RunContext(ctx context.Context, command []byte) ([]byte, error) {
	var fields map[string]any
	var head struct {
		Execute string          `json:"execute"`
		OOB     string          `json:"exec-oob"`
		ID      json.RawMessage `json:"id"`
	}
	raw := map[string]json.RawMessage{}
	if err := errors.Join(json.Unmarshal(command, &raw), json.Unmarshal(command, &head)); err != nil {
		return nil, fmt.Errorf("qmp: command: %w", err)
	}
	fields = make(map[string]any, len(raw))
	for k, v := range raw {
		fields[k] = v
	}
	value, err := m.roundTrip(ctx, firstOf(head.Execute, head.OOB), fields)
	if err != nil {
		return nil, err
	}
	return json.Marshal(struct {
		Return json.RawMessage `json:"return"`
		ID     json.RawMessage `json:"id,omitempty"`
	}{value, head.ID})
}

// roundTrip sends the command under an id of its own and waits for the reply with that id.
func (m *Monitor) roundTrip(ctx context.Context, name string, fields map[string]any) (json.RawMessage, error) {
	ch := make(chan reply, 1)
	m.mu.Lock()
	if m.err != nil || !m.started {
		err := m.err
		m.mu.Unlock()
		if err == nil {
			err = errors.New("qmp: not connected")
		}
		return nil, err
	}
	m.nextID++
	id := m.nextID
	m.pending[id] = ch
	m.mu.Unlock()
	forget := func() {
		m.mu.Lock()
		delete(m.pending, id)
		m.mu.Unlock()
	}
	fields["id"] = id
	line, err := json.Marshal(fields)
	if err != nil {
		forget()
		return nil, fmt.Errorf("qmp %s: %w", name, err)
	}
	if err := m.write(ctx, append(line, '\n')); err != nil {
		forget()
		return nil, fmt.Errorf("qmp %s: %w", name, err)
	}
	select {
	case r := <-ch:
		if r.lost != nil {
			return nil, fmt.Errorf("qmp %s: %w", name, r.lost)
		}
		if r.err != nil {
			r.err.Command = name
			return nil, r.err
		}
		return r.value, nil
	case <-ctx.Done():
		forget()
		return nil, fmt.Errorf("qmp %s: %w", name, ctx.Err())
	}
}

// write sends one whole line. A line cut short by the context leaves the connection useless, so it is closed.
func (m *Monitor) write(ctx context.Context, line []byte) error {
	select {
	case m.writing <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	case <-m.done:
		return m.closedErr()
	}
	defer func() { <-m.writing }()
	if err := ctx.Err(); err != nil {
		return err
	}
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		m.conn.SetWriteDeadline(time.Unix(1, 0))
		close(interrupted)
	})
	n, err := m.conn.Write(line)
	if !stop() {
		<-interrupted
		m.conn.SetWriteDeadline(time.Time{})
	}
	if err == nil {
		return nil
	}
	if n > 0 || ctx.Err() == nil {
		m.conn.Close()
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w: %w", ErrMonitorClosed, err)
}

func (m *Monitor) closedErr() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}
