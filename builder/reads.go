package builder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"
	"sync"

	"github.com/ingot-image/ingot/builder/agent"
	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/layer"
)

// The kinds of layer.Read.
const (
	readObject    = "object"    // of S3, read or written
	readListing   = "listing"   // of S3
	readParameter = "parameter" // of the Parameter Store
	readComponent = "component" // a document that another one runs
)

// absent is the digest of what was asked for and is not there.
const absent = "absent"

// reads stands between the documents in a guest and the services of the host, and notes what they are told: what a layer's steps were told
// decides the layer as much as what they say. An object that a document uploads is noted, too: its layer stands for the upload as long as
// the object has that content.
type reads struct {
	services agent.Services
	mac      func() hash.Hash
	sum      func(parts ...string) string

	mu      sync.Mutex
	noted   map[[2]string]string // kind and name → digest
	order   [][2]string
	spoiled string   // why no layer can stand for what was read
	secrets []string // values that no output may show
}

func newReads(services agent.Services, store *layer.Store) *reads {
	return &reads{services: services, mac: store.MAC, sum: store.Sum, noted: map[[2]string]string{}}
}

// note takes down an answer. An answer that differs from an earlier one, or an error that says nothing about what is there, leaves nothing
// that could be compared later.
func (r *reads) note(kind, name, digest string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if errors.Is(err, component.ErrNotFound) {
		digest, err = absent, nil
	}
	key := [2]string{kind, name}
	before, known := r.noted[key]
	switch {
	case err != nil:
		r.spoiled = fmt.Sprintf("%s %s could not be read", kind, name)
	case known && before != digest:
		r.spoiled = fmt.Sprintf("%s %s changed while the components ran", kind, name)
	case !known:
		r.noted[key] = digest
		r.order = append(r.order, key)
	}
}

// wrote takes down what an object was made.
func (r *reads) wrote(name, digest string, err error) {
	if err != nil {
		r.note(readObject, name, "", fmt.Errorf("put: %v", err)) // not found or not, it tells nothing
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	key := [2]string{readObject, name}
	before, known := r.noted[key]
	if !known {
		r.order = append(r.order, key)
	} else if before != digest {
		r.spoiled = fmt.Sprintf("object %s was read and written by the same component", name)
	}
	r.noted[key] = digest
}

// take gives what was noted since the last call, and why it is no good if it is not.
func (r *reads) take() (noted []layer.Read, spoiled string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, key := range r.order {
		noted = append(noted, layer.Read{Kind: key[0], Name: key[1], Digest: r.noted[key]})
	}
	clear(r.noted)
	r.order = nil
	return noted, r.spoiled
}

// keepSecret notes a value that the host was told in confidence.
func (r *reads) keepSecret(p component.StoredParameter) {
	if p.Type != component.ParameterSecureString {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.secrets = append(r.secrets, p.Value)
}

// redact gives the values that must be kept out of what is told.
func (r *reads) redact() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.secrets...)
}

// recorded gives the services to documents whose reads are to be noted.
func (r *reads) recorded() agent.Services {
	var s agent.Services
	if r.services.S3 != nil {
		s.S3 = recordedS3{r}
	}
	if r.services.Parameters != nil {
		s.Parameters = recordedParameters{r}
	}
	if r.services.Components != nil {
		s.Components = recordedComponents{r}
	}
	return s
}

type recordedS3 struct{ *reads }

// placeName and listingName are the names of such reads: JSON, from which they can be read again.
func placeName(p component.S3Place) string {
	name, _ := json.Marshal(p)
	return string(name)
}

type listing struct {
	component.S3Place
	Limit int `json:"limit"`
}

func listingName(p component.S3Place, limit int) string {
	name, _ := json.Marshal(listing{p, limit})
	return string(name)
}

func (r *reads) sumListing(objects []component.S3Object) string {
	var parts []string
	for _, o := range objects {
		parts = append(parts, o.Key, strconv.FormatInt(o.Size, 10))
	}
	return r.sum(parts...)
}

func (s recordedS3) List(ctx context.Context, prefix component.S3Place, limit int) ([]component.S3Object, error) {
	objects, err := s.services.S3.List(ctx, prefix, limit)
	s.note(readListing, listingName(prefix, limit), s.sumListing(objects), err)
	return objects, err
}

func (s recordedS3) Get(ctx context.Context, place component.S3Place, w io.Writer) error {
	h := s.mac()
	err := s.services.S3.Get(ctx, place, io.MultiWriter(w, h))
	s.note(readObject, placeName(place), fmt.Sprintf("%x", h.Sum(nil)), err)
	return err
}

func (s recordedS3) Put(ctx context.Context, place component.S3Place, content io.Reader, size int64) error {
	h := s.mac()
	err := s.services.S3.Put(ctx, place, io.TeeReader(content, h), size)
	s.wrote(placeName(place), fmt.Sprintf("%x", h.Sum(nil)), err)
	return err
}

type recordedParameters struct{ *reads }

func (s recordedParameters) Parameter(ctx context.Context, name string) (component.StoredParameter, error) {
	p, err := s.services.Parameters.Parameter(ctx, name)
	s.keepSecret(p)
	s.note(readParameter, name, s.sum(p.Type, p.Value), err)
	return p, err
}

type recordedComponents struct{ *reads }

func (s recordedComponents) Component(ctx context.Context, arn string) ([]byte, error) {
	document, err := s.services.Components.Component(ctx, arn)
	s.note(readComponent, arn, s.sum(string(document)), err)
	return document, err
}

// current tells whether what was read once would be read again today. What cannot be found out is not.
func (r *reads) current(ctx context.Context, noted []layer.Read) (bool, error) {
	for _, read := range noted {
		digest, err := r.again(ctx, read)
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if errors.Is(err, component.ErrNotFound) {
			digest, err = absent, nil
		}
		if err != nil || digest != read.Digest {
			return false, nil
		}
	}
	return true, nil
}

// errUnknownRead is of a read that this program would not note.
var errUnknownRead = errors.New("a read of an unknown kind")

// again reads once more.
func (r *reads) again(ctx context.Context, read layer.Read) (digest string, err error) {
	switch {
	case read.Kind == readObject && r.services.S3 != nil:
		var place component.S3Place
		if err := json.Unmarshal([]byte(read.Name), &place); err != nil {
			return "", err
		}
		h := r.mac()
		err = r.services.S3.Get(ctx, place, h)
		return fmt.Sprintf("%x", h.Sum(nil)), err
	case read.Kind == readListing && r.services.S3 != nil:
		var l listing
		if err := json.Unmarshal([]byte(read.Name), &l); err != nil {
			return "", err
		}
		objects, err := r.services.S3.List(ctx, l.S3Place, l.Limit)
		return r.sumListing(objects), err
	case read.Kind == readParameter && r.services.Parameters != nil:
		p, err := r.services.Parameters.Parameter(ctx, read.Name)
		r.keepSecret(p)
		return r.sum(p.Type, p.Value), err
	case read.Kind == readComponent && r.services.Components != nil:
		document, err := r.services.Components.Component(ctx, read.Name)
		return r.sum(string(document)), err
	}
	return "", errUnknownRead
}
