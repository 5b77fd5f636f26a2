package qemu

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
)

// Service is a TCP service of this program that the guest finds at an address of its network, as if another machine were there. It has no port on
// the host: QEMU runs Config.Relay for each of the guest's connections, and that connects to a socket in the VM's own folder. A restricted network
// reaches its services too.
type Service struct {
	Address netip.Addr // within Network.Subnet, and not the guest's own
	Port    int
	// Serve is called once, before the guest runs, and accepts the guest's connections. It must return when the listener is closed, which is when the
	// VM has ended; its error is ignored then. Connections that are still open at that time are closed.
	//
	//	Serve: func(l net.Listener) error { return http.Serve(l, handler) }
	Serve func(net.Listener) error
}

// Relay connects in and out to the UNIX socket at path until the connection ends. It is what a program that has Services must do when QEMU starts
// it by Config.Relay, with its standard input and output and the last of its arguments:
//
//	if len(os.Args) == 3 && os.Args[1] == "relay" {
//		err := qemu.Relay(os.Args[2], os.Stdin, os.Stdout)
//		…
//	}
//	config.Relay = []string{os.Args[0], "relay"}
func Relay(path string, in io.Reader, out io.Writer) error {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return fmt.Errorf("relay: %w", err)
	}
	defer conn.Close()
	go func() {
		// The guest says no more, or is gone. It may still listen.
		io.Copy(conn, in)
		conn.CloseWrite()
	}()
	if _, err := io.Copy(out, conn); err != nil {
		return fmt.Errorf("relay: %w", err)
	}
	return nil
}

// service gives QEMU's guestfwd option of a service that listens at path.
func (s Service) option(relay []string, path string) string {
	// GLib splits the command as a shell would (g_shell_parse_argv).
	var words []string
	for _, w := range append(slices.Clone(relay), path) {
		words = append(words, "'"+strings.ReplaceAll(w, "'", `'\''`)+"'")
	}
	return option("guestfwd", fmt.Sprintf("tcp:%s:%d-cmd:%s", s.Address, s.Port, strings.Join(words, " ")))
}

func (n *Network) validate(relay []string) (errs []error) {
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for _, f := range n.Forwards {
		if err := f.validate(); err != nil {
			errs = append(errs, err)
		}
	}
	subnet := n.subnet()
	if !subnet.Addr().Is4() || subnet.Bits() > 27 {
		bad("network: %s is no IPv4 network with room for QEMU's addresses", subnet)
	}
	for _, s := range n.Services {
		if !subnet.Contains(s.Address) || s.Port < 1 || s.Port > 65535 {
			bad("service: %s port %d is not in the network %s", s.Address, s.Port, subnet)
		}
		if s.Serve == nil {
			bad("service: nothing serves %s port %d", s.Address, s.Port)
		}
	}
	if len(n.Services) > 0 && len(relay) == 0 {
		bad("service: there is no relay to run")
	}
	return errs
}

var defaultSubnet = netip.MustParsePrefix("10.0.2.0/24")

func (n *Network) subnet() netip.Prefix {
	if n.Subnet.IsValid() {
		return n.Subnet.Masked()
	}
	return defaultSubnet
}

// services are those of a VM, served.
type services struct {
	paths     []string // of their sockets, one for each Network.Services
	listeners []*serviceListener
	served    sync.WaitGroup
}

// serve begins to serve the network's services at sockets in the folder. After an error nothing is served.
func serve(n *Network, dir *runtimeDir) (*services, error) {
	s := &services{}
	if n == nil {
		return s, nil
	}
	for i := range n.Services {
		path := dir.file(fmt.Sprintf("s%d.sock", i))
		listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			s.close()
			return nil, err
		}
		s.paths = append(s.paths, path)
		s.listeners = append(s.listeners, &serviceListener{Listener: listener, open: map[net.Conn]struct{}{}})
	}
	for i, l := range s.listeners {
		s.served.Go(func() { n.Services[i].Serve(l) })
	}
	return s, nil
}

// close ends the services with all their connections, and waits for them. It may be called again.
func (s *services) close() {
	for _, l := range s.listeners {
		l.end()
	}
	s.served.Wait()
}

// serviceListener knows the connections it gave, so that they end with it.
type serviceListener struct {
	net.Listener

	mu    sync.Mutex
	open  map[net.Conn]struct{}
	ended bool
}

func (l *serviceListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return nil, errors.Join(net.ErrClosed, conn.Close())
	}
	c := &serviceConn{conn, l}
	l.open[c] = struct{}{}
	return c, nil
}

func (l *serviceListener) end() {
	l.Close()
	l.mu.Lock()
	l.ended = true
	var open []net.Conn
	for c := range l.open {
		open = append(open, c)
	}
	l.mu.Unlock()
	for _, c := range open {
		c.Close()
	}
}

type serviceConn struct {
	net.Conn
	of *serviceListener
}

func (c *serviceConn) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}
