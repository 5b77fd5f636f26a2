package qemu

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// startLimit bounds the time from QEMU's start to its monitor's answer, before any guest code runs.
const startLimit = time.Minute

// VM is a running virtual machine. It owns everything that lives as long as the machine: the process group, the
// folder with its sockets, the console's reader, the monitor. All methods may be called from several goroutines.
type VM struct {
	config  Config
	args    []string
	binary  BinaryInfo
	dir     *runtimeDir
	process *process
	monitor *Monitor
	console *Console
	sockets map[string]string // port name → socket path
	served  *services
	stop    func() bool   // stops watching Start's context
	done    chan struct{} // closed when the process is gone and all its output has been read

	saving sync.Mutex // held while the guest's state is saved

	mu       sync.Mutex
	layers   int           // overlays that Snapshot has put on disk 0
	changed  chan struct{} // closed and replaced at every change of what follows
	ports    map[string]portState
	resets   int
	reason   ShutdownReason
	killed   error // why we killed it, if we did
	forwards []Forward
	cleanup  error
}

// Start runs a virtual machine. The machine runs until it ends by itself, Close is called, or ctx ends. When the
// calling process dies, even by SIGKILL, the kernel kills QEMU too.
//
// If QEMU ends before the guest could start the error is "start qemu: QEMU exited 1: " and its last message, an
// *ExitError. Nothing is left behind by a failed Start.
func Start(ctx context.Context, config Config) (*VM, error) {
	vm, err := start(ctx, config, nil)
	if err != nil {
		return nil, fmt.Errorf("start qemu: %w", err)
	}
	return vm, nil
}

// start runs a VM; load, if not nil, gives it the state to go on from. The process inherits files from descriptor inheritedFD on.
func start(ctx context.Context, config Config, load func(context.Context, *VM) error, files ...*os.File) (_ *VM, err error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	m, err := machineFor(config.Architecture)
	if err != nil {
		return nil, err
	}
	if config.Accelerator.Name == KVM && !m.native() {
		return nil, fmt.Errorf("kvm runs guests of the host's architecture only, not %s", m.architecture)
	}
	path, err := FindBinary(config.Binary, config.Architecture)
	if err != nil {
		return nil, err
	}
	vm := &VM{
		config:  config,
		sockets: map[string]string{},
		done:    make(chan struct{}),
		changed: make(chan struct{}),
		ports:   map[string]portState{},
	}
	if vm.binary, err = InspectBinary(ctx, path); err != nil {
		return nil, err
	}
	if vm.dir, err = newRuntimeDir(config.RuntimeDir); err != nil {
		return nil, err
	}
	if err := vm.launch(m, load != nil, files); err != nil {
		return nil, errors.Join(err, vm.dir.remove())
	}
	vm.stop = context.AfterFunc(ctx, func() { vm.kill(context.Cause(ctx)) })
	if err := vm.begin(ctx, load); err != nil {
		err = vm.startError(ctx, err)
		return nil, errors.Join(err, vm.Close())
	}
	return vm, nil
}

const (
	monitorFD   = 3
	inheritedFD = 4
)

// launch starts the process and the readers of its output. After an error nothing runs.
func (vm *VM) launch(m *machine, incoming bool, files []*os.File) (err error) {
	s := surroundings{monitorFD: monitorFD, sandbox: vm.binary.Sandbox, version: vm.binary.Version, incoming: incoming}
	for i, name := range vm.config.Ports {
		path := vm.dir.file(fmt.Sprintf("p%d.sock", i))
		vm.sockets[name] = path
		s.ports = append(s.ports, path)
	}
	if fw := vm.config.Firmware; fw != nil && fw.Vars.Path != "" {
		s.vars = vm.config.FirmwareVars
		if s.vars == "" {
			s.vars = vm.dir.file("vars.fd")
			if err := fw.CopyVars(s.vars); err != nil {
				return err
			}
		}
	}
	if vm.served, err = serve(vm.config.Network, vm.dir); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			vm.served.close()
		}
	}()
	s.services = vm.served.paths
	monitor, monitorEnd, err := socketPair()
	if err != nil {
		return err
	}
	defer monitorEnd.Close()
	console, stdin, stdout, err := openConsole(vm.config.ConsoleLog, vm.config.ConsoleLogLimit)
	if err != nil {
		monitor.Close()
		return err
	}
	defer stdin.Close()
	defer stdout.Close()
	vm.args = vm.config.arguments(m, s)
	vm.process, err = startProcess(vm.binary.Path, vm.args, stdin, stdout, append([]*os.File{monitorEnd}, files...)...)
	if err != nil {
		monitor.Close()
		console.close()
		return err
	}
	vm.monitor, vm.console = NewMonitor(monitor), console
	go vm.console.read()
	events, err := vm.monitor.Events(context.Background())
	if err != nil { // cannot be: the monitor is new
		panic(err)
	}
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for e := range events {
			vm.event(e)
		}
	}()
	go vm.supervise(watched)
	return nil
}

// socketPair returns the two ends of a connection for the monitor: ours, and the one to be inherited by QEMU.
// Unlike a socket in the file system it has no name that others could connect to, and it is there from the start.
func socketPair() (net.Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make socket for the monitor: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "monitor"), os.NewFile(uintptr(fds[1]), "monitor")
	conn, err := net.FileConn(ours)
	ours.Close()
	if err != nil {
		theirs.Close()
		return nil, nil, fmt.Errorf("make socket for the monitor: %w", err)
	}
	return conn, theirs, nil
}

