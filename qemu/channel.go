package qemu

import (
	"context"
	"fmt"
	"net"
	"strings"
)

// portState is what the guest did with its end of a virtio-serial port.
type portState struct {
	open  bool
	opens int // how often it was opened
}

// Dial connects to the host's end of a virtio-serial port. A port has one connection at a time: a second one waits
// until the first is closed. Data sent before the guest opens its end is kept; when the host's end is closed the
// guest reads end of file, and may go on when it is dialled again.
//
// A program in the guest misses that end of file if the port is dialled again at once: Linux keeps only whether there is a host now
// (port_fops_read in drivers/char/virtio_console.c). So a protocol with a beginning must know its beginning when it sees it.
func (vm *VM) Dial(ctx context.Context, port string) (net.Conn, error) {
	path, ok := vm.sockets[port]
	if !ok {
		return nil, fmt.Errorf("dial port %s: the machine has no such port", port)
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("dial port %s: %w", port, err)
	}
	return conn, nil
}

// PortOpen waits until a program in the guest has the port open. It fails when the VM or ctx ends.
func (vm *VM) PortOpen(ctx context.Context, port string) error {
	if _, ok := vm.sockets[port]; !ok {
		return fmt.Errorf("port %s: the machine has no such port", port)
	}
	if err := vm.until(ctx, func() bool { return vm.ports[port].open }); err != nil {
		return fmt.Errorf("port %s: %w", port, err)
	}
	return nil
}

// PortClosed waits until the program in the guest has closed the port, or until it was closed and opened again
// since the call: QEMU reports at most one change a second, so a short interruption shows only as another opening.
func (vm *VM) PortClosed(ctx context.Context, port string) error {
	if _, ok := vm.sockets[port]; !ok {
		return fmt.Errorf("port %s: the machine has no such port", port)
	}
	vm.mu.Lock()
	before := vm.ports[port].opens
	vm.mu.Unlock()
	err := vm.until(ctx, func() bool { return !vm.ports[port].open || vm.ports[port].opens > before })
	if err != nil {
		return fmt.Errorf("port %s: %w", port, err)
	}
	return nil
}

// PortIsOpen tells whether a program in the guest has the port open now.
func (vm *VM) PortIsOpen(port string) bool {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	return vm.ports[port].open
}

// portChanged takes a VSERPORT_CHANGE event; vm.mu is held.
func (vm *VM) portChanged(device string, open bool) {
	for i, name := range vm.config.Ports {
		if device == portDevice(i) {
			s := vm.ports[name]
			s.open = open
			if open {
				s.opens++
			}
			vm.ports[name] = s
		}
	}
}

// portDevice is the id of a port's device.
func portDevice(i int) string { return fmt.Sprintf("port%d-device", i) }

// Forwards returns the network's forwards with the host ports the system chose.
func (vm *VM) Forwards() []Forward {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	return append([]Forward(nil), vm.forwards...)
}

// findForwards learns the host ports that were left to the system. QEMU tells them only in its human monitor:
//
//	Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ
//	TCP[HOST_FORWARD]  10       127.0.0.1 35091       10.0.2.15    22     0     0
func (vm *VM) findForwards(ctx context.Context) error {
	if vm.config.Network == nil || len(vm.config.Network.Forwards) == 0 {
		return nil
	}
	forwards := append([]Forward(nil), vm.config.Network.Forwards...)
	var table string
	err := vm.monitor.Execute(ctx, "human-monitor-command", map[string]string{"command-line": "info usernet"}, &table)
	if err != nil {
		return err
	}
	for i := range forwards {
		f := &forwards[i]
		f.HostAddress = f.address()
		if f.HostPort != 0 {
			continue
		}
		if f.HostPort = forwardedPort(table, *f, forwards[:i]); f.HostPort == 0 {
			return fmt.Errorf("forward to guest port %d: QEMU does not tell its host port", f.GuestPort)
		}
	}
	vm.mu.Lock()
	vm.forwards = forwards
	vm.mu.Unlock()
	return nil
}

// forwardedPort looks in the table for the host port of a forward, other than those taken.
func forwardedPort(table string, f Forward, taken []Forward) int {
	for line := range strings.Lines(table) {
		var state, source, dest string
		var fd, port, guest int
		if n, _ := fmt.Sscan(line, &state, &fd, &source, &port, &dest, &guest); n < 6 ||
			state != "TCP[HOST_FORWARD]" || source != f.HostAddress || guest != f.GuestPort {
			continue
		}
		used := false
		for _, t := range taken {
			used = used || t.HostPort == port && t.HostAddress == source
		}
		if !used {
			return port
		}
	}
	return 0
}
