package agent

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/hashicorp/yamux"

	"github.com/ingot-image/ingot/builder/component"
)

// What a run says goes to the host in frames. An event is a response as JSON, but what a step prints is by far the most of it, and goes
// bare: a frame of text belongs to the output event that was last sent as JSON, of which it holds another Time (eight bytes, nanoseconds
// since 1970) and Text (the rest).
//
// Small events go into a buffer, which a goroutine empties: what comes within a moment goes in one piece. Large texts are not copied there
// but written at once: in a guest under emulation copies cost more than anything else.

const (
	// eventDelay is how long an event may wait for others.
	eventDelay = time.Millisecond
	// eventBatch is how much of it does not wait, and eventBuffer when the engine must.
	eventBatch  = 64 << 10
	eventBuffer = 512 << 10
	// directText is the size from which on a text is not copied.
	directText = 16 << 10
)

// eventWriter sends events as frames.
type eventWriter struct {
	w    io.Writer
	last component.Event // the output event sent last as JSON, without Time and Text

	writing sync.Mutex // held while something is written
	spare   []byte     // the buffer that is being written, or was

	mu      sync.Mutex
	changed *sync.Cond // the buffer was taken, or there is an error
	buf     []byte
	err     error
	wake    chan struct{} // has room for one: there is something to send
	urgent  chan struct{} // has room for one: and it should not wait
	done    chan struct{}
}

func newEventWriter(w io.Writer) *eventWriter {
	e := &eventWriter{w: w, wake: make(chan struct{}, 1), urgent: make(chan struct{}, 1), done: make(chan struct{})}
	e.changed = sync.NewCond(&e.mu)
	go e.empty()
	return e
}

// event takes one event. It and output are not called twice at once; they wait while the host does not take what came before.
func (e *eventWriter) event(event component.Event) {
	if event.Type != component.Output {
		e.json(response{Event: &event})
		return
	}
	text := event.Text
	event.Text = ""
	e.output(event, []byte(text))
}

// output takes an output event and its text.
func (e *eventWriter) output(event component.Event, text []byte) {
	at := event.Time
	event.Time = time.Time{}
	if event != e.last {
		e.json(response{Event: &event})
		e.last = event
	}
	e.mu.Lock()
	e.buf = append(e.buf, byte(frameText))
	e.buf = binary.BigEndian.AppendUint32(e.buf, uint32(8+len(text)))
	e.buf = binary.BigEndian.AppendUint64(e.buf, uint64(at.UnixNano()))
	if len(text) < directText {
		e.buf = append(e.buf, text...)
		e.added()
		return
	}
	// Nobody else adds anything meanwhile: the text follows what was just added, whoever writes that.
	e.mu.Unlock()
	e.flush(text)
}

func (e *eventWriter) json(r response) {
	data, err := json.Marshal(r)
	e.mu.Lock()
	if err != nil {
		e.err = errors.Join(e.err, err)
	} else {
		e.buf = appendFrame(e.buf, frameAnswer, data)
	}
	e.added()
}

// added tells of what is new in the buffer, and unlocks.
func (e *eventWriter) added() {
	signal(e.wake)
	if len(e.buf) >= eventBatch {
		signal(e.urgent)
	}
	for len(e.buf) >= eventBuffer && e.err == nil {
		e.changed.Wait()
	}
	e.mu.Unlock()
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// empty sends what is in the buffer until close.
func (e *eventWriter) empty() {
	defer close(e.done)
	for range e.wake {
		select {
		case <-e.urgent:
		case <-time.After(eventDelay):
		}
		e.flush(nil)
	}
}

// flush sends what is in the buffer, and a text after it.
func (e *eventWriter) flush(text []byte) {
	e.writing.Lock()
	defer e.writing.Unlock()
	e.mu.Lock()
	batch, err := e.buf, e.err
	e.buf = e.spare[:0]
	e.changed.Broadcast()
	e.mu.Unlock()
	if err == nil && len(batch) > 0 {
		_, err = e.w.Write(batch)
	}
	if err == nil && len(text) > 0 {
		_, err = e.w.Write(text)
	}
	e.spare = batch
	e.mu.Lock()
	if err != nil {
		e.err = err
	}
	e.changed.Broadcast()
	e.mu.Unlock()
}

// close sends the last answer and all before it.
func (e *eventWriter) close(last response) error {
	e.json(last)
	signal(e.urgent)
	close(e.wake)
	<-e.done
	return e.err
}

// run is the guest's side of Client.Run.
func (s *Server) run(ctx context.Context, req component.Request, services *runServices, stream *yamux.Stream) error {
	events := newEventWriter(stream)
	runner := &component.Runner{Modules: s.Modules, Events: events.event, Output: events.output, OutputLimit: -1}
	if services != nil {
		runner.System = s.services.open(services.ID).system(*services)
		defer s.services.close(services.ID)
		events.json(response{Serving: true})
	}
	result, err := runner.Run(ctx, req)
	if err != nil {
		return events.close(response{Error: err.Error()})
	}
	return events.close(response{Result: result})
}

// run asks for a run and follows it.
func (c *Client) run(ctx context.Context, req component.Request, services Services, events func(component.Event)) (*component.Result, error) {
	stream, err := c.open(ctx)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	defer endWith(ctx, stream)()
	service := c.service(services)
	defer service.end()
	serving, stop := context.WithCancel(ctx)
	defer stop()
	if err := writeLine(stream, request{Run: &req, Services: service.announcement()}); err != nil {
		return nil, cutOff(ctx, err)
	}
	if events == nil {
		events = func(component.Event) {}
	}
	in := &frameReader{r: bufio.NewReaderSize(stream, 256<<10)}
	var last component.Event
	for {
		kind, content, err := in.next()
		if err != nil {
			return nil, cutOff(ctx, err)
		}
		switch kind {
		case frameText:
			if last.Type != component.Output || len(content) < 8 || !utf8.Valid(content[8:]) {
				return nil, cutOff(ctx, errGuestFrame)
			}
			last.Time = time.Unix(0, int64(binary.BigEndian.Uint64(content)))
			last.Text = string(content[8:])
			events(last)
		case frameAnswer:
			var resp response
			if err := json.Unmarshal(content, &resp); err != nil {
				return nil, cutOff(ctx, err)
			}
			switch {
			case resp.Error != "":
				return nil, errors.New(resp.Error)
			case resp.Serving:
				service.start(serving)
			case resp.Result != nil:
				return resp.Result, nil
			case resp.Event == nil:
			case resp.Event.Type == component.Output:
				last = *resp.Event
			default:
				events(*resp.Event)
			}
		default:
			return nil, cutOff(ctx, errGuestFrame)
		}
	}
}
