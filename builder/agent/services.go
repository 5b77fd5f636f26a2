package agent

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/ingot-image/ingot/builder/component"
)

// Services are what documents in a guest may reach outside of it. The host asks for them with its own credentials; those never enter
// the guest. What is nil is not available to the documents.
//
// A guest may ask for anything that the services give. Package grants makes services that give only what a run's documents name.
//
// # Wire
//
// The guest never opens streams. While a run with services is under way the host keeps a few streams open on which the guest may ask,
// one request each, and replaces those that are used. So the number of requests at one time is the host's to decide.
type Services struct {
	S3         component.S3
	Parameters component.ParameterStore
	Components component.ComponentSource
}

// The bounds of what a guest may ask for in one Run.
const (
	// MaxObjectSize is that of an object read or written, in bytes.
	MaxObjectSize = 64 << 30
	// MaxListed is how many objects a listing may have.
	MaxListed = 1000

	maxServiceRequests = 20_000
	maxTransferred     = 256 << 30 // bytes of all objects
	lanes              = 4         // requests at one time
	maxServiceLine     = 64 << 10
	maxChunk           = 1 << 20
)

// runServices tells the guest what is available to its run.
type runServices struct {
	ID         string `json:"id"` // of the run
	S3         bool   `json:"s3,omitempty"`
	Parameters bool   `json:"parameters,omitempty"`
	Components bool   `json:"components,omitempty"`
}

// serveRequest offers the rest of its stream to a run, for one serviceRequest.
type serveRequest struct {
	Run string `json:"run"`
}

// serviceRequest is the guest's one line on such a stream. Exactly one field is set.
type serviceRequest struct {
	List      *listRequest       `json:"list,omitempty"`
	Get       *component.S3Place `json:"get,omitempty"`
	Put       *putObjectRequest  `json:"put,omitempty"`
	Parameter *string            `json:"parameter,omitempty"`
	Component *string            `json:"component,omitempty"`
}

type listRequest struct {
	Prefix component.S3Place `json:"prefix"`
	Limit  int               `json:"limit"`
}

type putObjectRequest struct {
	Place component.S3Place `json:"place"`
	Size  int64             `json:"size"`
}

// serviceResponse is a line of the host's answer. The body of an object that the guest gets comes first, in chunks: a length of four
// bytes, big endian, and as many bytes; a length of 0 ends it. The body of one that it puts is sent as it is after the line with Go.
type serviceResponse struct {
	Done      bool                       `json:"done,omitempty"` // the last line
	Error     string                     `json:"error,omitempty"`
	NotFound  bool                       `json:"notFound,omitempty"` // Error is a component.ErrNotFound
	Go        bool                       `json:"go,omitempty"`
	Objects   []component.S3Object       `json:"objects,omitempty"`
	Parameter *component.StoredParameter `json:"parameter,omitempty"`
	Component []byte                     `json:"component,omitempty"`
}

// service is what is offered to the guest during one Run.
type service struct {
	Services
	client *Client
	id     string

	mu          sync.Mutex
	started     bool
	requests    int
	transferred int64

	// busy is held for reading while a stream is in use, and for good once the run is over.
	busy  sync.RWMutex
	ended bool
}

// service returns nil when there is nothing to offer.
func (c *Client) service(s Services) *service {
	if s == (Services{}) {
		return nil
	}
	return &service{Services: s, client: c, id: rand.Text()}
}

func (s *service) announcement() *runServices {
	if s == nil {
		return nil
	}
	return &runServices{ID: s.id, S3: s.S3 != nil, Parameters: s.Parameters != nil, Components: s.Components != nil}
}

// start offers streams to the guest until ctx ends. The guest has said that the run is there to take them; it may say so again.
func (s *service) start(ctx context.Context) {
	if s == nil || s.started {
		return
	}
	s.started = true
	for range lanes {
		go s.lane(ctx)
	}
}

// end waits until nothing is done for the guest any more. The context of start must have ended.
func (s *service) end() {
	if s != nil {
		s.busy.Lock()
		defer s.busy.Unlock()
		s.ended = true
	}
}

// lane offers one stream after the other.
func (s *service) lane(ctx context.Context) {
	for ctx.Err() == nil {
		// A run that ends now must not end the session, as a cancelled open does.
		stream, err := s.client.open(context.WithoutCancel(ctx))
		if err != nil {
			return
		}
		err = s.offer(ctx, stream)
		stream.Close()
		if err != nil {
			return
		}
	}
}

