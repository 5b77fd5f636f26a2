package agent

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/ingot-image/ingot/builder/component"
)

// TestEvents sends events through a run's frames and wants them back as they were.
func TestEvents(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6789, time.UTC)
	var sent []component.Event
	add := func(e component.Event) { e.Time = at.Add(time.Duration(len(sent))); sent = append(sent, e) }
	add(component.Event{Type: component.StepStarted, Component: "c", Step: "s"})
	for i := range 2000 {
		stream := component.StreamStdout
		if i%7 == 0 {
			stream = component.StreamStderr
		}
		add(component.Event{Type: component.Output, Component: "c", Step: "s", Stream: stream, Text: fmt.Sprintf("%d ä\n", i) + strings.Repeat("x", i%50*800)})
	}
	add(component.Event{Type: component.Output, Component: "c", Step: "other", Stream: component.StreamStdout, Text: "y"})
	add(component.Event{Type: component.StepEnded, Component: "c", Step: "s", Failure: &component.Failure{Message: "m"}})

	var wire bytes.Buffer
	w := newEventWriter(&wire)
	for _, e := range sent {
		w.event(e)
	}
	if err := w.close(response{Result: &component.Result{Status: component.StatusSuccess}}); err != nil {
		t.Fatal(err)
	}
	var got []component.Event
	result, err := readRun(t, wire.Bytes(), func(e component.Event) { got = append(got, e) })
	if err != nil || result.Status != component.StatusSuccess {
		t.Fatalf("%+v, %v", result, err)
	}
	want, _ := json.Marshal(sent)
	for i := range got {
		got[i].Time = got[i].Time.UTC()
	}
	if have, _ := json.Marshal(got); !bytes.Equal(have, want) {
		t.Errorf("the events changed on the way: %d of %d bytes, %d of %d events", len(have), len(want), len(got), len(sent))
	}
}

// readRun gives a client the given answer to a run.
func readRun(t testing.TB, answer []byte, events func(component.Event)) (*component.Result, error) {
	host, guest := net.Pipe()
	defer guest.Close()
	go serveAnswer(guest, answer)
	client, err := Connect(t.Context(), host)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	return client.run(t.Context(), component.Request{}, Services{}, events)
}

// TestEventsBlocked is about a host that takes nothing: the engine waits, and what waits is bounded.
func TestEventsBlocked(t *testing.T) {
	r, w := io.Pipe()
	events := newEventWriter(w)
	const n = 200
	text := strings.Repeat("z", 16<<10)
	took := make(chan int, n)
	go func() {
		for i := range n {
			events.event(component.Event{Type: component.Output, Text: text})
			took <- i
		}
		events.close(response{Result: &component.Result{}})
		w.Close()
	}()
	time.Sleep(200 * time.Millisecond)
	if waiting := len(took) * len(text); waiting > 3*eventBuffer {
		t.Errorf("%d bytes wait", waiting)
	}
	data, err := io.ReadAll(r)
	if err != nil || len(data) < n*len(text) {
		t.Errorf("%d bytes arrived, %v", len(data), err)
	}
	// And one that goes away: the engine goes on to its end, which the context brings.
	r, w = io.Pipe()
	events = newEventWriter(w)
	r.Close()
	for range n {
		events.event(component.Event{Type: component.Output, Text: text})
	}
	if err := events.close(response{}); err == nil {
		t.Error("what was lost is no error")
	}
}

// FuzzRunFrames gives the host arbitrary frames from a hostile guest.
func FuzzRunFrames(f *testing.F) {
	header, _ := json.Marshal(response{Event: &component.Event{Type: component.Output, Stream: "stdout"}})
	f.Add(appendFrame(nil, frameAnswer, header))
	f.Add(appendFrame(appendFrame(nil, frameAnswer, header), frameText, []byte("12345678text")))
	f.Add(appendFrame(nil, frameText, []byte("12345678text")))
	f.Add([]byte("t\xff\xff\xff\xff"))
	f.Add([]byte("j\x01\xff\xff\xff{}"))
	f.Add(appendFrame(nil, frameAnswer, []byte(`{"result":{"status":"success"}}`)))
	f.Fuzz(func(t *testing.T, data []byte) {
		result, err := readRun(t, data, func(e component.Event) {
			if len(e.Text) > maxFrame {
				t.Errorf("an event of %d bytes", len(e.Text))
			}
		})
		if err == nil && result == nil {
			t.Error("neither a result nor an error")
		}
	})
}

// serveAnswer is an agent that answers the first request with the given bytes.
func serveAnswer(guest net.Conn, answer []byte) {
	r := bufio.NewReader(guest)
	if greet(r, guest) != nil {
		return
	}
	session, err := yamux.Server(pipe{r, guest}, sessionConfig())
	if err != nil {
		return
	}
	defer session.Close()
	stream, err := session.AcceptStream()
	if err != nil {
		return
	}
	var req request
	if readLine(bufio.NewReader(stream), &req) == nil {
		stream.Write(answer)
	}
	stream.Close()
	<-session.CloseChan()
}
