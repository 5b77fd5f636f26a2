package agent

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Linux is the System of a Linux guest with systemd.
type Linux struct {
	Root string // the root of the file system, "/"; another one in tests
}

// OpenPort opens the virtio-serial port of the given name, which is not blocking: a close ends a read under way.
func OpenPort(name string) (io.ReadWriteCloser, error) {
	return os.OpenFile("/dev/virtio-ports/"+name, os.O_RDWR|syscall.O_NONBLOCK, 0)
}

// Environment is that of a root login, with a locale that every system has.
func (l Linux) Environment() []string {
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "USER=root", "LOGNAME=root", "LANG=C.UTF-8", "LC_ALL=C.UTF-8",
	}
}

// Info reads the guest's identity.
func (l Linux) Info() Info {
	release := l.osRelease()
	return Info{
		BootID:       l.line("proc/sys/kernel/random/boot_id"),
		Kernel:       l.line("proc/sys/kernel/osrelease"),
		Architecture: runtime.GOARCH,
		OS:           release["PRETTY_NAME"],
		OSID:         release["ID"],
		OSVersion:    release["VERSION_ID"],
	}
}

func (l Linux) path(name string) string { return filepath.Join(l.Root, name) }

func (l Linux) line(name string) string {
	data, _ := os.ReadFile(l.path(name))
	return strings.TrimSpace(string(data))
}

// osRelease reads os-release (os-release(5)): NAME=VALUE lines, values perhaps in quotes.
func (l Linux) osRelease() map[string]string {
	values := map[string]string{}
	data, _ := os.ReadFile(l.path("etc/os-release"))
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		if name, value, ok := strings.Cut(lines.Text(), "="); ok {
			values[name] = strings.Trim(value, `"'`)
		}
	}
	return values
}

// networkPatience is how long start-up may wait for a network that does not come: a guest without one is still ready.
const networkPatience = 2 * time.Minute

// Ready waits for systemd, the network and cloud-init.
func (l Linux) Ready(ctx context.Context) (Ready, error) {
	state, err := l.systemState(ctx)
	if err != nil {
		return Ready{}, err
	}
	network, cancel := context.WithTimeout(ctx, networkPatience)
	l.command(network, "systemctl", "start", "network-online.target")
	cancel()
	ready := Ready{State: state, CloudInit: "absent"}
	failed, _ := l.command(ctx, "systemctl", "list-units", "--failed", "--plain", "--no-legend", "--no-pager")
	for line := range strings.Lines(failed) {
		if unit := strings.Fields(line); len(unit) > 0 {
			ready.FailedUnits = append(ready.FailedUnits, unit[0])
		}
	}
	if _, err := exec.LookPath("cloud-init"); err == nil {
		if ready.CloudInit, ready.CloudErrors, err = l.cloudInit(ctx); err != nil {
			return Ready{}, err
		}
	}
	return ready, nil
}

