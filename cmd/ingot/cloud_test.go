package main

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

// cloud is a simulated AWS (export/internal/ec2sim) in a process of its own, empty at first, for tests of the program.
type cloud struct {
	t       *testing.T
	environ []string
	control string
}

// newCloud starts one. It skips the test where moto's server is not installed.
func newCloud(t *testing.T) *cloud {
	t.Helper()
	program := filepath.Join(t.TempDir(), "serve")
	build := exec.Command("go", "build", "-o", program, "../../export/internal/ec2sim/serve")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the simulator: %v\n%s", err, out)
	}
	cmd := exec.Command(program)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe() // it ends when this is closed, and so when this process does
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		cmd.Wait()
	})
	c := &cloud{t: t}
	lines := bufio.NewScanner(stdout)
	for lines.Scan() && lines.Text() != "" {
		c.environ = append(c.environ, lines.Text())
		if url, ok := strings.CutPrefix(lines.Text(), "INGOT_SIM_CONTROL="); ok {
			c.control = url
		}
	}
	if c.control == "" {
		if cmd.Wait(); cmd.ProcessState.ExitCode() == 3 {
			t.Skip("moto's server is not installed: run make setup-test")
		}
		t.Fatal("the simulator did not start")
	}
	return c
}

// request is one that the simulator answered.
type request struct {
	Service, Action, Region, Account string
	Bytes                            int64
	Status                           int
}

// requests are those since forget was called.
func (c *cloud) requests() (all []request) {
	c.t.Helper()
	response, err := http.Get(c.control + "/requests")
	if err != nil {
		c.t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&all); err != nil {
		c.t.Fatal(err)
	}
	return all
}

// count tells how often an action was asked for.
func (c *cloud) count(service, action string) (n int) {
	c.t.Helper()
	for _, r := range c.requests() {
		if r.Service == service && r.Action == action {
			n++
		}
	}
	return n
}

func (c *cloud) forget() { c.post("/forget", "") }

// fault makes something go wrong: an ec2sim.Fault as JSON. mend ends all faults.
func (c *cloud) fault(json string) { c.post("/faults", json) }

func (c *cloud) mend() { c.post("/mend", "") }

func (c *cloud) post(path, body string) {
	c.t.Helper()
	response, err := http.Post(c.control+path, "application/json", strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	defer response.Body.Close()
	if said, _ := io.ReadAll(response.Body); response.StatusCode != http.StatusOK {
		c.t.Fatalf("%s: %s %s", path, response.Status, said)
	}
}

// config is for a client of the test's own.
func (c *cloud) config(region string) aws.Config {
	settings := map[string]string{}
	for _, v := range c.environ {
		name, value, _ := strings.Cut(v, "=")
		settings[name] = value
	}
	return aws.Config{
		Region: region, BaseEndpoint: aws.String(settings["AWS_ENDPOINT_URL"]),
		Credentials: credentials.NewStaticCredentialsProvider(settings["AWS_ACCESS_KEY_ID"], settings["AWS_SECRET_ACCESS_KEY"], ""),
	}
}
