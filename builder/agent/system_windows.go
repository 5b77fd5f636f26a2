package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/mgr"
)

// Windows is the System of a Windows guest, in which the agent runs as a service of the user SYSTEM.
type Windows struct{}

// Environment is that of the agent's service.
func (Windows) Environment() []string { return os.Environ() }

// Info reads the guest's identity.
func (Windows) Info() Info {
	version := windows.RtlGetVersion()
	number := fmt.Sprintf("%d.%d.%d", version.MajorVersion, version.MinorVersion, version.BuildNumber)
	return Info{
		BootID: bootID(), Kernel: number, Architecture: runtime.GOARCH, OS: productName(), OSID: "windows", OSVersion: number,
	}
}

// productName is what winver shows, such as "Windows Server 2022 Datacenter 21H2".
func productName() string {
	key, err := registry.OpenKey(registry.LOCAL_MACHINE, `SOFTWARE\Microsoft\Windows NT\CurrentVersion`, registry.QUERY_VALUE)
	if err != nil {
		return "Windows"
	}
	defer key.Close()
	name, _, _ := key.GetStringValue("ProductName")
	release, _, _ := key.GetStringValue("DisplayVersion")
	return strings.TrimSpace(name + " " + release)
}

// bootID is the time of the boot. The system moves it when the clock is set, and counts in the bias by how much.
func bootID() string {
	var times struct { // SYSTEM_TIMEOFDAY_INFORMATION; times in units of 100 ns
		boot, current, zoneBias int64
		zone, _                 uint32
		bootBias, sleepBias     uint64
	}
	size := uint32(unsafe.Sizeof(times))
	if err := windows.NtQuerySystemInformation(windows.SystemTimeOfDayInformation, unsafe.Pointer(&times), size, nil); err != nil {
		return ""
	}
	return strconv.FormatInt(times.boot-int64(times.bootBias), 16)
}

// Ready waits until the service manager has started the services that start by themselves, and names those that failed.
func (Windows) Ready(ctx context.Context) (Ready, error) {
	if err := autoStartComplete(ctx); err != nil {
		return Ready{}, err
	}
	failed, err := failedServices()
	if err != nil {
		return Ready{}, fmt.Errorf("list services: %w", err)
	}
	ready := Ready{State: "running", FailedUnits: failed, CloudInit: "absent"}
	if len(failed) > 0 {
		ready.State = "degraded"
	}
	return ready, nil
}

// autoStartComplete waits for the event of that name, which the service manager sets. A system without it has no service manager to wait for.
func autoStartComplete(ctx context.Context) error {
	event, err := windows.OpenEvent(windows.SYNCHRONIZE, false, windows.StringToUTF16Ptr("SC_AutoStartComplete"))
	if err != nil {
		return nil
	}
	defer windows.CloseHandle(event)
	for {
		if state, err := windows.WaitForSingleObject(event, 0); err != nil || state == windows.WAIT_OBJECT_0 {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// failedServices are those that should have started by themselves and ended with an error.
func failedServices() (failed []string, err error) {
	manager, err := mgr.Connect()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, manager.Disconnect()) }()
	names, err := manager.ListServices()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if serviceFailed(manager, name) {
			failed = append(failed, name)
		}
	}
	return failed, nil
}

func serviceFailed(manager *mgr.Mgr, name string) bool {
	service, err := manager.OpenService(name)
	if err != nil {
		return false // gone in the meantime, or protected
	}
	defer service.Close()
	config, err := service.Config()
	if err != nil || config.StartType != mgr.StartAutomatic {
		return false
	}
	status, err := service.Query()
	if err != nil || status.State != svc.Stopped {
		return false
	}
	return status.Win32ExitCode != 0 && status.Win32ExitCode != uint32(windows.ERROR_SERVICE_NEVER_STARTED)
}

// BootFiles fails: nobody boots Windows from a copy of its kernel.
func (Windows) BootFiles() (BootFiles, error) {
	return BootFiles{}, errors.New("a Windows guest has no kernel and initrd to boot from")
}

// Power begins the shutdown; the answer to the host gets a moment to leave the port first.
func (w Windows) Power(reboot bool) error {
	time.Sleep(100 * time.Millisecond)
	verb := "/s"
	if reboot {
		verb = "/r"
	}
	cmd := exec.Command(filepath.Join(os.Getenv("SystemRoot"), "System32", "shutdown.exe"), verb, "/f", "/t", "0")
	cmd.Env = w.Environment()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("shutdown %s: %w: %s", verb, err, strings.TrimSpace(string(out)))
	}
	return nil
}