// systemState waits until systemd has finished starting. The agent may be earlier than systemd's own bus socket.
func (l Linux) systemState(ctx context.Context) (string, error) {
	for {
		out, _ := l.command(ctx, "systemctl", "is-system-running", "--wait")
		switch state := strings.TrimSpace(out); state {
		case "running", "degraded", "maintenance", "stopping":
			return state, nil
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// cloudInit tells how cloud-init ended, from the files it leaves in /run (its documentation, "Status and results").
func (l Linux) cloudInit(ctx context.Context) (string, []string, error) {
	if _, err := os.Stat(l.path("run/cloud-init/enabled")); err != nil {
		return "disabled", nil, nil
	}
	for {
		data, err := os.ReadFile(l.path("run/cloud-init/result.json"))
		if err == nil {
			var result struct {
				V1 struct {
					Errors []string `json:"errors"`
				} `json:"v1"`
			}
			if err := json.Unmarshal(data, &result); err != nil {
				return "error", []string{"result.json: " + err.Error()}, nil
			}
			if len(result.V1.Errors) > 0 {
				return "error", result.V1.Errors, nil
			}
			return "done", nil, nil
		}
		if state, _ := l.command(ctx, "systemctl", "is-active", "cloud-final.service"); strings.TrimSpace(state) == "failed" {
			return "error", []string{"cloud-final.service failed"}, nil
		}
		select {
		case <-ctx.Done():
			return "", nil, ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// command runs a tool and returns its standard output, also when it exits non-zero.
func (l Linux) command(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = l.Environment()
	out, err := cmd.Output()
	return string(out), err
}

var kernelFile = regexp.MustCompile(`^vmlinuz-(.+)$`)

// BootFiles finds the kernel and initrd that the boot loader would choose: those the distribution's links name, else the
// newest version in /boot.
func (l Linux) BootFiles() (BootFiles, error) {
	for _, dir := range []string{"/", "/boot"} {
		files, err := l.bootPair(filepath.Join(dir, "vmlinuz"), filepath.Join(dir, "initrd.img"))
		if err == nil {
			return files, nil
		}
	}
	entries, err := os.ReadDir(l.path("/boot"))
	if err != nil {
		return BootFiles{}, fmt.Errorf("find the kernel: %w", err)
	}
	var versions []string
	for _, e := range entries {
		if m := kernelFile.FindStringSubmatch(e.Name()); m != nil && !strings.Contains(m[1], "rescue") {
			versions = append(versions, m[1])
		}
	}
	slices.SortFunc(versions, func(a, b string) int { return compareVersions(b, a) })
	for _, v := range versions {
		for _, initrd := range []string{"initrd.img-" + v, "initramfs-" + v + ".img", "initrd-" + v} {
			if files, err := l.bootPair("/boot/vmlinuz-"+v, "/boot/"+initrd); err == nil {
				return files, nil
			}
		}
	}
	return BootFiles{}, errors.New("no kernel with an initrd in /boot")
}

func (l Linux) bootPair(kernel, initrd string) (BootFiles, error) {
	k, err := l.bootFile(kernel)
	if err != nil {
		return BootFiles{}, err
	}
	i, err := l.bootFile(initrd)
	return BootFiles{Kernel: k, Initrd: i}, err
}

func (l Linux) bootFile(name string) (BootFile, error) {
	path, err := filepath.EvalSymlinks(l.path(name))
	if err != nil {
		return BootFile{}, err
	}
	stat, err := os.Stat(path)
	if err != nil {
		return BootFile{}, err
	}
	return BootFile{Path: path, Size: stat.Size(), ModTime: stat.ModTime().UTC()}, nil
}

var versionPart = regexp.MustCompile(`[0-9]+|[^0-9]+`)

// compareVersions orders kernel versions by their numbers: 6.1.0-9 before 6.1.0-10.
func compareVersions(a, b string) int {
	return slices.CompareFunc(versionPart.FindAllString(a, -1), versionPart.FindAllString(b, -1), func(x, y string) int {
		m, errM := strconv.Atoi(x)
		n, errN := strconv.Atoi(y)
		if errM == nil && errN == nil {
			return m - n
		}
		return strings.Compare(x, y)
	})
}

// Power hands the order to systemd; the answer to the host gets a moment to leave the port first. The signals start poweroff.target and
// reboot.target (systemd(1), "Signals"), as systemctl does, which would take longer to start in an emulated guest than what it does.
func (l Linux) Power(reboot bool) error {
	time.Sleep(100 * time.Millisecond)
	if _, err := os.Stat(l.path("/run/systemd/system")); err != nil { // sd_booted(3)
		return fmt.Errorf("power: the guest's init is not systemd: %w", err)
	}
	signal := realTimeSignals + 4
	if reboot {
		signal = realTimeSignals + 5
	}
	if err := syscall.Kill(1, signal); err != nil {
		return fmt.Errorf("power: signal systemd: %w", err)
	}
	return nil
}

// realTimeSignals is SIGRTMIN as the C libraries have it, which keep the first two of the kernel's for themselves.
const realTimeSignals = syscall.Signal(34)
