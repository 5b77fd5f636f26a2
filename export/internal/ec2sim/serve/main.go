// Serve runs the simulated AWS of package ec2sim as a program, for tests that run other programs against it: the ingot binary, the AWS command line. It
// prints the environment that makes them use it, a line each, then an empty line, and ends when its standard input does.
//
//	go run ./export/internal/ec2sim/serve
//
// At the URL in INGOT_SIM_CONTROL, GET /requests answers with what was asked of it so far, as JSON, POST /forget forgets that, POST /faults takes a fault as JSON, and POST /mend
// forgets those.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ingot-image/ingot/export/internal/ec2sim"
)

func main() {
	p := &process{}
	sim := ec2sim.Start(p, ec2sim.Options{Step: 20 * time.Millisecond})
	var from atomic.Int64 // what was asked before is forgotten
	control := http.NewServeMux()
	control.HandleFunc("GET /requests", func(w http.ResponseWriter, _ *http.Request) { json.NewEncoder(w).Encode(sim.Requests()[from.Load():]) })
	control.HandleFunc("POST /forget", func(http.ResponseWriter, *http.Request) { from.Store(int64(len(sim.Requests()))) })
	control.HandleFunc("POST /mend", func(http.ResponseWriter, *http.Request) { sim.Faults.Clear() })
	control.HandleFunc("POST /faults", func(w http.ResponseWriter, r *http.Request) {
		var f ec2sim.Fault
		if err := json.NewDecoder(r.Body).Decode(&f); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		sim.Faults.Add(f)
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		p.Fatal(err)
	}
	go http.Serve(listener, control)
	for _, v := range sim.Environ() {
		fmt.Println(v)
	}
	fmt.Printf("INGOT_SIM_CONTROL=http://%s\n\n", listener.Addr())
	io.Copy(io.Discard, os.Stdin)
	p.end()
}

// process is what a test is to the simulator: something that fails and ends.
type process struct {
	testing.TB
	cleanups []func()
}

func (p *process) Helper()          {}
func (p *process) Cleanup(f func()) { p.cleanups = append(p.cleanups, f) }

func (p *process) Logf(format string, a ...any)   { fmt.Fprintf(os.Stderr, format+"\n", a...) }
func (p *process) Errorf(format string, a ...any) { p.Logf(format, a...) }
func (p *process) Fatalf(format string, a ...any) { p.Logf(format, a...); p.exit(1) }
func (p *process) Skipf(format string, a ...any)  { p.Logf(format, a...); p.exit(3) }
func (p *process) Fatal(a ...any)                 { p.Fatalf("%s", fmt.Sprint(a...)) }
func (p *process) Error(a ...any)                 { p.Errorf("%s", fmt.Sprint(a...)) }

func (p *process) exit(status int) {
	p.end()
	os.Exit(status)
}

func (p *process) end() {
	for i := len(p.cleanups) - 1; i >= 0; i-- {
		p.cleanups[i]()
	}
	p.cleanups = nil
}
