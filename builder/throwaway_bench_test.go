package builder

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ingot-image/ingot/builder/agent"
	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/cmd/ingot-agent/embedded"
	"github.com/ingot-image/ingot/qemu"
)

const benchPort = "org.ingot.bench.0"

// benchGuest boots Debian 12 with one more port than usual.
func benchGuest(b *testing.B) *throwaway {
	b.Helper()
	ctx := b.Context()
	home := b.TempDir()
	bases := os.Getenv("INGOT_TEST_HOME")
	if bases == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			b.Fatal(err)
		}
		bases = filepath.Join(cache, "ingot-test")
	}
	if err := os.MkdirAll(filepath.Join(bases, "bases"), 0o755); err != nil {
		b.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(bases, "bases"), filepath.Join(home, "bases")); err != nil {
		b.Fatal(err)
	}
	t := &throwaway{builder: &Builder{Home: home, Agent: embedded.Agent}, began: time.Now(), progress: func(p VMProgress) { b.Log(p.Elapsed.Round(time.Second), p.Doing) }}
	check := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	check(t.open(ctx))
	b.Cleanup(func() { t.work.close() })
	planned, err := t.builder.planBase(ctx, "debian-12")
	check(err)
	parent, _, err := t.builder.parentImage(ctx, planned, t.work, t.counted)
	check(err)
	check(t.configure(ctx, "debian-12", parent, VMRun{}))
	t.config.Ports = append(t.config.Ports, benchPort)
	t.stack.warm = nil // the machine is not the one that layers are of
	check(t.boot(ctx))
	b.Cleanup(func() { t.Close() })
	return t
}

// BenchmarkGuest measures what the way between guest and host costs, in one guest. The raw port is the ceiling of what any output can
// reach; all of it depends on what else the machine does meanwhile, so that only figures of one run may be compared. MB/cpu-s and
// cpu-ms/step count the time that QEMU computed instead of the time that passed.
//
//	make bench
func BenchmarkGuest(b *testing.B) {
	t := benchGuest(b)
	ctx := b.Context()
	const size = 128 << 20
	text := bytes.Repeat([]byte(strings.Repeat("0123456789abcdef", 5)[:79]+"\n"), size/80)
	start := time.Now()
	if err := t.agent.Put(ctx, agent.PutFile{Path: "/dev/shm/text", Size: int64(len(text)), Mode: 0o600}, bytes.NewReader(text)); err != nil {
		b.Fatal(err)
	}
	b.Logf("upload of %d MiB: %.1f MB/s", size>>20, float64(len(text))/1e6/time.Since(start).Seconds())

	b.Run("RawPort", func(b *testing.B) {
		conn, err := t.vm.Dial(ctx, benchPort)
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		b.SetBytes(int64(len(text)))
		defer reportCPU(b, t, len(text))()
		for b.Loop() {
			go t.agent.Exec(ctx, agent.Command{Path: "/bin/dd", Args: []string{"if=/dev/shm/text", "of=/dev/virtio-ports/" + benchPort, "bs=32k"}}, nil)
			if _, err := io.CopyN(io.Discard, conn, int64(len(text))); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Output", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		defer reportCPU(b, t, len(text))()
		for b.Loop() {
			n := 0
			result := benchRun(b, t, "  - {name: Print, action: ExecuteBash, inputs: {commands: [cat /dev/shm/text]}}\n", func(e component.Event) {
				if e.Type == component.Output && e.Stream == component.StreamStdout {
					n += len(e.Text)
				}
			})
			if n != len(text) {
				b.Fatalf("%d of %d bytes arrived, %+v", n, len(text), result)
			}
		}
	})
	b.Run("Steps", func(b *testing.B) {
		const steps = 1000
		var document strings.Builder
		for i := range steps {
			fmt.Fprintf(&document, "  - {name: S%d,action: CreateFile,inputs: [{path: /run/%d}]}\n", i, i)
		}
		used := cpuSeconds(b, t.vm.PID())
		for b.Loop() {
			ended := 0
			benchRun(b, t, document.String(), func(e component.Event) {
				if e.Type == component.StepEnded {
					ended++
				}
			})
			if ended != steps {
				b.Fatalf("%d steps ended", ended)
			}
		}
		b.ReportMetric(b.Elapsed().Seconds()*1000/float64(b.N)/steps, "ms/step")
		b.ReportMetric((cpuSeconds(b, t.vm.PID())-used)*1000/float64(b.N)/steps, "cpu-ms/step")
	})
}

func reportCPU(b *testing.B, t *throwaway, bytes int) func() {
	used := cpuSeconds(b, t.vm.PID())
	return func() {
		b.ReportMetric(float64(bytes)*float64(b.N)/1e6/(cpuSeconds(b, t.vm.PID())-used), "MB/cpu-s")
	}
}

// cpuSeconds is the CPU time of a process: fields 14 and 15 of proc(5)'s stat, in hundredths of a second.
func cpuSeconds(b *testing.B, pid int) float64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return float64(user+system) / 100
}

func benchRun(b *testing.B, t *throwaway, steps string, events func(component.Event)) *component.Result {
	b.Helper()
	content := "schemaVersion: 1.0\nphases:\n- name: build\n  steps:\n" + steps
	var result *component.Result
	err := t.vm.Await(b.Context(), qemu.Wait{Name: "the benchmark"}, func(ctx context.Context) (err error) {
		result, err = t.agent.Run(ctx, component.Request{Documents: []component.RunDocument{{Name: "bench", Content: []byte(content)}}}, agent.Services{}, events)
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	if result.Status != component.StatusSuccess {
		b.Fatalf("%+v", result.Failure)
	}
	return result
}
