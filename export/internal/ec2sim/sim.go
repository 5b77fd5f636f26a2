// Package ec2sim is AWS for tests, on a loopback port and the real wire protocols. One front door takes every request, tells by its signature's scope
// which service and region it is for (Signature Version 4, "Credential scope"), and answers itself what no emulator checks: the import and export tasks of
// EC2, images, snapshots and EBS direct. Everything else goes on to moto's server.
//
//	sim := ec2sim.Start(t, ec2sim.Options{})
//	sim.Setenv(t)                                        // for code that reads the SDK's settings
//	client := ec2.NewFromConfig(sim.Config(t, "eu-west-1")) // for code that takes a configuration
//	sim.Faults.Add(ec2sim.Throttle("ec2", "DescribeImages"))
//	…
//	for _, r := range sim.Requests() { … }
//
// It keeps what it promises as strictly as AWS documents it. It does not verify signatures.
package ec2sim

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/ingot-image/ingot/export/internal/ec2sim/ebs"
	"github.com/ingot-image/ingot/export/internal/moto"
)

// What a test that does not care works in.
const (
	Region  = "eu-west-1"
	Account = "123456789012"
)

// Options say how the simulator behaves.
type Options struct {
	// Moto is the server behind the front door; nil: one is started, and the test skipped if it is not installed.
	Moto *moto.Server
	// Step is how long a task stays in each of its states, 5 ms if it is 0.
	Step time.Duration
	// Lag is how long a new image is unknown to the requests that follow, as happens on AWS.
	Lag time.Duration
}

// Server is a running simulator. It ends with its test.
type Server struct {
	URL    string
	Faults *Faults

	options Options
	tb      testing.TB
	dir     string // for disks
	proxy   *httputil.ReverseProxy
	ctx     context.Context // of what runs after a request is answered
	running sync.WaitGroup
	actions map[string]action // of EC2, by name

	mu       sync.Mutex
	requests []Request
	accounts map[string]string // by access key
	stores   map[place]*ebs.Store
	shared   map[string][]string // accounts, or all, that snapshots are shared with
	images   map[string]*amiImage
	tasks    map[string]*task
	tokens   map[string]string // ids that requests with client tokens made

	templates      map[templateVersion]url.Values // launch templates' data
	blocked        map[place]bool                 // where images cannot be made public
	templateTokens map[string]*httptest.ResponseRecorder
	applied        map[appliedQuota]float64
	owners         map[string]string // accounts, by bucket
}

// Start starts a simulator with nothing in it.
func Start(tb testing.TB, o Options) *Server {
	tb.Helper()
	if o.Moto == nil {
		o.Moto = moto.Start(tb)
	}
	if o.Step == 0 {
		o.Step = 5 * time.Millisecond
	}
	dir, err := os.MkdirTemp("", "ec2sim-*")
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{options: o, tb: tb, ctx: ctx, dir: dir, Faults: new(Faults), accounts: map[string]string{},
		stores: map[place]*ebs.Store{}, shared: map[string][]string{}, images: map[string]*amiImage{}, tasks: map[string]*task{}, tokens: map[string]string{},
		templates: map[templateVersion]url.Values{}, blocked: map[place]bool{}, templateTokens: map[string]*httptest.ResponseRecorder{},
		applied: map[appliedQuota]float64{}, owners: map[string]string{}}
	s.proxy = s.newProxy()
	s.actions = s.ec2Actions()
	server := httptest.NewServer(s)
	s.URL = server.URL
	tb.Cleanup(func() {
		cancel()
		server.CloseClientConnections()
		server.Close()
		s.running.Wait()
		for _, store := range s.stores {
			store.Close()
		}
		os.RemoveAll(dir)
	})
	return s
}

// accessKey is an access key of an account. Any account may be asked for.
func (s *Server) accessKey(account string) string {
	key := "AKIA" + account
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accounts[key] = account
	return key
}

const secretKey = "not-a-secret"

// Environ is what makes the AWS SDKs and command line of a process use the simulator and nothing else.
func (s *Server) Environ() []string {
	var environ []string
	for _, v := range s.settings() {
		environ = append(environ, v[0]+"="+v[1])
	}
	return environ
}

// Setenv sets Environ for the test's own process.
func (s *Server) Setenv(tb testing.TB) {
	for _, v := range s.settings() {
		tb.Setenv(v[0], v[1])
	}
}

func (s *Server) settings() [][2]string {
	return [][2]string{
		{"AWS_ENDPOINT_URL", s.URL},
		{"AWS_REGION", Region},
		{"AWS_DEFAULT_REGION", Region},
		{"AWS_ACCESS_KEY_ID", s.accessKey(Account)},
		{"AWS_SECRET_ACCESS_KEY", secretKey},
		{"AWS_SESSION_TOKEN", ""},
		{"AWS_CONFIG_FILE", "/dev/null"},
		{"AWS_SHARED_CREDENTIALS_FILE", "/dev/null"},
		{"AWS_EC2_METADATA_DISABLED", "true"},
		{"AWS_PAGER", ""},
	}
}

// Config is a client's configuration for a region, in the account of tests.
func (s *Server) Config(tb testing.TB, region string) aws.Config {
	return s.AccountConfig(tb, region, Account)
}

// AccountConfig is a client's configuration in another account.
func (s *Server) AccountConfig(tb testing.TB, region, account string) aws.Config {
	tb.Helper()
	return aws.Config{
		Region:       region,
		BaseEndpoint: &s.URL,
		Credentials:  credentials.NewStaticCredentialsProvider(s.accessKey(account), secretKey, ""),
		HTTPClient:   &http.Client{Transport: &http.Transport{DisableKeepAlives: false, MaxIdleConnsPerHost: 16}},
	}
}
