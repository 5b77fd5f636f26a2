package agent

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/ingot-image/ingot/builder/component"
)

// hostServices are the runs of a guest that may ask the host for something. The zero value has none.
type hostServices struct {
	mu   sync.Mutex
	runs map[string]*hostService
}

// open makes the services of a run, until close.
func (s *hostServices) open(id string) *hostService {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.runs == nil {
		s.runs = map[string]*hostService{}
	}
	h := &hostService{offers: make(chan *offered), ended: make(chan struct{})}
	s.runs[id] = h
	return h
}

func (s *hostServices) close(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.runs[id].ended)
	delete(s.runs, id)
}

// take gives a stream that the host offers to the run it is for, and returns when the stream is of no more use.
func (s *hostServices) take(ctx context.Context, req serveRequest, stream *yamux.Stream, r *bufio.Reader) {
	s.mu.Lock()
	h := s.runs[req.Run]
	s.mu.Unlock()
	if h == nil {
		return
	}
	// The host says nothing before it is asked: what can be read now is the end of the stream.
	answered := make(chan struct{})
	go func() {
		r.Peek(1)
		close(answered)
	}()
	o := &offered{stream: stream, r: r, answered: answered, done: make(chan struct{})}
	select {
	case h.offers <- o:
		<-o.done
	case <-answered:
	case <-h.ended:
	case <-ctx.Done():
	}
}

// offered is a stream on which one thing may be asked for.
type offered struct {
	stream   *yamux.Stream
	r        *bufio.Reader // not to be read before answered is closed
	answered <-chan struct{}
	done     chan struct{}
	last     *serviceResponse // the last line of the answer, if it is read already
}

// hostService asks the host for what a run's documents need. It is the S3, ParameterStore and ComponentSource of the guest.
type hostService struct {
	offers chan *offered
	ended  chan struct{}
}

// system puts the services that there are into a system.
func (h *hostService) system(kinds runServices) (s component.System) {
	if kinds.S3 {
		s.S3 = h
	}
	if kinds.Parameters {
		s.Parameters = h
	}
	if kinds.Components {
		s.Components = h
	}
	return s
}

// hostError is an error that the host told.
type hostError struct {
	message  string
	notFound bool
}

func (e *hostError) Error() string { return e.message }

// Is keeps what callers look for.
func (e *hostError) Is(target error) bool { return e.notFound && target == component.ErrNotFound }

// ask sends a request and returns the last line of its answer. exchange moves the body, if there is one, before that line.
func (h *hostService) ask(ctx context.Context, req serviceRequest, exchange func(*offered) error) (resp serviceResponse, err error) {
	var o *offered
	select {
	case o = <-h.offers:
	case <-h.ended:
		return resp, errors.New("ask the host: the run has ended")
	case <-ctx.Done():
		return resp, context.Cause(ctx)
	}
	defer close(o.done)
	defer context.AfterFunc(ctx, func() {
		o.stream.SetDeadline(time.Unix(1, 0))
		o.stream.Close()
	})()
	if err = writeLine(o.stream, req); err == nil {
		<-o.answered
		if exchange != nil {
			err = exchange(o)
		}
	}
	if err == nil {
		if resp, err = o.line(); err == nil && !resp.Done {
			err = errors.New("the host says what this agent does not know")
		}
	}
	switch {
	case ctx.Err() != nil:
		return resp, context.Cause(ctx)
	case err != nil:
		return resp, fmt.Errorf("ask the host: %w", err)
	}
	return resp, resp.err()
}

// line reads a line of the answer, once.
func (o *offered) line() (resp serviceResponse, err error) {
	if o.last != nil {
		return *o.last, nil
	}
	err = readLine(o.r, &resp)
	return resp, err
}

func (r serviceResponse) err() error {
	if r.Error == "" {
		return nil
	}
	return &hostError{r.Error, r.NotFound}
}

// List lists objects.
func (h *hostService) List(ctx context.Context, prefix component.S3Place, limit int) ([]component.S3Object, error) {
	resp, err := h.ask(ctx, serviceRequest{List: &listRequest{prefix, limit}}, nil)
	return resp.Objects, err
}

// Get reads an object.
func (h *hostService) Get(ctx context.Context, place component.S3Place, w io.Writer) error {
	_, err := h.ask(ctx, serviceRequest{Get: &place}, func(o *offered) error { return readChunks(w, o.r) })
	return err
}

func readChunks(w io.Writer, r io.Reader) error {
	for {
		var length [4]byte
		if _, err := io.ReadFull(r, length[:]); err != nil {
			return err
		}
		n := binary.BigEndian.Uint32(length[:])
		if n == 0 {
			return nil
		}
		if n > maxChunk {
			return errors.New("a chunk is too large")
		}
		if _, err := io.CopyN(w, r, int64(n)); err != nil {
			return err
		}
	}
}

// Put writes an object.
func (h *hostService) Put(ctx context.Context, place component.S3Place, r io.Reader, size int64) error {
	_, err := h.ask(ctx, serviceRequest{Put: &putObjectRequest{place, size}}, func(o *offered) error {
		resp, err := o.line()
		if err != nil {
			return err
		}
		if !resp.Go {
			o.last = &resp
			return nil
		}
		// A host that gives up in the middle answers, and reads no more.
		answered := make(chan struct{})
		go func() {
			o.r.Peek(1)
			close(answered)
			o.stream.SetWriteDeadline(time.Unix(1, 0))
		}()
		_, err = io.CopyN(o.stream, r, size)
		if err == nil {
			<-answered
			return nil
		}
		select {
		case <-answered: // the answer says why
			return nil
		default:
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return err
	})
	return err
}

// Parameter asks for a parameter.
func (h *hostService) Parameter(ctx context.Context, name string) (component.StoredParameter, error) {
	resp, err := h.ask(ctx, serviceRequest{Parameter: &name}, nil)
	if err != nil {
		return component.StoredParameter{}, err
	}
	if resp.Parameter == nil {
		return component.StoredParameter{}, fmt.Errorf("the host gave no parameter: %w", component.ErrNotFound)
	}
	return *resp.Parameter, nil
}

// Component asks for a component's document.
func (h *hostService) Component(ctx context.Context, arn string) ([]byte, error) {
	resp, err := h.ask(ctx, serviceRequest{Component: &arn}, nil)
	return resp.Component, err
}
