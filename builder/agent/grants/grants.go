// Package grants bounds what a guest gets from the host while its documents run: nothing but what the documents name.
//
//	services = grants.Limit(services, request, action.Modules())
//	result, err := client.Run(ctx, request, services, events)
//
// A guest is hostile as a rule of Ingot's: whatever runs in it may ask the host in the name of the documents. The host knows the
// documents, for it sent them, and reads off them what they can ask for:
//
//   - S3Download, InstallMSI and UninstallMSI name objects to read, S3Upload names where to write, ExecuteDocument a document to read.
//     Parameters and constants are filled in, and so are the values of loops over literal lists; stored parameters are looked up.
//     An address that is then literal grants that object, or what is below it for a wildcard and for uploads. One with references that
//     only a run can tell, such as outputs of steps, grants what begins with its literal part, if that has at least the whole bucket,
//     and nothing otherwise: the bucket must be written literally or as a parameter.
//   - {{ aws:ssm:NAME }} anywhere in a step grants that parameter, resolve() the names it leads to.
//   - A document that the host gave out for an ExecuteDocument grants what it names itself, with the parameters of that step.
//     Documents that come from the guest's own disk grant nothing.
//
// An expected bucket owner that the document states literally is asked for even when the guest leaves it out.
package grants

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/ingot-image/ingot/builder/agent"
	"github.com/ingot-image/ingot/builder/component"
)

// set is what a run may ask for. It grows while the run goes on.
type set struct {
	services agent.Services
	modules  component.Modules

	mu         sync.Mutex
	known      map[string]string // stored parameters that grants depend on
	objects    []objects
	parameters []pattern
	documents  []*nested
	added      int
}

// Limit returns services that give only what the request's documents name in its phases. They are good for all parts of the run, also
// those after a reboot. What is nil stays nil.
func Limit(services agent.Services, req component.Request, modules component.Modules) agent.Services {
	s := &set{services: services, modules: modules, known: map[string]string{}}
	for _, d := range req.Documents {
		document, err := component.Parse(cmp.Or(d.Path, d.Name), d.Content, modules)
		if err != nil || document == nil {
			continue // the run will end with the mistakes
		}
		given := values{}
		for name, value := range d.Parameters {
			given[name] = literal(value)
		}
		s.add(document, given, req.Phases, 0)
	}
	var limited agent.Services
	if services.S3 != nil {
		limited.S3 = s3{s}
	}
	if services.Parameters != nil {
		limited.Parameters = parameters{s}
	}
	if services.Components != nil {
		limited.Components = components{s}
	}
	return limited
}

func (s *set) grantParameter(name pattern) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parameters = append(s.parameters, name)
}

func (s *set) grantObjects(o objects) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects = append(s.objects, o)
}

func (s *set) grantDocument(d *nested) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.documents = append(s.documents, d)
}

// Parameter gives a stored parameter that a document names, for what the grants depend on. It is asked for once: how often the guest
// asks for something must not be how often the host does.
func (s *set) Parameter(ctx context.Context, name string) (component.StoredParameter, error) {
	s.mu.Lock()
	value, known := s.known[name]
	s.mu.Unlock()
	if known {
		return component.StoredParameter{Value: value}, nil
	}
	p, err := s.services.Parameters.Parameter(ctx, name)
	if err == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.known[name] = p.Value
	}
	return p, err
}

// store is where grants look stored parameters up.
func (s *set) store() component.ParameterStore {
	if s.services.Parameters == nil {
		return nil
	}
	return s
}

// granted returns what is granted so far.
func (s *set) granted() ([]objects, []pattern, []*nested) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.objects[:len(s.objects):len(s.objects)], s.parameters[:len(s.parameters):len(s.parameters)], s.documents[:len(s.documents):len(s.documents)]
}

// run grants what a document names that the host gave out.
func (s *set) run(content []byte, as *nested) {
	s.mu.Lock()
	s.added++
	over := s.added > maxDocuments
	s.mu.Unlock()
	if over {
		return
	}
	document, err := component.Parse("document", content, s.modules)
	if err != nil || document == nil {
		return
	}
	s.add(document, as.parameters, nil, as.depth)
}

// area is what an objects grant covers.
type area struct {
	bucket, key string
	prefix      bool // key is what keys begin with
}

// area resolves a grant's address. False means that it grants nothing.
func (o objects) area(ctx context.Context, store component.ParameterStore) (area, bool) {
	const scheme = "s3://"
	text, whole := o.address.fixed(ctx, store)
	if len(text) < len(scheme) || !strings.EqualFold(text[:len(scheme)], scheme) {
		return area{}, false
	}
	bucket, key, slash := strings.Cut(text[len(scheme):], "/")
	if bucket == "" || !whole && !slash {
		return area{}, false
	}
	a := area{bucket: bucket, key: key, prefix: !whole}
	if folder, wildcard := strings.CutSuffix(key, "*"); wildcard && whole {
		a.key, a.prefix = folder, true
	}
	if key == "" || strings.HasSuffix(key, "/") && o.tree {
		a.prefix = true
	}
	return a, true
}

