package builder

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ingot-image/ingot/builder/agent"
	"github.com/ingot-image/ingot/builder/base"
	"github.com/ingot-image/ingot/builder/catalog"
	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/qemu"
)

// testCase is one way to boot the finished image.
type testCase struct {
	firmware  qemu.FirmwareKind
	disk      qemu.Interface
	firmwares string // the manifest's word
	file      file
	image     disk.Image  // the file, as QEMU boots it
	extra     bool        // a boot more, for a file that had none
	direct    *directBoot // instead of a firmware
	rehearsal bool        // as on EC2, by what is seen from outside: without the agent
}

func (c testCase) name() string {
	if c.rehearsal {
		return "rehearsal-" + c.firmwares
	}
	if c.extra {
		return c.firmwares + "-" + string(c.disk) + "-" + string(c.file.format)
	}
	return c.firmwares + "-" + string(c.disk)
}

// testCases are the boots that an image must pass: by every firmware that its disk has a boot loader for, and from the
// NVMe disk that EC2 gives it. The boots take turns with the files, and there are as many more as it takes to boot every
// file.
func testCases(files []file, modes bootModes) []testCase {
	var cases []testCase
	add := func(firmware qemu.FirmwareKind, name string, disk qemu.Interface) {
		cases = append(cases, testCase{firmware: firmware, disk: disk, firmwares: name, file: files[len(cases)%len(files)]})
	}
	if modes.bios {
		add(qemu.BIOS, "bios", qemu.VirtIO)
	}
	if modes.uefi {
		add(qemu.UEFI, "uefi", qemu.VirtIO)
	}
	if modes.bios {
		add(qemu.BIOS, "bios", qemu.NVMe)
	} else {
		add(qemu.UEFI, "uefi", qemu.NVMe)
	}
	for first := cases[0]; len(cases) < len(files); {
		more := first
		more.file, more.extra = files[len(cases)], true
		cases = append(cases, more)
	}
	return cases
}

// How an image is tested, in Options.Test.
const (
	TestFull  = "full"  // by every boot that a release needs
	TestQuick = "quick" // the finished disk is booted once, its kernel directly: nothing of firmware, boot loader and cloud-init is tested
	TestNone  = "none"
)

// firmwareDirect is the manifest's word for a boot of the kernel without firmware and boot loader.
const firmwareDirect = "direct"

// quickCase is the one boot of a quick test: of the raw file, or of the first where there is none. An image whose kernel cannot be booted
// directly boots by firmware. The kernel and the initrd are copied into the folder.
func (j *job) quickCase(ctx context.Context, folder string, files []file, modes bootModes) (testCase, error) {
	c := testCases(files, modes)[0]
	for _, f := range files {
		if f.format == disk.Raw {
			c.file = f
		}
	}
	if err := mkdir(folder); err != nil {
		return c, err
	}
	image, err := base.Inspect(ctx, j.rawDisk, folder)
	if err != nil {
		return c, err
	}
	if image.Kernel == "" {
		j.event(Event{Type: Warning, Detail: "the image's kernel cannot be booted directly, which takes an ext root file system and an initrd of initramfs-tools: the quick test boots by firmware"})
		return c, nil
	}
	c.firmware, c.firmwares = "", firmwareDirect
	c.direct = &directBoot{kernel: image.Kernel, initrd: image.Initrd, append: image.Append}
	return c, nil
}

