// Package agent is the line between the builder on the host and ingot-agent inside a guest: one virtio-serial port, on
// which a handshake opens a yamux session and each request is a stream of its own.
//
// The guest side is [Serve]; the host side is [Connect], which answers with a [Client]:
//
//	client, err := agent.Connect(ctx, conn)          // conn: the host's end of the port, e.g. qemu.VM.Dial
//	result, err := client.Run(ctx, request, events)  // component documents, with live events
//	output, err := client.Exec(ctx, agent.Command{Path: "/bin/uname", Args: []string{"-r"}}, nil)
//
// No guest network, SSH or login is involved, and nothing is written to the guest's disk. How the agent gets into a guest
// at all is in package builder/seed.
//
// # Wire
//
// The port is a byte pipe that outlives both ends: bytes of a guest that has since rebooted may still be in it. So the
// agent repeats the line "INGOT-AGENT 3 NONCE" with a fresh nonce until the host answers "INGOT-HOST 3 NONCE", and closes
// the handshake with "INGOT-GO NONCE"; everything before those lines is thrown away. After them both sides speak yamux
// (github.com/hashicorp/yamux), the host as client. Each stream starts with one JSON line, a request, and is answered by
// JSON lines; bulk data follows its line as it is, with the length the line gave. What runs of documents and shells say comes in frames
// instead (frame.go): a step may print as fast as the port takes it.
package agent

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/ingot-image/ingot/builder/component"
)

// PortName is the virtio-serial port's name, found in the guest as /dev/virtio-ports/NAME.
const PortName = "org.ingot.agent.0"

const (
	// Protocol is the version of the wire; both ends must have the same.
	Protocol = 3

	// maxLine bounds one JSON line. The largest are run requests: at most 20 documents of at most 1 MiB each.
	maxLine = 32 << 20
	// maxHandshakeLine bounds a line of the handshake; what is longer is noise from an earlier session.
	maxHandshakeLine = 128
)

// request is the first line of a stream. Exactly one field is set.
type request struct {
	Info  *struct{}          `json:"info,omitempty"`
	Ready *struct{}          `json:"ready,omitempty"`
	Run   *component.Request `json:"run,omitempty"`
	Exec  *Command           `json:"exec,omitempty"`
	Get   *getRequest        `json:"get,omitempty"`
	Boot  *struct{}          `json:"boot,omitempty"`
	Power *powerRequest      `json:"power,omitempty"`
	Put   *PutFile           `json:"put,omitempty"` // that many bytes follow this line
	Shell *Shell             `json:"shell,omitempty"`
	Wake  *wakeRequest       `json:"wake,omitempty"`
	Sync  *struct{}          `json:"sync,omitempty"`
	Serve *serveRequest      `json:"serve,omitempty"`
	Tar   *tarRequest        `json:"tar,omitempty"`

	Services *runServices `json:"services,omitempty"` // beside Run
}

type getRequest struct {
	Path  string `json:"path"`
	Limit int64  `json:"limit"`
}

type powerRequest struct {
	Reboot bool `json:"reboot"`
}

// response is one line of an answer. A stream's last line has Error or the result that fits its request.
type response struct {
	Error  string            `json:"error,omitempty"`
	Info   *Info             `json:"info,omitempty"`
	Ready  *Ready            `json:"ready,omitempty"`
	Event  *component.Event  `json:"event,omitempty"`
	Result *component.Result `json:"result,omitempty"`
	Output *Output           `json:"output,omitempty"`
	Exit   *Exit             `json:"exit,omitempty"`
	Size   *int64            `json:"size,omitempty"` // that many bytes follow this line
	Boot   *BootFiles        `json:"boot,omitempty"`
	Done   bool              `json:"done,omitempty"`
	// Skipped is told while an archive is sent.
	Skipped *Skipped `json:"skipped,omitempty"`
	// Serving says that the run is there to take offers of the host's services.
	Serving bool `json:"serving,omitempty"`
}

