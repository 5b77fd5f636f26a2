package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/qemu"
)

// rehearsals are boots of the finished image as EC2 will boot its AMI, once by each firmware that the AMI will be registered for, if the image goes to a region at all.
func (j *job) rehearsals(files []file, modes bootModes) []testCase {
	c := j.destinations()
	if len(c.Regions()) == 0 {
		return nil
	}
	var cases []testCase
	for _, firmware := range registeredFirmware(c.Registration.BootMode, modes) {
		cases = append(cases, testCase{firmware: firmware, disk: qemu.NVMe, firmwares: string(firmware), file: files[0], rehearsal: true})
	}
	return cases
}

// registeredFirmware is what EC2 boots an AMI by that is registered with a boot mode: uefi-preferred goes by the instance type, and is what a disk is registered with
// that can do both.
func registeredFirmware(bootMode string, modes bootModes) []qemu.FirmwareKind {
	switch {
	case bootMode == "" && modes.bios && modes.uefi, bootMode == "uefi-preferred" && modes.bios:
		return []qemu.FirmwareKind{qemu.UEFI, qemu.BIOS}
	case bootMode == "uefi", bootMode == "uefi-preferred", bootMode == "" && modes.uefi:
		return []qemu.FirmwareKind{qemu.UEFI}
	}
	return []qemu.FirmwareKind{qemu.BIOS}
}

// rehearse is one rehearsal as a test; the error names the checks that failed.
func (j *job) rehearse(ctx context.Context, c testCase) error {
	log, err := j.openLog("console-" + c.name() + ".log")
	if err != nil {
		return err
	}
	boot, err := j.rehearseFile(ctx, c.firmware, c.file, c.name(), log)
	if err != nil {
		return err
	}
	return rehearsalFailure(c.name(), boot)
}

func (j *job) rehearseFile(ctx context.Context, firmware qemu.FirmwareKind, f file, test string, log io.Writer) (*Boot, error) {
	var format disk.Format
	if f.format == disk.Raw { // of the others their content says what they are
		format = disk.Raw
	}
	result, err := j.builder.Rehearse(ctx, RehearsalOptions{
		File: f.path, Format: format, Firmware: []qemu.FirmwareKind{firmware}, Accelerator: string(j.plan.Infrastructure.Accelerator),
		Volumes: rehearsalVolumes(j.plan.BlockDeviceMappings),
		CPUs:    j.plan.Infrastructure.VCPUs, MemoryMiB: j.plan.Infrastructure.MemoryMiB, Log: log,
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
