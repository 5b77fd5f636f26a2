package builder

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/ingot-image/ingot/builder/imds"
	"github.com/ingot-image/ingot/builder/recipe"
	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/qemu"
)

// Limits of a rehearsal's waits, for KVM; slower accelerators scale them (qemu.Accelerator.Limit).
const (
	metadataLimit = 2 * time.Minute  // until the first request
	userDataLimit = 3 * time.Minute  // from there until the user data has told what it sees
	silentLimit   = 4 * time.Second  // for a request after the login prompt, which comes after it on every system with cloud-init
	lastLimit     = 2 * time.Second  // for the user data's words after cloud-init's last
	loginLimit    = 20 * time.Second // for a login by SSH
)

// consoleLines is how many of the console's last lines are told of a boot that failed.
const consoleLines = 40

// The network of an EC2 instance as QEMU's user network can give it: the metadata service must be in the guest's own network.
var (
	instanceNetwork = netip.MustParsePrefix("169.254.0.0/16")
	metadataService = netip.MustParseAddr("169.254.169.254")
)

// observation is what was seen of a boot.
type observation struct {
	failure  error // the guest did not come up, or not in time
	kernel   bool  // the kernel wrote to ttyS0
	init     bool  // init and services did
	final    string
	told     map[string]string // by the user data; nil if it did not run to its end
	requests []imds.Request
	login    *login
	left     *leftDisk // nil if the user data told all
	leftErr  error
	size     int64 // of the image in bytes
	volume   int64 // of the volume
	root     int64 // of the root file system before, 0 if unknown
}

// errNoLoader is what comes of a disk that firmware finds no program on. A BIOS does not say so of a disk with a partition table: it runs the empty boot code.
var errNoLoader = errors.New("the disk has nothing that this firmware could start")

// boot boots the image once.
func (r *rehearsal) boot(ctx context.Context, firmware qemu.FirmwareKind) (*Boot, error) {
	began := time.Now()
	if firmware == qemu.BIOS && !r.loaders.bios || firmware == qemu.UEFI && !r.loaders.uefi {
		return &Boot{Firmware: firmware, Checks: (&observation{failure: errNoLoader}).checks()}, nil
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	sshKey, err := ssh.NewPublicKey(public)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return nil, err
	}
	key := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(sshKey))) + " ingot-rehearsal"
	nonce := "ingot-" + randomHex(8)
	report := newGuestReport(nonce)
	about := imds.Instance{InstanceID: instanceID, PublicKey: key, UserData: userData(nonce, key)}
	for _, v := range r.options.Volumes {
		about.Volumes = append(about.Volumes, v.DeviceName)
	}
	service := imds.New(about)

	o := &observation{size: r.size, volume: volumeSize(r.size), root: r.root}
	overlay := r.work.path("rehearsal-" + string(firmware) + ".qcow2")
	if err := disk.CreateOverlay(ctx, overlay, r.image, o.volume); err != nil {
		return nil, err
	}
	config, err := r.instance(ctx, firmware, overlay)
	if err != nil {
		return nil, err
	}
	volumes, err := r.volumes(ctx, firmware)
	if err != nil {
		return nil, err
	}
	config.Disks = append(config.Disks, volumes...)
	config.Network.Services = []qemu.Service{{Address: metadataService, Port: 80, Serve: service.Serve}}
	config.ConsoleLog = report
	if r.options.Log != nil {
		config.ConsoleLog = io.MultiWriter(report, r.options.Log)
	}
	r.doing(firmware, "booting from an NVMe disk of %d GiB", o.volume>>30)
	vm, err := qemu.Start(ctx, config)
	if err != nil {
		return nil, err
	}
	defer vm.Close()
	if err := r.watch(ctx, firmware, vm, report, service, o); err != nil {
		return nil, err
	}
	if o.told = report.told(); o.told != nil && o.told["ssh"] == "yes" {
		r.doing(firmware, "logging in by SSH with the key")
		o.login = r.logIn(ctx, vm, signer, strings.Fields(o.told["users"]), nonce)
	}
	o.kernel, o.init, o.final = report.said()
	o.requests = service.Requests()
	boot := &Boot{Firmware: firmware, Console: report.others(vm.Console().Tail(4*consoleLines), consoleLines)}
	if o.told == nil {
		r.doing(firmware, "reading what the guest left on its disk")
		o.left, o.leftErr = r.after(ctx, vm, overlay, key)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	boot.Checks = o.checks()
	if boot.Passed = len(boot.Failed()) == 0; boot.Passed {
		boot.Console = nil
	}
	boot.DurationMS = time.Since(began).Milliseconds()
	return boot, errors.Join(vm.Close(), ctx.Err())
}

const instanceID = "i-0123456789abcdef0"

