package builder

import (
	"context"
	"io"
)

// Console connects keys with the serial console of a kept VM, whose output goes to VMOpen.Console, until the escape key (Ctrl-])
// comes in, the keys end, the guest goes down, which down tells, or ctx ends, none of which is an error.
func (vm *VM) Console(ctx context.Context, keys io.Reader) (down bool, err error) {
	err = attend(ctx, vm.vm, keys)
	select {
	case <-vm.vm.Done():
		down = true
	default:
	}
	return down, err
}
