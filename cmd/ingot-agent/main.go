// Ingot-agent is the static program that runs inside a guest. It serves the builder over a virtio-serial port (package
// builder/agent) and runs component documents there (package builder/component). So it is started by what builder/seed puts
// into the guest's initrd or seed disk, not by hand.
//
// By hand it runs documents on the machine that it is on, which needs no Ingot there:
//
//	ingot-agent run -d hello.yml,setup.yml --phases build,validate
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/ingot-image/ingot/builder/agent"
	"github.com/ingot-image/ingot/builder/component/action"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) > 1 && os.Args[1] == "run" {
		os.Exit(runDocuments(ctx, os.Args[2:], os.Stdout, os.Stderr))
	}
	// The agent moves bytes, on a guest that belongs to others. Under emulation threads that look for work cost more than they find, and
	// most garbage is output that has been sent: a heap of 32 MiB instead of 4 saves most of its collections.
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(800)
	port := flag.String("port", agent.PortName, "name of the virtio-serial port to serve")
	flag.Parse()
	prepareConsole()
	server := &agent.Server{
		Modules: action.Modules(),
		Open:    func() (io.ReadWriteCloser, error) { return agent.OpenPort(*port) },
		System:  system(),
	}
	if err := server.Serve(ctx); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "ingot-agent:", err)
		os.Exit(1)
	}
}