// instance is the machine: what EC2's Nitro hypervisor shows a guest of disks and system tables, as far as QEMU can. The network card is virtio's, for QEMU has no
// ENA, and the NVMe disk's model is QEMU's.
func (r *rehearsal) instance(ctx context.Context, firmware qemu.FirmwareKind, overlay string) (qemu.Config, error) {
	fw, err := qemu.FindFirmware(firmware)
	if err != nil {
		return qemu.Config{}, err
	}
	root := overlayDisk(overlay, r.image.Path, r.image.Format, qemu.NVMe)
	root.Serial = volumeSerial(0)
	// The system's UUID begins with ec2, by which programs know that they are on EC2 (EC2 user guide, "Determine whether your system is an EC2 instance").
	// ds-identify of cloud-init also wants it to be the serial number, in lower case.
	uuid := "ec2" + randomHex(3)[:5] + "-" + randomHex(2) + "-4" + randomHex(2)[:3] + "-8" + randomHex(2)[:3] + "-" + randomHex(6)
	amazon := qemu.Field{Name: "manufacturer", Value: "Amazon EC2"}
	return qemu.Config{
		Accelerator: r.accelerator, Firmware: fw,
		CPUs:      cmp.Or(r.options.CPUs, min(recipe.DefaultVCPUs, usefulCPUs(ctx, r.options.Accelerator))),
		MemoryMiB: cmp.Or(r.options.MemoryMiB, recipe.DefaultMemoryMiB),
		Disks:     []qemu.Disk{root},
		Network:   &qemu.Network{Subnet: instanceNetwork, Restrict: true, Forwards: []qemu.Forward{{GuestPort: 22}}},
		Relay:     r.builder.Relay, RuntimeDir: r.work.sockets,
		SMBIOS: []qemu.SMBIOS{
			{Type: 0, Fields: []qemu.Field{{Name: "vendor", Value: "Amazon EC2"}, {Name: "version", Value: "1.0"}}},
			{Type: 1, Fields: []qemu.Field{amazon, {Name: "product", Value: "t3.medium"}, {Name: "serial", Value: uuid}, {Name: "uuid", Value: uuid}}},
			{Type: 2, Fields: []qemu.Field{amazon, {Name: "asset", Value: instanceID}}},
			{Type: 3, Fields: []qemu.Field{amazon, {Name: "asset", Value: "Amazon EC2"}}},
		},
	}, nil
}

// volumeSerial is the id of an instance's nth volume without its dash, which is how the instance sees it.
func volumeSerial(n int) string { return fmt.Sprintf("vol0123456789abcd%03x", 0xef0+n) }

// volumes makes the instance's further volumes, which are empty.
func (r *rehearsal) volumes(ctx context.Context, firmware qemu.FirmwareKind) (disks []qemu.Disk, err error) {
	if len(r.options.Volumes) == 0 {
		return nil, nil
	}
	// What no sector is written to: the volumes are overlays on it.
	empty := disk.Image{Path: r.work.path("empty-" + string(firmware) + ".raw"), Format: disk.Raw}
	if err := os.WriteFile(empty.Path, nil, 0o600); err != nil {
		return nil, err
	}
	for i, v := range r.options.Volumes {
		path := r.work.path(fmt.Sprintf("volume-%s-%d.qcow2", firmware, i+1))
		if err := disk.CreateOverlay(ctx, path, empty, int64(v.SizeGiB)<<30); err != nil {
			return nil, err
		}
		d := overlayDisk(path, empty.Path, empty.Format, qemu.NVMe)
		d.Serial, d.BootIndex = volumeSerial(i+1), 0
		disks = append(disks, d)
	}
	return disks, nil
}

// watch waits until the guest has done what there is to see. What goes wrong in the guest is noted; the error is ctx's.
func (r *rehearsal) watch(ctx context.Context, firmware qemu.FirmwareKind, vm *qemu.VM, report *guestReport, service *imds.Service, o *observation) error {
	err := vm.Await(ctx, qemu.Wait{
		Name: "the instance to ask for its metadata", Limit: metadataLimit,
		Hint: "the console's last lines tell how far the boot came; cloud-init asks before the login prompt",
	}, func(ctx context.Context) error {
		prompt := report.prompt
		var silent <-chan time.Time
		for {
			changed := service.Changed()
			if len(service.Requests()) > 0 {
				return nil
			}
			select {
			case <-changed:
			case <-report.ended:
				return nil
			case <-prompt:
				prompt = nil
				silent = time.After(r.accelerator.Limit(silentLimit))
			case <-silent:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	if err == nil && len(service.Requests()) > 0 {
		r.doing(firmware, "the instance asks for its metadata")
		err = vm.Await(ctx, qemu.Wait{
			Name: "the user data to run", Limit: userDataLimit, Hint: "cloud-init runs it last, by its module scripts-user",
		}, func(ctx context.Context) error {
			select {
			case <-report.done:
				return nil
			case <-report.ended:
			case <-ctx.Done():
				return ctx.Err()
			}
			select {
			case <-report.done:
			case <-time.After(r.accelerator.Limit(lastLimit)):
			case <-ctx.Done():
			}
			return nil
		})
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	o.failure = err
	return nil
}

// after ends the guest in order if it can, and reads its disk.
func (r *rehearsal) after(ctx context.Context, vm *qemu.VM, overlay, key string) (*leftDisk, error) {
	var waited *qemu.WaitError
	_, err := vm.PowerDown(ctx, qemu.Wait{Name: "the instance to shut down", Limit: shutdownLimit})
	if err != nil && !errors.As(err, &waited) {
		r.doing("", "%v", err)
	}
	if err := vm.Close(); err != nil {
		return nil, err
	}
	left, err := r.left(ctx, overlay, key)
	if err != nil {
		return left, fmt.Errorf("read what the guest left on its disk: %w", err)
	}
	return left, nil
}
