package agent

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/ingot-image/ingot/builder/component"
)

// cloud is what lies outside of the guest in tests.
type cloud struct {
	mu      sync.Mutex
	objects map[string][]byte
	busy    atomic.Int32
	most    atomic.Int32
}

func (c *cloud) services() Services { return Services{S3: c, Parameters: c, Components: c} }

func (c *cloud) List(_ context.Context, prefix component.S3Place, limit int) ([]component.S3Object, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var objects []component.S3Object
	for _, key := range slices.Sorted(maps.Keys(c.objects)) {
		if strings.HasPrefix(key, prefix.Bucket+"/"+prefix.Key) {
			objects = append(objects, component.S3Object{Key: strings.TrimPrefix(key, prefix.Bucket+"/"), Size: int64(len(c.objects[key]))})
		}
	}
	if len(objects) > limit {
		return nil, fmt.Errorf("more than %d", limit)
	}
	return objects, nil
}

func (c *cloud) Get(ctx context.Context, place component.S3Place, w io.Writer) error {
	c.most.Store(max(c.most.Load(), c.busy.Add(1)))
	defer c.busy.Add(-1)
	switch place.Key {
	case "endless":
		for {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				return err
			}
		}
	case "stuck":
		<-ctx.Done()
		return ctx.Err()
	case "cut":
		w.Write([]byte("half"))
		return errors.New("the line is dead")
	}
	c.mu.Lock()
	data, ok := c.objects[place.Bucket+"/"+place.Key]
	c.mu.Unlock()
	if !ok {
		return fmt.Errorf("s3://%s/%s: %w", place.Bucket, place.Key, component.ErrNotFound)
	}
	_, err := w.Write(data)
	return err
}