// supervise waits for the process's end and cleans up after it.
func (vm *VM) supervise(watched <-chan struct{}) {
	<-vm.process.done
	// The other ends of its connections are gone, so the readers see all that was sent and then the end.
	<-vm.console.done
	vm.monitor.Disconnect()
	<-watched
	vm.served.close()
	err := vm.dir.remove()
	vm.console.close()
	vm.mu.Lock()
	vm.cleanup = errors.Join(err, vm.console.logErr)
	vm.mu.Unlock()
	close(vm.done)
}

// begin waits for the monitor, checks what QEMU has opened, loads a state if there is one, and lets the guest run.
func (vm *VM) begin(ctx context.Context, load func(context.Context, *VM) error) error {
	limit := startLimit
	if load != nil {
		limit += stateLimit
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := vm.monitor.ConnectContext(ctx); err != nil {
		return err
	}
	if err := vm.refuseUndeclared(ctx); err != nil {
		return err
	}
	if load != nil {
		if err := load(ctx, vm); err != nil {
			return err
		}
	}
	if err := vm.findForwards(ctx); err != nil {
		return err
	}
	return vm.monitor.Execute(ctx, "cont", nil, nil)
}

// refuseUndeclared fails if a disk's header names a backing file that Config does not declare. QEMU was told not
// to open any, so such a disk would show holes in its place.
func (vm *VM) refuseUndeclared(ctx context.Context) error {
	var nodes []struct {
		Name  string `json:"node-name"`
		Image struct {
			Backing string `json:"backing-filename"`
		} `json:"image"`
	}
	if len(vm.config.Disks) == 0 {
		return nil
	}
	if err := vm.monitor.Execute(ctx, "query-named-block-nodes", map[string]any{"flat": true}, &nodes); err != nil {
		return err
	}
	backing := map[string]string{}
	for _, n := range nodes {
		backing[n.Name] = n.Image.Backing
	}
	for i, d := range vm.config.Disks {
		last, node := d.Path, diskNode(i)
		if n := len(d.Backing); n > 0 {
			last, node = d.Backing[n-1].Path, fmt.Sprintf("disk%d-backing%d", i, n-1)
		}
		if b := backing[node]; b != "" {
			return fmt.Errorf("disk %d: %s names the backing file %q, which the configuration does not declare (Disk.Backing)", i, last, b)
		}
	}
	return nil
}

// startError finds the reason behind a failed begin: the end of QEMU if it has ended, else what failed.
func (vm *VM) startError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("the monitor did not answer within %v: %w", startLimit, err)
	}
	if vm.monitor.closedErr() == nil {
		return err // QEMU lives: it is not the reason
	}
	select { // the end of the connection comes a little before the end of the process
	case <-vm.done:
		return vm.exitError()
	case <-time.After(2 * time.Second):
		return err
	}
}

// kill ends the process group if it has not ended by itself, remembering the first reason.
func (vm *VM) kill(reason error) {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	if vm.process.kill() && vm.killed == nil {
		vm.killed = reason
	}
}

// ErrClosed is why a VM ended that was closed while it ran.
var ErrClosed = errors.New("the VM was closed")

// Close ends the VM at once, as if its power was cut, and removes what it left: when it returns there is no process
// and no folder any more. It may be called at any time and any number of times; every call waits and returns the
// same result. The data QEMU has in memory for a qcow2 disk is lost: use PowerDown or Quit first for a disk to be
// kept. The error is about the cleaning up or the console log only.
func (vm *VM) Close() error {
	vm.stop()
	vm.kill(ErrClosed)
	<-vm.done
	vm.mu.Lock()
	defer vm.mu.Unlock()
	return vm.cleanup
}

// Done is closed when QEMU is gone and all it sent has been read.
func (vm *VM) Done() <-chan struct{} { return vm.done }

// Err tells how the VM ended: nil while it runs and after an end that was asked for (by the guest or by Quit),
// ErrClosed after Close, the context's cause when that ended it, or else an *ExitError.
func (vm *VM) Err() error {
	select {
	case <-vm.done:
	default:
		return nil
	}
	vm.mu.Lock()
	killed := vm.killed
	vm.mu.Unlock()
	if killed != nil {
		return killed
	}
	if vm.process.state.Success() {
		return nil
	}
	return vm.exitError()
}

// ExitError is an end of QEMU that nobody asked for.
type ExitError struct {
	Status string // "exited 1", "was killed by signal 9 (killed)"
	Stderr string // the last of what it printed
}

func (e *ExitError) Error() string {
	if line := lastLine(e.Stderr); line != "" {
		return "QEMU " + e.Status + ": " + line
	}
	return "QEMU " + e.Status
}

// exitError may be called once done is closed.
func (vm *VM) exitError() *ExitError {
	return &ExitError{vm.process.status(), vm.process.stderr.String()}
}

// Monitor returns the VM's QMP monitor.
func (vm *VM) Monitor() *Monitor { return vm.monitor }

// Console returns the guest's serial console.
func (vm *VM) Console() *Console { return vm.console }

// Accelerator returns what runs the guest's instructions.
func (vm *VM) Accelerator() Accelerator { return vm.config.Accelerator }

// Binary tells which QEMU runs the machine.
func (vm *VM) Binary() BinaryInfo { return vm.binary }

// Args returns QEMU's arguments, for messages and logs.
func (vm *VM) Args() []string { return slices.Clone(vm.args) }

// PID returns QEMU's process id.
func (vm *VM) PID() int { return vm.process.pid }