// offer lets the guest ask for one thing. The error says that there is no use in offering another stream.
func (s *service) offer(ctx context.Context, stream *yamux.Stream) error {
	s.busy.RLock()
	defer s.busy.RUnlock()
	if s.ended {
		return context.Canceled
	}
	defer context.AfterFunc(ctx, func() { stream.SetDeadline(time.Unix(1, 0)) })()
	if err := writeLine(stream, request{Serve: &serveRequest{Run: s.id}}); err != nil {
		return err
	}
	r := bufio.NewReaderSize(stream, maxServiceLine)
	line, err := r.ReadSlice('\n')
	if err != nil {
		return err
	}
	var req serviceRequest
	if err := json.Unmarshal(line, &req); err != nil {
		return err
	}
	work, cancel := context.WithCancel(ctx)
	defer cancel()
	left := make(chan error, 1) // nil once the guest has closed its end
	drain := func() {
		_, err := io.Copy(io.Discard, r)
		cancel()
		// Nothing is read any more: an answer that is being written must not wait for it.
		stream.SetWriteDeadline(time.Unix(1, 0))
		left <- err
	}
	if req.Put == nil {
		go drain() // the guest says no more than that it goes away
	}
	var resp serviceResponse
	if err = s.count(ctx); err == nil {
		resp, err = s.answer(work, req, stream, r)
	}
	if err != nil {
		resp = serviceResponse{Error: err.Error(), NotFound: errors.Is(err, component.ErrNotFound)}
	}
	resp.Done = true
	if req.Get != nil {
		stream.Write(make([]byte, 4))
	}
	writeLine(stream, resp)
	stream.Close()
	// The stream takes memory, which the guest can fill, until both ends are closed. So there is no other one before.
	if req.Put != nil {
		go drain()
	}
	select {
	case err := <-left:
		return err
	case <-time.After(lingerLimit):
		stream.SetDeadline(time.Unix(1, 0))
		return errors.New("the guest does not close its streams")
	}
}

// lingerLimit is how long a guest may take to close a stream on which it has its answer.
const lingerLimit = time.Minute

// count refuses requests over the limit, slowly.
func (s *service) count(ctx context.Context) error {
	s.mu.Lock()
	s.requests++
	over := s.requests > maxServiceRequests
	s.mu.Unlock()
	if !over {
		return nil
	}
	select {
	case <-ctx.Done():
	case <-time.After(time.Second):
	}
	return fmt.Errorf("the documents asked the host for more than %d things", maxServiceRequests)
}

var errNotAvailable = errors.New("this is not available here")

// answer does what the guest asks for. Errors are for the guest to tell.
func (s *service) answer(ctx context.Context, req serviceRequest, stream *yamux.Stream, r *bufio.Reader) (resp serviceResponse, err error) {
	objects := req.List != nil || req.Get != nil || req.Put != nil
	switch {
	case objects && s.S3 == nil, req.Parameter != nil && s.Parameters == nil, req.Component != nil && s.Components == nil:
		return resp, errNotAvailable
	case req.List != nil:
		resp.Objects, err = s.S3.List(ctx, req.List.Prefix, min(max(req.List.Limit, 0), MaxListed))
	case req.Get != nil:
		body := &chunks{w: stream, service: s}
		err = s.S3.Get(ctx, *req.Get, body)
	case req.Put != nil:
		return resp, s.put(ctx, *req.Put, stream, r)
	case req.Parameter != nil:
		var p component.StoredParameter
		p, err = s.Parameters.Parameter(ctx, *req.Parameter)
		resp.Parameter = &p
	case req.Component != nil:
		resp.Component, err = s.Components.Component(ctx, *req.Component)
		if len(resp.Component) > component.MaxDocumentSize {
			err = fmt.Errorf("the component has more than %d bytes", component.MaxDocumentSize)
		}
	default:
		err = errors.New("the agent asks for what this ingot does not know")
	}
	return resp, err
}

// put takes an object's body from the guest. The guest starts to send it when it is told to.
func (s *service) put(ctx context.Context, req putObjectRequest, stream *yamux.Stream, r *bufio.Reader) error {
	if req.Size < 0 || req.Size > MaxObjectSize {
		return errTooLarge
	}
	if err := s.transfer(req.Size); err != nil {
		return err
	}
	body := &body{r: r, left: req.Size, start: func() error { return writeLine(stream, serviceResponse{Go: true}) }}
	err := s.S3.Put(ctx, req.Place, body, req.Size)
	if err == nil && body.left > 0 {
		err = fmt.Errorf("the object is %d bytes short", body.left)
	}
	return err
}

var (
	errTooLarge = fmt.Errorf("an object may have at most %d GiB", int64(MaxObjectSize)>>30)
	errTooMuch  = fmt.Errorf("the documents moved more than %d GiB between the guest and S3", int64(maxTransferred)>>30)
)

// transfer counts bytes of objects.
func (s *service) transfer(bytes int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if bytes > maxTransferred-s.transferred {
		return errTooMuch
	}
	s.transferred += bytes
	return nil
}

// body is what a guest sends. It is asked for only when somebody reads it, which is after everything was checked. It never has more
// bytes than the guest said, and fewer are an error.
type body struct {
	r     io.Reader
	left  int64
	start func() error
}

func (b *body) Read(p []byte) (int, error) {
	if b.start != nil {
		if err := b.start(); err != nil {
			return 0, err
		}
		b.start = nil
	}
	if b.left == 0 {
		return 0, io.EOF
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	if err == io.EOF && b.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// chunks sends an object's body to the guest.
type chunks struct {
	w       io.Writer
	service *service
	sent    int64
}

func (c *chunks) Write(p []byte) (n int, err error) {
	for n < len(p) {
		part := p[n:min(n+maxChunk, len(p))]
		if c.sent += int64(len(part)); c.sent > MaxObjectSize {
			return n, errTooLarge
		}
		if err := c.service.transfer(int64(len(part))); err != nil {
			return n, err
		}
		if _, err := c.w.Write(binary.BigEndian.AppendUint32(nil, uint32(len(part)))); err != nil {
			return n, err
		}
		if _, err := c.w.Write(part); err != nil {
			return n, err
		}
		n += len(part)
	}
	return n, nil
}
