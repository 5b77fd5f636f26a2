package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/qemu"
)

// rehearse boots the finished image as EC2 will boot its AMI, once by each firmware that the AMI will be registered for, if the image goes to a region at all. The
// results are tests like the others, rehearsal-bios and rehearsal-uefi; the error is that of the first that failed, and names its checks.
func (j *job) rehearse(ctx context.Context, files []file) ([]Test, error) {
	tests := []Test{}
	c := j.plan.Distribution.Configuration
	if !j.testing() || len(c.Regions()) == 0 {
		return tests, nil
	}
	modes, err := bootModesOf(j.rawDisk)
	if err != nil {
		return nil, err
	}
	for _, firmware := range registeredFirmware(c.Registration.BootMode, modes) {
		t, err := j.rehearseOnce(ctx, firmware, files[0])
		if t != nil {
			tests = append(tests, *t)
		}
		if err != nil {
			return tests, err
		}
	}
	return tests, nil
}

// registeredFirmware is what EC2 boots an AMI by that is registered with a boot mode: uefi-preferred goes by the instance type. Without one it is BIOS, if the
// disk can, and for a disk that can nothing, which the boot then shows.
func registeredFirmware(bootMode string, modes bootModes) []qemu.FirmwareKind {
	switch {
	case bootMode == "uefi-preferred" && modes.bios:
		return []qemu.FirmwareKind{qemu.UEFI, qemu.BIOS}
	case bootMode == "uefi" || bootMode == "uefi-preferred" || bootMode == "" && modes.uefi && !modes.bios:
		return []qemu.FirmwareKind{qemu.UEFI}
	}
	return []qemu.FirmwareKind{qemu.BIOS}
}

// rehearseOnce is one rehearsal as a test. The test is nil if it was stopped before it had a result.
func (j *job) rehearseOnce(ctx context.Context, firmware qemu.FirmwareKind, f file) (*Test, error) {
	t := &Test{Name: "rehearsal-" + string(firmware), Firmware: string(firmware), Disk: string(qemu.NVMe), Format: string(f.format)}
	j.event(Event{Type: TestStarted, Test: t.Name, Detail: "from " + filepath.Base(f.path)})
	began := time.Now()
	log, err := j.openLog("console-" + t.Name + ".log")
	if err != nil {
		return nil, err
	}
	boot, err := j.rehearseFile(ctx, firmware, f, t.Name, log)
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err == nil {
		err = rehearsalFailure(t.Name, boot)
	}
	t.Status, t.DurationMS = TestPassed, time.Since(began).Milliseconds()
	if err != nil {
		failure := asFailure(StageTest, err)
		failure.Test = t.Name
		t.Status, t.Failure, err = TestFailed, failure, failure
	}
	j.event(Event{Type: TestEnded, Test: t.Name, Status: t.Status, DurationMS: t.DurationMS, Failure: t.Failure})
	return t, err
}

func (j *job) rehearseFile(ctx context.Context, firmware qemu.FirmwareKind, f file, test string, log io.Writer) (*Boot, error) {
	format := f.format
	if _, ok := disk.Driver(format); !ok {
		format = "" // its content says what it is packed in
	}
	result, err := j.builder.Rehearse(ctx, RehearsalOptions{
		File: f.path, Format: format, Firmware: []qemu.FirmwareKind{firmware}, Accelerator: string(j.plan.Infrastructure.Accelerator),
		CPUs: j.plan.Infrastructure.VCPUs, MemoryMiB: j.plan.Infrastructure.MemoryMiB, Log: log,
		Events: func(e RehearsalEvent) { j.event(Event{Type: Progress, Test: test, Detail: e.Doing}) },
	})
	if err != nil {
		return nil, err
	}
	return &result.Boots[0], nil
}

// rehearsalFailure makes a failure of the checks that a boot did not pass, nil if it passed.
func rehearsalFailure(test string, boot *Boot) error {
	failed := boot.Failed()
	if len(failed) == 0 {
		return nil
	}
	var told, fixes []string
	for _, c := range failed {
		told = append(told, c.Name+": "+c.Seen)
		if c.Fix != "" {
			fixes = append(fixes, c.Name+": "+c.Fix)
		}
	}
	message := fmt.Sprintf("the image does not come up as it must on EC2, %s failed: %s", counted(len(failed), "check"), strings.Join(told, "; "))
	return &Failure{Stage: StageTest, Test: test, ErrorMessage: message, Hint: strings.Join(fixes, "; "), Console: boot.Console, err: errors.New(message)}
}
