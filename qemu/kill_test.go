package qemu

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestKilledParent starts a process that starts VMs, kills it with SIGKILL, and looks for what is left.
func TestKilledParent(t *testing.T) {
	const marker = "QEMU_TEST_CHILD"
	if dir := os.Getenv(marker); dir != "" {
		for range 2 {
			acc, err := ChooseAccelerator("auto")
			if err != nil {
				t.Fatal(err)
			}
			// From a goroutine that ends, so that its thread has every chance to end before the VM.
			pid := make(chan int)
			go func() {
				vm, err := Start(t.Context(), Config{Accelerator: acc, MemoryMiB: 64, RuntimeDir: dir})
				if err != nil {
					panic(err)
				}
				pid <- vm.PID()
			}()
			fmt.Printf("vm %d\n", <-pid)
		}
		select {}
	}
	needQEMU(t)
	dir := shortDir(t)
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledParent$")
	cmd.Env = append(os.Environ(), marker+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pids []int
	for scan := bufio.NewScanner(out); len(pids) < 2 && scan.Scan(); {
		var pid int
		if n, _ := fmt.Sscanf(scan.Text(), "vm %d", &pid); n == 1 {
			pids = append(pids, pid)
		}
	}
	if len(pids) != 2 {
		cmd.Process.Kill()
		cmd.Wait()
		t.Fatalf("the child started %d VMs", len(pids))
	}
	for _, pid := range pids {
		if !isQEMU(pid) {
			t.Fatalf("process %d is no QEMU", pid)
		}
	}
	cmd.Process.Kill()
	cmd.Wait()
	for began := time.Now(); isQEMU(pids[0]) || isQEMU(pids[1]); time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			for _, pid := range pids {
				unix.Kill(pid, unix.SIGKILL)
			}
			t.Fatal("QEMU outlives the process that started it")
		}
	}
	// Its folders are removed by the next VM.
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("%d folders were left, want 2", len(entries))
	}
	d, err := newRuntimeDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.remove(); err != nil {
		t.Error(err)
	}
}

// isQEMU tells whether pid is a QEMU that runs, not a zombie.
func isQEMU(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), "(qemu-system")
	_, state, _ := strings.Cut(rest, ") ")
	return state != "" && state[0] != 'Z'
}
