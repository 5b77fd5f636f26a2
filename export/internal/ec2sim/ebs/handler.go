package ebs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// failure is an error that the API answers with.
type failure struct {
	status  int
	code    string
	message string
	reason  string
}

func (f *failure) Error() string { return f.code + ": " + f.message }

func invalid(reason, format string, a ...any) *failure {
	return &failure{http.StatusBadRequest, "ValidationException", fmt.Sprintf(format, a...), reason}
}

func notFound(id string) *failure {
	return &failure{http.StatusNotFound, "ResourceNotFoundException", fmt.Sprintf("The snapshot '%s' does not exist.", id), "SNAPSHOT_NOT_FOUND"}
}

func internal(err error) *failure {
	return &failure{http.StatusInternalServerError, "InternalServerException", err.Error(), ""}
}

// answer is what a call ends in.
type answer struct {
	status int
	header map[string]string
	body   any // made JSON, but for []byte
}

// ServeHTTP answers a call.
func (s *Store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	call, work := s.route(r)
	if work == nil {
		respond(w, &failure{http.StatusNotFound, "UnknownOperationException", r.Method + " " + r.URL.Path + " is no operation of the EBS direct APIs", ""})
		return
	}
	if !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ") {
		respond(w, &failure{http.StatusForbidden, "MissingAuthenticationTokenException", "Missing Authentication Token", ""})
		return
	}
	s.mu.Lock()
	s.calls[call.Action]++
	call.Nth = s.calls[call.Action]
	s.mu.Unlock()
	fault := &Fault{}
	if s.options.Fault != nil {
		if f := s.options.Fault(call); f != nil {
			fault = f
		}
	}
	if fault.Delay > 0 {
		wait(r, fault.Delay)
	}
	lost := fault.Cut || fault.Status != 0
	var a *answer
	var failed *failure
	if !lost || fault.After {
		a, failed = work()
	}
	switch {
	case fault.Cut:
		panic(http.ErrAbortHandler)
	case fault.Status != 0:
		failed = &failure{fault.Status, fault.Code, fault.Message, ""}
	}
	if failed != nil {
		respond(w, failed)
		return
	}
	for k, v := range a.header {
		w.Header().Set(k, v)
	}
	w.Header().Set("x-amzn-RequestId", random(16))
	if data, ok := a.body.(*[]byte); ok {
		defer s.buffers.Put(data)
		if fault.Flip {
			(*data)[BlockSize/2] ^= 1
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Length", strconv.Itoa(BlockSize))
		w.WriteHeader(a.status)
		w.Write((*data)[:BlockSize])
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(a.status)
	json.NewEncoder(w).Encode(a.body)
}

// wait reads the request and waits, or until its client has gone: which is not noticed before all was read.
func wait(r *http.Request, d time.Duration) {
	body, _ := io.ReadAll(io.LimitReader(r.Body, 2*BlockSize))
	r.Body = io.NopCloser(bytes.NewReader(body))
	select {
	case <-time.After(d):
	case <-r.Context().Done():
	}
}

func respond(w http.ResponseWriter, f *failure) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("x-amzn-RequestId", random(16))
	w.Header().Set("x-amzn-ErrorType", f.code)
	w.WriteHeader(f.status)
	body := map[string]string{"Message": f.message}
	if f.reason != "" {
		body["Reason"] = f.reason
	}
	json.NewEncoder(w).Encode(body)
}

// route finds what a request asks for.
func (s *Store) route(r *http.Request) (Call, func() (*answer, *failure)) {
	path := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if path[0] != "snapshots" {
		return Call{}, nil
	}
	path = path[1:]
	switch {
	case r.Method == http.MethodPost && len(path) == 0:
		return Call{Action: "StartSnapshot"}, func() (*answer, *failure) { return s.start(r) }
	case r.Method == http.MethodPost && len(path) == 2 && path[0] == "completion":
		return Call{Action: "CompleteSnapshot", Snapshot: path[1]}, func() (*answer, *failure) { return s.complete(r, path[1]) }
	case r.Method == http.MethodGet && len(path) == 2 && path[1] == "blocks":
		return Call{Action: "ListSnapshotBlocks", Snapshot: path[0]}, func() (*answer, *failure) { return s.list(r, path[0]) }
	case r.Method == http.MethodGet && len(path) == 2 && path[1] == "changedblocks":
		return Call{Action: "ListChangedBlocks", Snapshot: path[0]}, func() (*answer, *failure) { return s.listChanged(r, path[0]) }
	case len(path) == 3 && path[1] == "blocks" && (r.Method == http.MethodPut || r.Method == http.MethodGet):
		index, err := strconv.ParseInt(path[2], 10, 32)
		if err != nil || index < 0 {
			return Call{Action: "PutSnapshotBlock"}, func() (*answer, *failure) {
				return nil, invalid("INVALID_PARAMETER_VALUE", "Block index '%s' is not valid.", path[2])
			}
		}
		if r.Method == http.MethodPut {
			return Call{"PutSnapshotBlock", 0, path[0], int32(index)}, func() (*answer, *failure) { return s.put(r, path[0], int32(index)) }
		}
		return Call{"GetSnapshotBlock", 0, path[0], int32(index)}, func() (*answer, *failure) { return s.get(r, path[0], int32(index)) }
	}
	return Call{}, nil
}

// find gives a snapshot that is there. The store is locked.
func (s *Store) find(id string) (*snapshot, *failure) {
	if !strings.HasPrefix(id, "snap-") {
		return nil, invalid("INVALID_SNAPSHOT_ID", "The snapshot ID '%s' is not valid.", id)
	}
	n := s.snapshots[id]
	if n == nil {
		return nil, notFound(id)
	}
	s.settle(n)
	return n, nil
}
