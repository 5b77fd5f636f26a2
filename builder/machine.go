package builder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/ingot-image/ingot/builder/agent"
	"github.com/ingot-image/ingot/builder/agent/grants"
	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/component/action"
	"github.com/ingot-image/ingot/builder/seed"
	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/qemu"
)

// machine is a guest that the builder works in: a VM and the session with the agent inside it. It survives the guest's
// reboots; each of them is a new VM process on the same disk, so that a kernel the guest has installed is the one that
// comes up. Close is idempotent and leaves nothing running.
type machine struct {
	config qemu.Config
	// kernel and initrd are what the guest is started with directly; nil for a guest that boots by firmware.
	direct *directBoot
	folder string // for the machine's own files
	agent  *agent.Client
	vm     *qemu.VM
	// keepTmp has a guest that is booted directly leave /tmp as it is at this boot.
	keepTmp bool
	// services are what documents in the guest may reach, as far as they name it.
	services agent.Services
}

// directBoot is the kernel and initrd of a guest as files on the host.
type directBoot struct {
	kernel, initrd string
	append         string
	files          agent.BootFiles // what they were copied from, once the guest has told
}

// Limits of the waits, for KVM; slower accelerators scale them (qemu.Accelerator.Limit).
const (
	bootLimit      = time.Minute
	readyLimit     = 90 * time.Second
	shutdownLimit  = 45 * time.Second
	agentLimit     = 20 * time.Second // for an answer of a living agent
	heartbeatEvery = 15 * time.Second
	finaliseLimit  = 5 * time.Minute
)

// maxBootFile bounds a kernel or initrd taken from a guest, in bytes.
const maxBootFile = 1 << 30

// start starts the VM and waits for its agent.
func (m *machine) start(ctx context.Context) error {
	config, err := m.prepared()
	if err != nil {
		return err
	}
	if m.vm, err = qemu.Start(ctx, config); err != nil {
		return err
	}
	return m.connect(ctx, qemu.Wait{
		Name: "the guest's agent to start", Limit: bootLimit,
		Hint: "the console's last lines tell how far the boot came; the agent needs systemd, and cloud-init where the kernel is not started directly",
	})
}

// prepared is the configuration with what a direct boot needs.
func (m *machine) prepared() (qemu.Config, error) {
	config := m.config
	if m.direct != nil {
		initrd := filepath.Join(m.folder, "initrd")
		_, files := seed.Direct(nil)
		if m.keepTmp {
			files = append(files, seed.KeepTmp())
		}
		if err := appendInitrd(initrd, m.direct.initrd, files); err != nil {
			return config, err
		}
		config.Kernel = &qemu.DirectKernel{
			Kernel: m.direct.kernel, Initrd: initrd,
			Append: m.direct.append + " " + seed.DirectAppend,
		}
	}
	return config, nil
}

// connect waits for the agent.
func (m *machine) connect(ctx context.Context, wait qemu.Wait) error {
	return m.vm.Await(ctx, wait, func(ctx context.Context) error {
		conn, err := m.vm.Dial(ctx, agent.PortName)
		if err != nil {
			return err
		}
		m.agent, err = agent.Connect(ctx, conn)
		return err
	})
}

func appendInitrd(dst, src string, files []seed.File) error {
	var more []qemu.InitrdFile
	for _, f := range files {
		more = append(more, qemu.InitrdFile{Path: f.Name, Mode: f.Mode, Content: f.Data})
	}
	return qemu.AppendInitrd(dst, src, more)
}