// covers tells whether the grant allows an operation on a key.
func (a area) covers(bucket, key string, tree bool) bool {
	if bucket != a.bucket {
		return false
	}
	if a.prefix {
		return strings.HasPrefix(key, a.key)
	}
	return key == a.key || tree && strings.HasPrefix(key, a.key+"/")
}

// allow finds the grants that cover a place and returns the place with the owner that they want. A document's are returned, too.
func (s *set) allow(ctx context.Context, place component.S3Place, write bool) (component.S3Place, []*nested, error) {
	all, _, _ := s.granted()
	var documents []*nested
	allowed := false
	for _, o := range all {
		if o.write != write {
			continue
		}
		a, ok := o.area(ctx, s.store())
		if !ok || !a.covers(place.Bucket, place.Key, o.tree) {
			continue
		}
		if owner, known := o.owner.fixed(ctx, s.store()); known && owner != "" {
			if place.ExpectedBucketOwner != "" && place.ExpectedBucketOwner != owner {
				continue
			}
			place.ExpectedBucketOwner = owner
		}
		allowed = true
		if o.document != nil {
			documents = append(documents, o.document)
		}
	}
	if !allowed {
		return place, nil, deniedObject(place, write)
	}
	return place, documents, nil
}

func deniedObject(place component.S3Place, write bool) error {
	verb := "read"
	if write {
		verb = "write"
	}
	return fmt.Errorf("no document of this run says to %s s3://%s/%s, so the host does not; in an address at least the bucket must be "+
		"written literally or as a parameter, and documents from the guest's own disk cannot use S3", verb, place.Bucket, place.Key)
}

// s3 is S3 as far as it is granted.
type s3 struct{ *set }

// List lists what may be read: of a prefix within a grant.
func (s s3) List(ctx context.Context, prefix component.S3Place, limit int) ([]component.S3Object, error) {
	place, _, err := s.allow(ctx, prefix, false)
	if err != nil {
		return nil, err
	}
	found, err := s.services.S3.List(ctx, place, limit)
	if err != nil {
		return nil, err
	}
	// The grant may be of one object, and the listing of all that begin like it.
	objects := []component.S3Object{}
	for _, o := range found {
		if _, _, err := s.allow(ctx, component.S3Place{Bucket: place.Bucket, Key: o.Key, ExpectedBucketOwner: place.ExpectedBucketOwner}, false); err == nil {
			objects = append(objects, o)
		}
	}
	return objects, nil
}

// Get reads an object. One that is a document is looked at before the guest has the last of it.
func (s s3) Get(ctx context.Context, place component.S3Place, w io.Writer) error {
	place, documents, err := s.allow(ctx, place, false)
	if err != nil {
		return err
	}
	if len(documents) == 0 {
		return s.services.S3.Get(ctx, place, w)
	}
	var content head
	if err := s.services.S3.Get(ctx, place, io.MultiWriter(w, &content)); err != nil {
		return err
	}
	for _, d := range documents {
		s.run(content.Bytes(), d)
	}
	return nil
}

// head keeps what may be a document.
type head struct{ bytes.Buffer }

func (h *head) Write(p []byte) (int, error) {
	if room := component.MaxDocumentSize + 1 - h.Len(); room > 0 {
		h.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// Put writes an object.
func (s s3) Put(ctx context.Context, place component.S3Place, r io.Reader, size int64) error {
	place, _, err := s.allow(ctx, place, true)
	if err != nil {
		return err
	}
	return s.services.S3.Put(ctx, place, r, size)
}

// parameters is the Parameter Store as far as it is granted.
type parameters struct{ *set }

// Parameter gives a parameter that a document names.
func (p parameters) Parameter(ctx context.Context, name string) (component.StoredParameter, error) {
	_, names, _ := p.granted()
	for _, granted := range names {
		text, whole := granted.fixed(ctx, p.store())
		// A name of which only the beginning is known grants the folder that is in it.
		folder := text[:strings.LastIndexByte(text, '/')+1]
		if whole && strings.TrimSpace(text) == name || !whole && len(folder) > 1 && strings.HasPrefix(name, folder) {
			return p.services.Parameters.Parameter(ctx, name)
		}
	}
	return component.StoredParameter{}, fmt.Errorf("no document of this run names the parameter %s, so the host does not give it; "+
		"a name in resolve() must be written literally or as a parameter, and documents from the guest's own disk cannot use the Parameter Store", name)
}

// components gives documents of components as far as they are granted.
type components struct{ *set }

// Component gives a document that a document names, or may name: where a run tells its name, it can be any.
func (c components) Component(ctx context.Context, arn string) ([]byte, error) {
	_, _, documents := c.granted()
	var matching []*nested
	for _, d := range documents {
		text, whole := d.reference.fixed(ctx, c.store())
		if whole && text == arn || !whole && strings.HasPrefix(arn, text) {
			matching = append(matching, d)
		}
	}
	if len(matching) == 0 {
		return nil, fmt.Errorf("no document of this run names the component %s, so the host does not give it", arn)
	}
	content, err := c.services.Components.Component(ctx, arn)
	if err != nil {
		return nil, err
	}
	for _, d := range matching {
		c.run(content, d)
	}
	return content, nil
}
