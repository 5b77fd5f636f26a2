package ec2sim

import (
	"cmp"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"time"
)

// action answers one action of EC2. Its error is a *fault.
type action func(c *call) ([]element, error)

// ServeHTTP is the front door.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c, err := newCall(r)
	answer := &statusWriter{ResponseWriter: w}
	defer func() {
		c.Bytes, c.Status = c.read.Load(), answer.status
		s.mu.Lock()
		defer s.mu.Unlock()
		s.requests = append(s.requests, c.Request)
	}()
	if err != nil {
		answerFault(answer, c.Service, refuse("MalformedQueryString", "%v", err))
		return
	}
	if c.key != "" {
		s.mu.Lock()
		c.Account = s.accounts[c.key]
		s.mu.Unlock()
		if c.Account == "" {
			answerFault(answer, c.Service, unknownKey(c.Service))
			return
		}
	}
	wrong := s.Faults.take(c.Request)
	if wrong == nil {
		s.answer(answer, c)
		return
	}
	select {
	case <-time.After(wrong.Delay):
	case <-r.Context().Done():
		return
	case <-s.ctx.Done(): // a client that is gone is not noticed while its body is unread
		return
	}
	c.wrong = wrong
	if wrong.Done {
		s.answer(httptest.NewRecorder(), c)
	}
	switch {
	case wrong.Cut:
		cut(w, r, wrong.CutAfter)
	case wrong.Status != 0:
		answerFault(answer, c.Service, &fault{wrong.Status, wrong.Code, wrong.Message})
	case !wrong.Done:
		s.answer(answer, c)
	}
}

// answer carries a request out: here if it is one of those that the simulator knows, by moto otherwise.
func (s *Server) answer(w http.ResponseWriter, c *call) {
	switch {
	case c.Service == "ec2" && s.actions[c.Action] != nil:
		answer, err := s.actions[c.Action](c)
		var wrong *fault
		if errors.As(err, &wrong) {
			answerFault(w, c.Service, wrong)
		} else if err != nil {
			answerFault(w, c.Service, &fault{http.StatusInternalServerError, "InternalError", err.Error()})
		} else {
			answerEC2(w, c.Action, answer)
		}
	case c.Service == "ec2" && (c.Action == "CreateLaunchTemplate" || c.Action == "CreateLaunchTemplateVersion"):
		s.launchTemplate(w, c)
	case c.Service == "ebs":
		s.blocks(c.place()).ServeHTTP(w, c.http)
	case c.Service == "license-manager" && (c.Action == "ListLicenseSpecificationsForResource" || c.Action == "UpdateLicenseSpecificationsForResource"):
		s.licenseManager(w, c)
	case c.Service == "servicequotas" && (c.Action == "GetServiceQuota" || c.Action == "GetAWSDefaultServiceQuota"):
		s.serviceQuota(w, c)
	case c.Service == "iam" && c.Action == "SimulatePrincipalPolicy":
		s.simulatePolicy(w, c)
	case c.Service == "sts" && c.Action == "AssumeRole":
		s.assumeRole(w, c)
	case c.Service == "s3" && !s.ownedAsExpected(c):
		answerFault(w, c.Service, &fault{http.StatusForbidden, "AccessDenied", "Access Denied"})
	case c.Service == "s3" && c.Action == "CreateBucket":
		s.createBucket(w, c)
	default:
		s.proxy.ServeHTTP(w, c.http)
	}
}

// accountHeader tells moto whose request it is, instead of its own way from the access key.
const accountHeader = "X-Moto-Account-Id"

func (s *Server) newProxy() *httputil.ReverseProxy {
	target, err := url.Parse(s.options.Moto.URL)
	if err != nil {
		s.tb.Fatal(err)
	}
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Header.Set(accountHeader, cmp.Or(s.accountOf(r.In), Account))
		},
		Transport:     &http.Transport{MaxIdleConnsPerHost: 16},
		FlushInterval: -1,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() == nil {
				s.tb.Logf("moto: %s %s: %v", r.Method, r.URL.Path, err)
			}
			w.WriteHeader(http.StatusBadGateway)
		},
	}
}

func (s *Server) accountOf(r *http.Request) string {
	m := scope.FindStringSubmatch(r.Header.Get("Authorization"))
	if m == nil {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accounts[m[1]]
}

// unknownKey is what each service answers to credentials that it does not know.
func unknownKey(service string) *fault {
	switch service {
	case "ec2":
		return &fault{http.StatusUnauthorized, "AuthFailure", "AWS was not able to validate the provided access credentials"}
	case "s3":
		return &fault{http.StatusForbidden, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records."}
	case "iam", "sts":
		return &fault{http.StatusForbidden, "InvalidClientTokenId", "The security token included in the request is invalid."}
	}
	return &fault{http.StatusForbidden, "UnrecognizedClientException", "The security token included in the request is invalid."}
}

// statusWriter keeps the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController through.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