// test boots the finished files and runs the components' test phases in each boot. It returns every test's result; the
// error is that of the first test that failed, after which the others are stopped.
func (j *job) test(ctx context.Context, parentModes bootModes, files []file) ([]Test, error) {
	if !j.testing() {
		j.event(Event{Type: Progress, Detail: "not asked for"})
		return []Test{}, nil
	}
	modes, err := bootModesOf(j.rawDisk)
	if err != nil {
		return nil, err
	}
	switch {
	case parentModes.bios && !modes.bios:
		return nil, errors.New("the image can no longer boot by BIOS, as its parent image can: the boot code in its first sector is gone")
	case parentModes.uefi && !modes.uefi:
		return nil, errors.New("the image can no longer boot by UEFI, as its parent image can: its EFI system partition is gone")
	}
	cases := testCases(files, modes)
	if rehearsals := j.rehearsals(files, modes); len(rehearsals) > 0 && j.releasing() {
		// These boot from NVMe disks, too.
		cases = slices.DeleteFunc(cases, func(c testCase) bool { return c.disk == qemu.NVMe && len(cases) > len(files) })
		cases = append(cases, rehearsals...)
	}
	if j.options.Test == TestQuick {
		c, err := j.quickCase(ctx, j.work.path(TestQuick), files, modes)
		if err != nil {
			return nil, err
		}
		cases = []testCase{c}
	}
	if err := j.setStatus(ctx, catalog.Testing); err != nil {
		return nil, err
	}
	for i, c := range cases {
		if c.rehearsal {
			continue // which reads the file by itself
		}
		if cases[i].image, err = j.bootable(ctx, c.file); err != nil {
			return nil, fmt.Errorf("unpack %s to boot it: %w", filepath.Base(c.file.path), err)
		}
	}
	limit := time.Duration(j.plan.Tests.TimeoutMinutes) * time.Minute
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the tests took longer than imageTestsConfiguration.timeoutMinutes (%v)", limit))
	defer cancel()

	tests := make([]Test, len(cases))
	// A failing test stops the others without being the cause they report.
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var group errgroup.Group
	group.SetLimit(j.atOnce())
	for i, c := range cases {
		tests[i] = Test{Name: c.name(), Firmware: c.firmwares, Disk: string(c.disk), Format: string(c.file.format)}
		group.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			j.event(Event{Type: TestStarted, Test: c.name(), Detail: "from " + filepath.Base(c.file.path)})
			start := time.Now()
			run := j.testOnce
			if c.rehearsal {
				run = j.rehearse
			}
			err := run(ctx, c)
			if err != nil && errors.Is(context.Cause(ctx), context.Canceled) {
				return err // stopped, by another test or by the user: no result
			}
			tests[i].Status, tests[i].DurationMS = TestPassed, time.Since(start).Milliseconds()
			if err != nil {
				if ctx.Err() != nil {
					err = context.Cause(ctx)
				}
				failure := asFailure(StageTest, err)
				failure.Test = c.name()
				tests[i].Status, tests[i].Failure, err = TestFailed, failure, failure
				stop()
			}
			j.event(Event{Type: TestEnded, Test: c.name(), Status: tests[i].Status, DurationMS: tests[i].DurationMS, Failure: tests[i].Failure})
			return err
		})
	}
	err = group.Wait()
	done := []Test{}
	for _, t := range tests {
		if t.Failure != nil {
			err = t.Failure // not that of a test it stopped
		}
		if t.Status != "" {
			done = append(done, t)
		}
	}
	return done, err
}

// atOnce is how many test VMs run side by side: as many as the host has CPUs and free memory for, and at least one.
func (j *job) atOnce() int {
	in := j.plan.Infrastructure
	config := qemu.Config{Accelerator: j.accelerator, CPUs: in.VCPUs}
	n := runtime.NumCPU() / config.HostCPUs(j.qemuVersion)
	if free, err := availableMemory(); err == nil {
		n = min(n, int(free/(int64(in.MemoryMiB+memoryOverhead)<<20)))
	}
	return max(1, n)
}

// memoryOverhead is what QEMU takes beside a guest's memory, in MiB: mostly TCG's translated code.
const memoryOverhead = 768

// testOnce boots one throwaway VM and runs the test phases in it. The image's file is never written to.
func (j *job) testOnce(ctx context.Context, c testCase) error {
	overlay := j.work.path(c.name() + ".qcow2")
	if err := disk.CreateOverlay(ctx, overlay, c.image, 0); err != nil {
		return err
	}
	m, err := j.machine(c.name(), overlayDisk(overlay, c.image.Path, c.image.Format, c.disk))
	if err != nil {
		return err
	}
	defer m.Close()
	if w := j.warm; w != nil {
		m.services = w.tested.recorded()
	}
	if m.direct = c.direct; m.direct == nil {
		if m.config.Firmware, err = qemu.FindFirmware(c.firmware); err != nil {
			return err
		}
	}
	if err := m.attachAgent(j.plan.hostname(), j.program); err != nil {
		return err
	}
	if err := m.start(ctx); err != nil {
		return err
	}
	ready, err := m.ready(ctx)
	if err != nil {
		return err
	}
	if err := j.judge(c.name(), ready); err != nil {
		return err
	}
	result, err := m.run(ctx, j.plan.request("test"), func(e component.Event) {
		j.event(Event{Type: ComponentEvent, Test: c.name(), Component: &e})
	})
	if err != nil {
		return err
	}
	if result.Status == component.StatusFailed {
		return stepFailed(StageTest, result.Failure)
	}
	return nil
}

// judge says whether a guest that came up came up well.
func (j *job) judge(test string, ready *agent.Ready) error {
	if ready.CloudInit == "error" {
		return fmt.Errorf("cloud-init failed in the guest: %s", strings.Join(ready.CloudErrors, "; "))
	}
	if ready.State != "running" && ready.State != "degraded" {
		return fmt.Errorf("the guest's system is %q after its start-up, not running", ready.State)
	}
	if len(ready.FailedUnits) > 0 {
		j.event(Event{Type: Warning, Test: test, Detail: "the guest came up with failed units: " + strings.Join(ready.FailedUnits, ", ")})
	}
	return nil
}