// Info describes the guest the agent runs in.
type Info struct {
	BootID       string `json:"bootId"`       // /proc/sys/kernel/random/boot_id: another one after each boot
	Kernel       string `json:"kernel"`       // uname -r
	Architecture string `json:"architecture"` // Go's word: amd64, arm64
	OS           string `json:"os"`           // os-release's PRETTY_NAME
	OSID         string `json:"osId"`         // os-release's ID
	OSVersion    string `json:"osVersion"`    // os-release's VERSION_ID
}

// Ready is the guest's state once its start-up is over.
type Ready struct {
	State       string   `json:"state"`       // systemctl is-system-running: running, degraded, …
	FailedUnits []string `json:"failedUnits"` // units in the failed state
	CloudInit   string   `json:"cloudInit"`   // done, disabled, error, absent
	CloudErrors []string `json:"cloudErrors"` // errors of cloud-init's result.json
}

// Command is a program to run in the guest as root.
type Command struct {
	Path  string   `json:"path"`
	Args  []string `json:"args,omitempty"`
	Env   []string `json:"env,omitempty"` // NAME=VALUE, added to a plain system environment
	Stdin string   `json:"stdin,omitempty"`
}

// Output is a piece of what a command wrote.
type Output struct {
	Stream string `json:"stream"` // stdout or stderr
	Data   []byte `json:"data"`
}

// Exit tells how a command ended.
type Exit struct {
	Code int `json:"code"` // -1 when a signal ended it
}

// BootFiles are the kernel and initrd that the guest would boot next. Name and size and modification time together tell
// whether they changed since the guest was started from copies of them.
type BootFiles struct {
	Kernel BootFile `json:"kernel"`
	Initrd BootFile `json:"initrd"`
}

// BootFile is one file under the guest's /boot.
type BootFile struct {
	Path    string    `json:"path"` // links resolved
	Size    int64     `json:"size"`
	ModTime time.Time `json:"modTime"`
}

// writeLine sends one JSON line.
func writeLine(w io.Writer, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(data, '\n'))
	return err
}

var errLineTooLong = errors.New("line over the protocol's limit")

// readLine reads one JSON line of at most maxLine bytes into v.
func readLine(r *bufio.Reader, v any) error {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > maxLine {
			return errLineTooLong
		}
		line = append(line, part...)
		if err == nil {
			return json.Unmarshal(line, v)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			if err == io.EOF && len(line) > 0 {
				return io.ErrUnexpectedEOF
			}
			return err
		}
	}
}

// handshakeLine reads up to the next end of line and returns the line, or "" for one that is too long to be ours.
func handshakeLine(r *bufio.Reader) (string, error) {
	var line []byte
	for {
		b, err := r.ReadByte()
		if err != nil {
			return "", err
		}
		if b == '\n' {
			if len(line) > maxHandshakeLine {
				return "", nil
			}
			return strings.TrimSuffix(string(line), "\r"), nil
		}
		if len(line) <= maxHandshakeLine {
			line = append(line, b)
		}
	}
}

func agentHello(nonce string) string {
	return fmt.Sprintf("INGOT-AGENT %d %s", Protocol, nonce)
}
func hostHello(nonce string) string { return fmt.Sprintf("INGOT-HOST %d %s", Protocol, nonce) }
func goLine(nonce string) string    { return "INGOT-GO " + nonce }

// sessionConfig turns off yamux's own clocks: a guest under TCG, or one that is being saved, may be silent for long, and
// the builder's waits have limits and causes of their own.
func sessionConfig() *yamux.Config {
	c := yamux.DefaultConfig()
	c.EnableKeepAlive = false
	c.ConnectionWriteTimeout = 5 * time.Minute
	c.StreamOpenTimeout = 0
	c.StreamCloseTimeout = time.Hour
	c.MaxStreamWindowSize = 1 << 20
	c.LogOutput = io.Discard
	return c
}

// pipe is a connection whose first bytes a handshake may already have read ahead.
type pipe struct {
	io.Reader
	io.WriteCloser
}