func (c *cloud) Put(_ context.Context, place component.S3Place, r io.Reader, size int64) error {
	if place.Key == "refused" {
		return errors.New("access denied")
	}
	if place.Key == "full" {
		io.CopyN(io.Discard, r, 10)
		return errors.New("the bucket is full")
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.objects[place.Bucket+"/"+place.Key] = data
	return nil
}

func (c *cloud) Parameter(_ context.Context, name string) (component.StoredParameter, error) {
	if name != "/known" {
		return component.StoredParameter{}, component.ErrNotFound
	}
	return component.StoredParameter{Type: component.ParameterSecureString, Value: "hunter2"}, nil
}

func (c *cloud) Component(_ context.Context, arn string) ([]byte, error) {
	if arn == "large" {
		return make([]byte, component.MaxDocumentSize+1), nil
	}
	return []byte("document of " + arn), nil
}

// probe is an action whose work is a function of the test.
type probe struct{}

func (probe) Run(ctx context.Context, x *component.Execution) (component.Outcome, error) {
	return component.Outcome{}, (<-probes)(ctx, x)
}

// probes are what the next probes do. Tests that use it do not run side by side.
var probes = make(chan func(context.Context, *component.Execution) error, 1)

const probeDocument = "schemaVersion: 1.0\nphases:\n  - name: build\n    steps:\n      - {name: Probe, action: Probe}\n"

// inGuest runs a function as an action of a document in a guest.
func inGuest(t *testing.T, services Services, f func(context.Context, *component.Execution) error) (*component.Result, error) {
	t.Helper()
	p, _ := serve(t, component.Modules{"Probe": component.MapModule[probe](component.Spec{InputsOptional: true})})
	c := connected(t, p)
	probes <- f
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	req := component.Request{Documents: []component.RunDocument{{Name: "probe", Content: []byte(probeDocument)}}, WorkingDirectory: t.TempDir()}
	return c.Run(ctx, req, services, nil)
}

// must runs a function in a guest and wants it to succeed.
func must(t *testing.T, services Services, f func(context.Context, *component.Execution) error) {
	t.Helper()
	result, err := inGuest(t, services, f)
	if err != nil {
		t.Fatal(err)
	}
	if result.Status != component.StatusSuccess {
		t.Fatalf("the step failed: %+v", result.Failure)
	}
}

func TestServices(t *testing.T) {
	large := make([]byte, 5<<20)
	rand.Read(large)
	c := &cloud{objects: map[string][]byte{"b/large": large, "b/empty": nil, "b/dir/x": []byte("x")}}
	must(t, c.services(), func(ctx context.Context, x *component.Execution) error {
		at := func(key string) component.S3Place { return component.S3Place{Bucket: "b", Key: key} }
		for key, want := range c.objects {
			var got bytes.Buffer
			if err := x.S3.Get(ctx, at(strings.TrimPrefix(key, "b/")), &got); err != nil || !bytes.Equal(got.Bytes(), want) {
				t.Errorf("Get(%s) = %d bytes, %v", key, got.Len(), err)
			}
		}
		for _, data := range [][]byte{nil, []byte("small"), large} {
			if err := x.S3.Put(ctx, at("new"), bytes.NewReader(data), int64(len(data))); err != nil || !bytes.Equal(c.objects["b/new"], data) {
				t.Errorf("Put of %d bytes made %d, %v", len(data), len(c.objects["b/new"]), err)
			}
		}
		objects, err := x.S3.List(ctx, at("dir/"), 10)
		if err != nil || len(objects) != 1 || objects[0] != (component.S3Object{Key: "dir/x", Size: 1}) {
			t.Errorf("List = %v, %v", objects, err)
		}
		if p, err := x.Parameters.Parameter(ctx, "/known"); err != nil || p.Value != "hunter2" || p.Type != component.ParameterSecureString {
			t.Errorf("Parameter = %v, %v", p, err)
		}
		if d, err := x.Components.Component(ctx, "arn"); err != nil || string(d) != "document of arn" {
			t.Errorf("Component = %q, %v", d, err)
		}
		// Errors come through, and the streams go on.
		if err := x.S3.Get(ctx, at("none"), io.Discard); !errors.Is(err, component.ErrNotFound) || !strings.Contains(err.Error(), "s3://b/none") {
			t.Errorf("Get of nothing gave %v", err)
		}
		if _, err := x.Parameters.Parameter(ctx, "/none"); !errors.Is(err, component.ErrNotFound) {
			t.Errorf("an unknown parameter gave %v", err)
		}
		if err := x.S3.Get(ctx, at("cut"), io.Discard); err == nil || !strings.Contains(err.Error(), "the line is dead") {
			t.Errorf("Get of half an object gave %v", err)
		}
		if _, err := x.Components.Component(ctx, "large"); err == nil {
			t.Error("a component that is too large came through")
		}
		if err := x.S3.Put(ctx, at("refused"), bytes.NewReader(large), int64(len(large))); err == nil || !strings.Contains(err.Error(), "access denied") {
			t.Errorf("a refused Put gave %v", err)
		}
		if err := x.S3.Put(ctx, at("full"), bytes.NewReader(large), int64(len(large))); err == nil || !strings.Contains(err.Error(), "bucket is full") {
			t.Errorf("a Put that is given up gave %v", err)
		}
		if err := x.S3.Put(ctx, at("huge"), bytes.NewReader(nil), MaxObjectSize+1); err == nil || !strings.Contains(err.Error(), "64 GiB") {
			t.Errorf("a huge Put gave %v", err)
		}
		for name, r := range map[string]io.Reader{"short": strings.NewReader("abc"), "broken": iotest.ErrReader(errors.New("bad disk"))} {
			if err := x.S3.Put(ctx, at("partial"), r, 1000); err == nil {
				t.Errorf("Put of a %s source gave no error", name)
			}
		}
		if err := x.S3.Get(ctx, at("large"), failing{}); err == nil || !strings.Contains(err.Error(), "no space") {
			t.Errorf("Get to a full disk gave %v", err)
		}
		if err := x.S3.Get(ctx, at("endless"), failing{}); err == nil {
			t.Error("Get of an endless object to a full disk gave no error")
		}
		// Cancelling ends what is under way.
		short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		if err := x.S3.Get(short, at("stuck"), io.Discard); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a cancelled Get gave %v", err)
		}
		var group sync.WaitGroup
		for range 40 {
			group.Go(func() {
				if err := x.S3.Get(ctx, at("dir/x"), io.Discard); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		return nil
	})
	if c.objects["b/partial"] != nil {
		t.Error("a source that ended early became an object")
	}
	if most := c.most.Load(); most > lanes {
		t.Errorf("%d requests were under way at one time", most)
	}
	if c.busy.Load() != 0 {
		t.Error("something is still done for the guest after its run")
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("no space left") }

// TestServicesEndWithRun leaves requests behind when the run ends.
func TestServicesEndWithRun(t *testing.T) {
	c := &cloud{objects: map[string][]byte{}}
	late := make(chan error, 2)
	must(t, c.services(), func(ctx context.Context, x *component.Execution) error {
		for _, key := range []string{"stuck", "endless"} {
			go func() {
				late <- x.S3.Get(context.Background(), component.S3Place{Bucket: "b", Key: key}, io.Discard)
			}()
		}
		for c.busy.Load() < 2 {
			time.Sleep(time.Millisecond)
		}
		return nil
	})
	if n := c.busy.Load(); n != 0 {
		t.Errorf("%d requests go on after the run", n)
	}
	for range 2 {
		select {
		case err := <-late:
			if err == nil {
				t.Error("a request outlived its run")
			}
		case <-time.After(10 * time.Second):
			t.Fatal("a request hangs after its run")
		}
	}
}

func TestNoServices(t *testing.T) {
	must(t, Services{}, func(_ context.Context, x *component.Execution) error {
		if x.S3 != nil || x.Parameters != nil || x.Components != nil {
			t.Error("there are services that nobody gave")
		}
		return nil
	})
	c := &cloud{}
	must(t, Services{Parameters: c}, func(ctx context.Context, x *component.Execution) error {
		if x.S3 != nil || x.Parameters == nil || x.Components != nil {
			t.Errorf("services are %v, %v, %v", x.S3, x.Parameters, x.Components)
		}
		// A guest that asks all the same.
		host := x.Parameters.(*hostService)
		if err := host.Get(ctx, component.S3Place{Bucket: "b", Key: "k"}, io.Discard); err == nil || !strings.Contains(err.Error(), "not available") {
			t.Errorf("Get gave %v", err)
		}
		if err := host.Put(ctx, component.S3Place{Bucket: "b", Key: "k"}, strings.NewReader("x"), 1); err == nil || !strings.Contains(err.Error(), "not available") {
			t.Errorf("Put gave %v", err)
		}
		if _, err := host.Component(ctx, "x"); err == nil {
			t.Error("Component gave no error")
		}
		return nil
	})
}

// hostileGuest speaks the protocol by hand: it takes the host's streams and does with them what the test says.
func hostileGuest(t *testing.T, c *cloud, onOffer func(stream *yamux.Stream, n int)) (*Client, chan error) {
	t.Helper()
	host, guest := net.Pipe()
	t.Cleanup(func() { guest.Close() })
	offers := 0
	go func() {
		io.WriteString(guest, agentHello("n")+"\n")
		answered(guest, "n")
		io.WriteString(guest, goLine("n")+"\n")
		session, err := yamux.Server(guest, sessionConfig())
		if err != nil {
			return
		}
		for {
			stream, err := session.AcceptStream()
			if err != nil {
				return
			}
			var req request
			r := bufio.NewReader(stream)
			if readLine(r, &req) != nil {
				return
			}
			if req.Run != nil {
				data, _ := json.Marshal(response{Serving: true})
				for range 3 { // once more than is good
					stream.Write(appendFrame(nil, frameAnswer, data))
				}
				continue
			}
			offers++
			go onOffer(stream, offers)
		}
	}()
	client, err := Connect(t.Context(), host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	ended := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	t.Cleanup(cancel)
	go func() {
		_, err := client.Run(ctx, component.Request{}, c.services(), nil)
		ended <- err
	}()
	return client, ended
}

// TestHostileServices is about guests that do on the offered streams what ours never does. The host ends in time, has few
// streams at a time, and writes nothing that is not whole.
func TestHostileServices(t *testing.T) {
	line := func(text string) func(*yamux.Stream) { return func(s *yamux.Stream) { io.WriteString(s, text+"\n") } }
	for name, hostile := range map[string]func(*yamux.Stream){
		"silence":        func(*yamux.Stream) {},
		"no request":     line(`{}`),
		"no JSON":        line(`}{`),
		"a long line":    line(`{"parameter":"` + strings.Repeat("x", 1<<20) + `"}`),
		"negative size":  line(`{"put":{"place":{"bucket":"b","key":"k"},"size":-1}}`),
		"huge size":      line(`{"put":{"place":{"bucket":"b","key":"k"},"size":9223372036854775807}}`),
		"no body":        line(`{"put":{"place":{"bucket":"b","key":"k"},"size":1000}}`),
		"reads nothing":  line(`{"get":{"bucket":"b","key":"endless"}}`),
		"negative limit": line(`{"list":{"prefix":{"bucket":"b"},"limit":-5}}`),
		"huge limit":     line(`{"list":{"prefix":{"bucket":"b"},"limit":999999999}}`),
		"talks on": func(s *yamux.Stream) {
			io.WriteString(s, `{"get":{"bucket":"b","key":"stuck"}}`+"\n")
			for {
				if _, err := s.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		},
		"half a body": func(s *yamux.Stream) {
			io.WriteString(s, `{"put":{"place":{"bucket":"b","key":"k"},"size":1000}}`+"\nhalf")
		},
		"closes": func(*yamux.Stream) {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &cloud{objects: map[string][]byte{}}
			var open, most atomic.Int32
			_, ended := hostileGuest(t, c, func(s *yamux.Stream, n int) {
				most.Store(max(most.Load(), open.Add(1)))
				hostile(s)
				if name == "closes" || name == "half a body" {
					open.Add(-1) // first: the host may offer the next stream as soon as it sees this one closed
					s.Close()
				}
			})
			select {
			case err := <-ended:
				if err == nil {
					t.Error("the run gave a result")
				}
			case <-time.After(10 * time.Second):
				t.Fatal("the host does not end the run")
			}
			if n := most.Load(); n > lanes {
				t.Errorf("the guest had %d streams at one time", n)
			}
			if c.busy.Load() != 0 {
				t.Error("something is still done for the guest after its run")
			}
			if len(c.objects) != 0 {
				t.Errorf("there are objects: %v", slices.Collect(maps.Keys(c.objects)))
			}
		})
	}
}

// TestServiceBounds counts.
func TestServiceBounds(t *testing.T) {
	s := &service{}
	if err := s.transfer(maxTransferred); err != nil {
		t.Error(err)
	}
	if err := s.transfer(1); err == nil {
		t.Error("there is no bound of what is transferred")
	}
	s.requests = maxServiceRequests - 1
	if err := s.count(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.count(t.Context()); err == nil {
		t.Error("there is no bound of requests")
	}
	chunks := &chunks{w: io.Discard, service: &service{}, sent: MaxObjectSize}
	if _, err := chunks.Write([]byte("x")); err == nil {
		t.Error("there is no bound of an object")
	}
}

// TestAgentWithoutSDK keeps the AWS SDK, which is large, out of the program that goes into guests.
func TestAgentWithoutSDK(t *testing.T) {
	for _, goos := range []string{"linux", "windows"} {
		cmd := exec.Command("go", "list", "-deps", "github.com/ingot-image/ingot/cmd/ingot-agent")
		cmd.Env = append(cmd.Environ(), "GOOS="+goos)
		out, err := cmd.Output()
		if errors.Is(err, exec.ErrNotFound) {
			t.Skip("there is no go command on PATH")
		}
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		if !strings.Contains(string(out), "ingot/builder/agent\n") {
			t.Fatalf("go list -deps gave %q", out)
		}
		for dep := range strings.Lines(string(out)) {
			if strings.Contains(dep, "aws/") {
				t.Errorf("%s: the agent depends on %s", goos, strings.TrimSpace(dep))
			}
		}
	}
}
