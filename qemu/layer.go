package qemu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// settleLimit bounds the time in which a machine that Snapshot has stopped is brought to run again, or told that it cannot.
const settleLimit = time.Minute

// Snapshot saves what the guest is at this moment, and lets it go on: the memory, CPUs and devices go to memory (as SaveState writes
// them), and the image that disk 0 has so far stays as it is from now on, complete and only read, while the guest writes to overlay.
// Resume goes on from the two. The guest stands still until all of its memory is written.
//
// overlay is an empty qcow2 image of the disk's size that the caller has made (qemu-img create -b IMAGE); it must stay at its path until
// the next Snapshot, while images below it may be renamed. Other readers may use the image at once, as a backing file or to copy it. All
// other disks must be read-only. As with SaveState, connections to the guest's ports should be closed before.
//
// switched tells whether the guest writes to overlay, which it may do after an error as well: then the memory is worth nothing, but the
// disk's chain is longer by one (see Disks). The guest goes on after an error, too, if it can; an error of that is in the error returned.
func (vm *VM) Snapshot(ctx context.Context, overlay string, memory io.Writer) (switched bool, err error) {
	if switched, err = vm.snapshot(ctx, overlay, memory); err != nil {
		return switched, fmt.Errorf("snapshot the guest: %w", err)
	}
	return true, nil
}

func (vm *VM) snapshot(ctx context.Context, overlay string, memory io.Writer) (switched bool, err error) {
	vm.saving.Lock()
	defer vm.saving.Unlock()
	// A command whose context ends may be carried out yet: those that change the machine have time of their own to be answered.
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), stateLimit)
	defer cancel()
	if err := vm.snapshotPossible(limit); err != nil {
		return false, err
	}
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if err := vm.monitor.Execute(limit, "stop", nil, nil); err != nil {
		return false, err
	}
	if err := vm.switchDisk(limit, overlay); err != nil {
		return false, errors.Join(err, vm.proceed())
	}
	// The guest runs as soon as its state is out, though memory may take its time with the rest.
	proceeded := false
	err = vm.writeState(ctx, memory, func() error {
		proceeded = true
		return vm.proceed()
	})
	if !proceeded {
		err = errors.Join(err, vm.proceed())
	}
	return true, err
}

// snapshotPossible looks for what speaks against a snapshot, before anything is changed.
func (vm *VM) snapshotPossible(ctx context.Context) error {
	disks := vm.Disks()
	if len(disks) == 0 {
		return errors.New("the machine has no disk")
	}
	if disks[0].ReadOnly {
		return errors.New("disk 0 is read-only")
	}
	for i, d := range disks[1:] {
		if !d.ReadOnly {
			return fmt.Errorf("disk %d (%s) can be written to, too: only disk 0 may be", i+1, d.Path)
		}
	}
	var status struct {
		Status string `json:"status"`
	}
	if err := vm.monitor.Execute(ctx, "query-status", nil, &status); err != nil {
		return err
	}
	if status.Status != "running" {
		return fmt.Errorf("the guest does not run (%s)", status.Status)
	}
	return nil
}

// switchDisk puts the overlay on disk 0, whose image QEMU completes and opens anew for reading only.
func (vm *VM) switchDisk(ctx context.Context, path string) error {
	vm.mu.Lock()
	disk, layers := vm.config.Disks[0], vm.layers
	vm.mu.Unlock()
	top := disk
	top.Path, top.Format = path, "qcow2"
	top.Backing = append([]Image{{disk.Path, disk.Format}}, disk.Backing...)
	below, above := layerNode(layers), layerNode(layers+1)
	node, file := top.node(above, "")
	node["file"] = file
	if err := vm.monitor.Execute(ctx, "blockdev-add", node, nil); err != nil {
		return err
	}
	if err := vm.monitor.Execute(ctx, "blockdev-snapshot", map[string]string{"node": below, "overlay": above}, nil); err != nil {
		return errors.Join(err, vm.monitor.Execute(ctx, "blockdev-del", map[string]string{"node-name": above}, nil))
	}
	vm.mu.Lock()
	vm.config.Disks = slices.Clone(vm.config.Disks)
	vm.config.Disks[0] = top
	vm.layers++
	vm.mu.Unlock()
	return nil
}

// layerNode is the name of disk 0's block node after n snapshots.
func layerNode(n int) string {
	if n == 0 {
		return diskNode(0)
	}
	return fmt.Sprintf("%s-layer%d", diskNode(0), n)
}

// proceed lets the guest go on after its state was written, or could not be.
func (vm *VM) proceed() error {
	ctx, cancel := context.WithTimeout(context.Background(), settleLimit)
	defer cancel()
	// Without effect unless a migration is under way, which must end before the guest may run.
	if err := vm.monitor.Execute(ctx, "migrate_cancel", nil, nil); err != nil {
		return err
	}
	for {
		var status struct {
			Status string `json:"status"`
		}
		if err := vm.monitor.Execute(ctx, "query-migrate", nil, &status); err != nil {
			return err
		}
		switch status.Status {
		case "", "none", "completed", "failed", "cancelled":
			// After a migration this takes the disks back, too.
			return vm.monitor.Execute(ctx, "cont", nil, nil)
		}
		select {
		case <-time.After(2 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Disks returns the machine's disks as they are now: Snapshot changes the first.
func (vm *VM) Disks() []Disk {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	disks := slices.Clone(vm.config.Disks)
	for i := range disks {
		disks[i].Backing = slices.Clone(disks[i].Backing)
	}
	return disks
}