// ready waits until the guest's start-up is over.
func (m *machine) ready(ctx context.Context) (ready *agent.Ready, err error) {
	wait := qemu.Wait{
		Name: "the guest's start-up to end", Limit: readyLimit,
		Hint: "a unit that systemd waits for does not come up; the console names the jobs that are still running",
	}
	err = m.vm.Await(ctx, wait, func(ctx context.Context) error {
		ready, err = m.agent.Ready(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	if m.direct != nil && m.direct.files == (agent.BootFiles{}) {
		files, err := m.agent.BootFiles(ctx)
		if err != nil {
			return nil, err
		}
		m.direct.files = *files
	}
	return ready, nil
}

// run runs component documents, rebooting the guest whenever a step asks for it. No documents are a success.
func (m *machine) run(ctx context.Context, req component.Request, events func(component.Event)) (*component.Result, error) {
	if len(req.Documents) == 0 {
		return &component.Result{Status: component.StatusSuccess}, nil
	}
	granted := grants.Limit(m.services, req, action.Modules().For("linux"))
	for reboots := 0; ; reboots++ {
		var result *component.Result
		// How long a step may take is the document's to say. What must not happen is waiting for a guest that is gone.
		wait := qemu.Wait{Name: "the components to run"}
		err := m.vm.Await(ctx, wait, func(ctx context.Context) (err error) {
			return whileAlive(ctx, heartbeatEvery, m.config.Accelerator.Limit(agentLimit), m.alive, func(ctx context.Context) error {
				if result, err = m.agent.Run(ctx, req, granted, events); err == nil && result.Status == component.StatusReboot {
					err = sleep(ctx, time.Duration(result.RebootDelaySeconds)*time.Second)
				}
				return err
			})
		})
		if err != nil {
			return nil, err
		}
		if result.Status != component.StatusReboot {
			return result, nil
		}
		if reboots == maxReboots {
			return nil, fmt.Errorf("the components asked for more than %d reboots", maxReboots)
		}
		if err := m.reboot(ctx); err != nil {
			return nil, fmt.Errorf("reboot the guest: %w", err)
		}
		req.Resume = result.State
	}
}

// maxReboots bounds a whole run: the engine allows each step 15 of them (the service's Mds.CommandRetryLimit).
const maxReboots = 300

// sleep waits for a while, or for the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

var errNoAnswer = errors.New("the guest's agent no longer answers")

// alive asks the agent for a sign of life.
func (m *machine) alive(ctx context.Context) error {
	_, err := m.agent.Info(ctx)
	return err
}

// whileAlive does some work in the guest and ends it when the guest no longer gives a sign of life within a limit.
func whileAlive(ctx context.Context, every, limit time.Duration, alive, work func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(every):
			}
			ask, stop := context.WithTimeout(ctx, limit)
			err := alive(ask)
			late := ask.Err() != nil
			stop()
			if late {
				cancel(fmt.Errorf("%w (for %v)", errNoAnswer, limit))
			}
			if err != nil {
				return // the work's own request ends with the session, and tells why
			}
		}
	}()
	err := work(ctx)
	if errors.Is(context.Cause(ctx), errNoAnswer) {
		return context.Cause(ctx)
	}
	return err
}

// reboot takes the guest down in order and starts it again, with the kernel it has by then.
func (m *machine) reboot(ctx context.Context) error {
	if m.direct != nil {
		if err := m.fetchBootFiles(ctx); err != nil {
			return err
		}
	}
	if err := m.down(ctx, "the guest to reboot", m.agent.Reboot); err != nil {
		return err
	}
	if err := m.start(ctx); err != nil {
		return err
	}
	_, err := m.ready(ctx)
	return err
}

// fetchBootFiles copies the guest's kernel and initrd if it would now boot others than it was started with.
func (m *machine) fetchBootFiles(ctx context.Context) error {
	files, err := m.agent.BootFiles(ctx)
	if err != nil {
		return err
	}
	fetch := func(old, now agent.BootFile, name string, dst *string) error {
		if old == now {
			return nil
		}
		path := filepath.Join(m.folder, name)
		f, err := os.Create(path)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := m.agent.Get(ctx, now.Path, maxBootFile, f); err != nil {
			return err
		}
		*dst = path
		return f.Close()
	}
	if err := fetch(m.direct.files.Kernel, files.Kernel, "guest-kernel", &m.direct.kernel); err != nil {
		return err
	}
	if err := fetch(m.direct.files.Initrd, files.Initrd, "guest-initrd", &m.direct.initrd); err != nil {
		return err
	}
	m.direct.files = *files
	return nil
}

