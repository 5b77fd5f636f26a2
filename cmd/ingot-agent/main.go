// Ingot-agent is the static program that runs inside a guest. It serves the builder over a virtio-serial port (package
// builder/agent) and runs component documents there (package builder/component).
//
// It is started by what builder/seed puts into the guest's initrd or seed disk, not by hand.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/ingot-image/ingot/builder/agent"
	"github.com/ingot-image/ingot/builder/component/action"
)

func main() {
	port := flag.String("port", agent.PortName, "name of the virtio-serial port to serve")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	server := &agent.Server{
		Modules: action.Modules(),
		Open:    func() (io.ReadWriteCloser, error) { return agent.OpenPort(*port) },
		System:  agent.Linux{Root: "/"},
	}
	if err := server.Serve(ctx); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "ingot-agent:", err)
		os.Exit(1)
	}
}
