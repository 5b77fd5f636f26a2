package catalog

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ingot-image/ingot/builder/recipe/version"
)

// The test binary runs itself as other processes: with this variable it does what it says instead of the tests.
const roleVariable = "INGOT_CATALOG_TEST_ROLE"

func TestMain(m *testing.M) {
	role := os.Getenv(roleVariable)
	if role == "" {
		os.Exit(m.Run())
	}
	if err := play(role, os.Args[1]); err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
}

// perProcess is how many builds a process of role "reserve" reserves.
const perProcess = 15

// play prints each version it reserves.
func play(role, path string) error {
	ctx := context.Background()
	c, err := Open(ctx, path)
	if err != nil {
		return err
	}
	switch role {
	case "reserve": // many builds of one version, each finished
		for range perProcess {
			b, err := c.Reserve(ctx, "race", version.Exactly(version.Version{Major: 1}))
			if err != nil {
				return err
			}
			fmt.Println(b.Version)
			if err := b.Finish(ctx, fullRecord); err != nil {
				return err
			}
			if err := b.Close(ctx); err != nil {
				return err
			}
		}
		return c.Close()
	case "hold": // one build, held until the end
		b, err := c.Reserve(ctx, "held", version.Exactly(version.Version{Major: 1}))
		if err != nil {
			return err
		}
		if err := b.SetStatus(ctx, Building); err != nil {
			return err
		}
		// A program started by the holder does not keep the lock alive.
		child := exec.Command("sleep", "60")
		if err := child.Start(); err != nil {
			return err
		}
		fmt.Println(b.Version, child.Process.Pid)
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0) // without a word, like a crash
	}
	return fmt.Errorf("unknown role %s", role)
}

// process starts the test binary in a role and gives its output line by line. The test's end kills it.
func process(t *testing.T, role, path string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0], path)
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd, bufio.NewScanner(stdout)
}

// Processes that start at once, on a catalog that does not exist yet, all get different build numbers without gaps.
func TestProcessesReserve(t *testing.T) {
	path := filepath.Join(t.TempDir(), "home", "ingot.db")
	const processes = 4
	var outputs []*bufio.Scanner
	for range processes {
		_, output := process(t, "reserve", path)
		outputs = append(outputs, output)
	}
	seen := map[string]bool{}
	for _, output := range outputs {
		for output.Scan() {
			line := output.Text()
			if seen[line] || strings.HasPrefix(line, "error") {
				t.Errorf("a process printed %q", line)
			}
			seen[line] = true
		}
	}
	for n := 1; n <= processes*perProcess; n++ {
		if v := fmt.Sprintf("1.0.0/%d", n); !seen[v] {
			t.Errorf("%s was not reserved", v)
		}
	}
	images, err := openCatalog(t, path).List(t.Context(), "race")
	if err != nil || len(images) != processes*perProcess {
		t.Fatalf("%d images, %v", len(images), err)
	}
	for _, i := range images {
		if i.Status != Available || len(i.Outputs) != len(fullRecord.Outputs) {
			t.Errorf("%+v", i)
		}
	}
}

// Goroutines of one process do not disturb each other either.
func TestGoroutinesReserve(t *testing.T) {
	c := newCatalog(t)
	results := make(chan error)
	const n = 20
	for range n {
		go func() {
			b, err := c.Reserve(context.Background(), "race", version.Exactly(version.Version{Major: 1}))
			if err == nil {
				err = b.Close(context.Background())
			}
			results <- err
		}()
	}
	for range n {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	i, err := c.Get(t.Context(), "race/1.0.0")
	if err != nil || i.Version.Build != n {
		t.Errorf("%+v, %v", i, err)
	}
}

// A build stays BUILDING while its process lives, and is FAILED as soon as it was killed; the next build works.
func TestKilledProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ingot.db")
	cmd, output := process(t, "hold", path)
	var first string
	var child int
	if !output.Scan() {
		t.Fatal("the process printed nothing")
	}
	if _, err := fmt.Sscan(output.Text(), &first, &child); err != nil || first != "1.0.0/1" {
		t.Fatalf("the process printed %q", output.Text())
	}
	t.Cleanup(func() { syscall.Kill(child, syscall.SIGKILL) })
	c := openCatalog(t, path)
	own := reserve(t, c, "held", "1.0.0")
	if own.Version.Build != 2 {
		t.Errorf("reserved %s beside a living build", own.Version)
	}
	for n, want := range []Status{Pending, Building} {
		images, err := c.List(t.Context(), "held")
		if err != nil || len(images) != 2 || images[n].Status != want {
			t.Fatalf("%+v, %v", images, err)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()

	if err := syscall.Kill(child, 0); err != nil {
		t.Fatalf("the killed process's child is gone: %v", err)
	}

	// The kernel closes a killed process's files before wait returns.
	before := time.Now().Add(-time.Second)
	i, err := c.Get(t.Context(), "held/1.0.0/1")
	if err != nil || i.Status != Failed || i.Reason != ReasonInterrupted || i.DateFinished.Before(before) {
		t.Errorf("%+v, %v", i, err)
	}
	if i, err := c.Get(t.Context(), "held/1.0.0/2"); err != nil || i.Status != Pending {
		t.Errorf("the living build is %+v, %v", i, err)
	}
	if b := reserve(t, c, "held", "1.0.0"); b.Version.Build != 3 {
		t.Errorf("the next build is %s", b.Version)
	}
	if err := own.Finish(t.Context(), fullRecord); err != nil {
		t.Error(err)
	}
}