// exec runs a bash script in the guest and returns its standard output.
func (m *machine) exec(ctx context.Context, name, script string, args ...string) (out []byte, err error) {
	wait := qemu.Wait{Name: name, Limit: finaliseLimit}
	err = m.vm.Await(ctx, wait, func(ctx context.Context) error {
		// Not on the standard input, from which what the script runs might read it away.
		out, err = m.agent.Exec(ctx, agent.Command{Path: "/bin/bash", Args: append([]string{"-c", script, name}, args...)}, nil)
		return err
	})
	return out, err
}

// letGo gets the guest ready to be stopped: its disk is as whole as it can be, in case it must boot from it one day, and the
// session with its agent is over.
func (m *machine) letGo(ctx context.Context) error {
	wait := qemu.Wait{Name: "the guest to write to its disk", Limit: freezeLimit}
	if err := m.vm.Await(ctx, wait, m.agent.Sync); err != nil {
		return err
	}
	// The agent need not notice: the next session begins with knocking (agent.Connect).
	return m.agent.Close()
}

// down gives the guest the order and waits until QEMU has ended by it.
func (m *machine) down(ctx context.Context, name string, order func(context.Context) error) error {
	if err := m.vm.Await(ctx, qemu.Wait{Name: name, Limit: agentLimit}, order); err != nil && !isShutdown(err) {
		return err
	}
	_, err := m.vm.WaitShutdown(ctx, qemu.Wait{
		Name: name, Limit: shutdownLimit, Hint: "a unit that does not stop holds it up; the console names it",
	})
	if err != nil {
		return err
	}
	return m.Close()
}

// isShutdown tells whether the guest was down before it could answer.
func isShutdown(err error) bool {
	var wait *qemu.WaitError
	return errors.As(err, &wait) && wait.Reason == qemu.WaitShutdown
}

// shutDown takes the guest down in order, so that its file systems are clean.
func (m *machine) shutDown(ctx context.Context) error {
	return m.down(ctx, "the guest to shut down", m.agent.PowerOff)
}

// Close ends the session and the VM. The machine may be started again.
func (m *machine) Close() error {
	if m.agent != nil {
		m.agent.Close()
		m.agent = nil
	}
	if m.vm == nil {
		return nil
	}
	vm := m.vm
	m.vm = nil
	return vm.Close()
}

// seedDisk writes a seed and gives the disk that carries it into a guest.
func seedDisk(path, label string, files []seed.File) (qemu.Disk, error) {
	if err := seed.Write(path, label, files); err != nil {
		return qemu.Disk{}, err
	}
	return seedAt(path), nil
}

// seedAt is the disk of a seed that is there.
func seedAt(path string) qemu.Disk {
	return qemu.Disk{Path: path, Format: driver(disk.Raw), Interface: qemu.VirtIO, ReadOnly: true, Serial: seed.Serial}
}

// overlayDisk is a machine's root disk: a copy-on-write overlay on an image that is only read. Its flushes are not waited
// for: if the host goes down, so does the build.
func overlayDisk(path, backing string, format disk.Format, on qemu.Interface) qemu.Disk {
	return qemu.Disk{
		Path: path, Format: driver(disk.Qcow2), Backing: []qemu.Image{{Path: backing, Format: driver(format)}},
		Interface: on, BootIndex: 1, Cache: qemu.Unsafe,
	}
}

// driver is QEMU's name of a format.
func driver(format disk.Format) string {
	name, ok := disk.Driver(format)
	if !ok {
		panic("QEMU has no driver for " + string(format)) // a bug: see job.bootable
	}
	return name
}
