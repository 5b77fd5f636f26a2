package ec2sim

import (
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Fault is something that goes wrong. What it is for may be left empty, and then fits all.
type Fault struct {
	Service, Action, Region, Account string

	Skip  int // so many requests that fit pass first
	Times int // so many are hit, 1 if it is 0, all of them if it is below 0

	// Status, Code and Message are an answer in the place of the real one.
	Status        int
	Code, Message string
	// Cut cuts the connection, after CutAfter bytes of the body were read.
	Cut      bool
	CutAfter int64
	// Done lets the request be carried out before it is answered wrongly or cut, as when an answer is lost.
	Done bool
	// Delay is waited before all else.
	Delay time.Duration
	// TaskMessage and TaskStatus are what a task that the request starts ends with: deleted (by way of deleting), deleting, or error.
	TaskMessage, TaskStatus string
	// TaskStep is how long such a task stays in each of its states.
	TaskStep time.Duration
}

// Throttle makes the next request fail as AWS does when there are too many.
func Throttle(service, action string) Fault {
	f := Fault{Service: service, Action: action, Status: http.StatusServiceUnavailable, Code: "RequestLimitExceeded", Message: "Request limit exceeded."}
	switch service {
	case "s3":
		f.Code, f.Message = "SlowDown", "Please reduce your request rate."
	case "ec2":
	default:
		f.Status, f.Code, f.Message = http.StatusBadRequest, "ThrottlingException", "Rate exceeded"
	}
	return f
}

// Broken makes the next request fail with status 500.
func Broken(service, action string) Fault {
	return Fault{Service: service, Action: action, Status: http.StatusInternalServerError, Code: "InternalError", Message: "An internal error has occurred."}
}

// Cut cuts the next request's connection after some bytes of its body.
func Cut(service, action string, after int64) Fault {
	return Fault{Service: service, Action: action, Cut: true, CutAfter: after}
}

// Lost carries the next request out and cuts the connection instead of answering.
func Lost(service, action string) Fault {
	return Fault{Service: service, Action: action, Cut: true, Done: true}
}

// Slow delays the next request.
func Slow(service, action string, by time.Duration) Fault {
	return Fault{Service: service, Action: action, Delay: by}
}

// FailTask makes the next task of an action (ImportSnapshot, ImportImage, ExportImage) end as deleted with a StatusMessage.
func FailTask(action, message string) Fault {
	return Fault{Service: "ec2", Action: action, TaskMessage: message, TaskStatus: "deleted"}
}

// SlowTask makes the next task of an action stay in each of its states for a time.
func SlowTask(action string, step time.Duration) Fault {
	return Fault{Service: "ec2", Action: action, TaskStep: step}
}

// Times makes a fault hit several requests.
func Times(n int, f Fault) Fault { f.Times = n; return f }

// After lets several requests pass before the fault.
func After(n int, f Fault) Fault { f.Skip = n; return f }

// Faults are what will go wrong.
type Faults struct {
	mu     sync.Mutex
	script []*Fault
}

// Add adds faults. For each request the first that fits is taken.
func (f *Faults) Add(faults ...Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, fault := range faults {
		if fault.Times == 0 {
			fault.Times = 1
		}
		f.script = append(f.script, &fault)
	}
}

// Clear forgets all faults.
func (f *Faults) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.script = nil
}

// take gives the fault for a request, nil for none.
func (f *Faults) take(r Request) *Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	fits := func(want, have string) bool { return want == "" || want == have }
	for i, fault := range f.script {
		if !fits(fault.Service, r.Service) || !fits(fault.Action, r.Action) || !fits(fault.Region, r.Region) || !fits(fault.Account, r.Account) {
			continue
		}
		if fault.Skip > 0 {
			fault.Skip--
			continue
		}
		if fault.Times > 0 {
			if fault.Times--; fault.Times == 0 {
				f.script = slices.Delete(f.script, i, i+1)
			}
		}
		hit := *fault
		return &hit
	}
	return nil
}

// cut reads some of a request and cuts its connection with a reset, so that the client sees it at once.
func cut(w http.ResponseWriter, r *http.Request, after int64) {
	io.CopyN(io.Discard, r.Body, after)
	connection, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := connection.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	connection.Close()
}
