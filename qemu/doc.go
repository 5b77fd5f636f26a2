// Package qemu runs virtual machines with QEMU: one VM is one object with one Close.
//
// A Config says what the machine is made of. Start runs it, and returns when the guest's first instruction is
// about to run:
//
//	acc, err := qemu.ChooseAccelerator("auto")         // KVM if it really works, else TCG; says why
//	fw, err := qemu.FindFirmware(qemu.UEFI)            // by QEMU's own firmware descriptors
//	vm, err := qemu.Start(ctx, qemu.Config{
//		Accelerator: acc,
//		CPUs:        2,
//		MemoryMiB:   1024,
//		Firmware:    fw,
//		Disks:       []qemu.Disk{{Path: "disk.qcow2", Format: "qcow2", Backing: []qemu.Image{{"base.raw", "raw"}}}},
//		Ports:       []string{"org.example.agent.0"},
//		ConsoleLog:  logFile,
//	})
//	if err != nil {
//		return err // "start qemu: QEMU exited 1: Could not open 'disk.qcow2': Permission denied"
//	}
//	defer vm.Close()
//
// Whatever is waited for is waited for through the VM, so that the wait ends when the guest cannot fulfil it any
// more, and says why:
//
//	err = vm.Await(ctx, qemu.Wait{Name: "the login prompt", Limit: 30 * time.Second}, func(ctx context.Context) error {
//		_, err := vm.Console().Expect(ctx, regexp.MustCompile(`login:( |$)`))
//		return err
//	})
//	// waiting for the login prompt: the boot stopped at the initramfs prompt (…) (after 21.4s); check root= on …
//
// The host and a program in the guest talk over virtio-serial ports (PortOpen, Dial), which need no network. The
// machine is controlled through QMP: by PowerDown, Reset, Quit and WaitShutdown, and by everything else that
// Monitor can run, among it the typed commands of digitalocean/go-qemu's package qmp/raw.
//
// # Saved guests
//
// A guest is saved while it goes on, any number of times, and goes on from each of the saved states as often as wanted, in a tenth of the
// time that it takes to boot:
//
//	_, err = vm.Snapshot(ctx, "2.qcow2", memory)  // 1.qcow2 is complete; the guest writes to 2.qcow2, an overlay on it
//	if config.Identity(version) == before {       // the same machine
//		vm, err = qemu.Resume(ctx, config, memory, nil) // with a new overlay on 1.qcow2
//	}
//
// # What a VM leaves behind
//
// Nothing. Everything that lives as long as the machine belongs to the VM: the process group, the folder (mode
// 0700) with its sockets and UEFI variables, the reader of its console. Close, or the end of Start's context, kills
// and removes it all. If the calling process is killed the kernel kills QEMU with it (PR_SET_PDEATHSIG), and the
// next Start removes the folder.
//
// # What a guest can do
//
// The guest is taken for hostile. QEMU runs without default devices, under its seccomp sandbox where it was built
// with one, with no listening network port unless a Forward asks for one. Disk formats are given and never guessed,
// and a backing file is opened only if Config declares it. The console's log and lines are bounded and cleaned of
// control characters. With a Network that is not restricted the guest reaches what the host reaches, the services
// on the host's own loopback address among it.
//
// The package runs on Linux and runs amd64 guests; it knows nothing of what is on the disks.
package qemu
