// Package seed gets the agent into a guest without writing to the guest's disk. There are two ways in, and both give the
// guest one more small read-only disk that holds the agent's program:
//
//   - [Direct], the fast one, for Linux guests whose kernel and initrd the host boots itself: a few files appended to the
//     initrd put a unit into /run/systemd/system, which mounts the disk and starts the agent. cloud-init has no part in it.
//   - [NoCloud], for everything that boots by firmware and its own boot loader, and so for every test of a finished
//     image: the disk is a seed for cloud-init's NoCloud data source (volume label cidata), whose user data starts the
//     agent.
package seed

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/iso9660"

	"github.com/ingot-image/ingot/builder/agent"
)

// Serial is the serial number that the seed's disk must be given, by which a guest finds it: a virtio disk of serial S is
// /dev/disk/by-id/virtio-S.
const Serial = "ingot-seed"

// device is where a guest finds the seed's disk.
const device = "/dev/disk/by-id/virtio-" + Serial

// File is one file of a seed or an initrd, by its path from the root.
type File struct {
	Name string
	Mode os.FileMode
	Data []byte
}

// Direct returns the seed's files for the fast way and the files to append to the guest's initrd.
func Direct(program []byte) (disk, initrd []File) {
	disk = []File{{Name: "ingot-agent", Mode: 0o755, Data: program}}
	return disk, initrdFiles()
}

// DirectAppend is what the fast way adds to the kernel's command line: cloud-init must not take the build for the
// instance's first boot, and an emulated machine on a busy host may give the timer's interrupt later than the kernel's
// check of it waits (a panic: "IO-APIC + timer doesn't work!"). KVM's guests leave that check out by themselves.
const DirectAppend = "cloud-init=disabled no_timer_check"

// The unit is as early as its disk, and stays until the guest goes down. It must not keep the guest from going down, nor
// be stopped before what runs in it ends by itself, so it has no dependencies but those it needs.
const unit = `[Unit]
Description=Ingot agent
DefaultDependencies=no
Requires=%[1]s
After=%[1]s systemd-remount-fs.service
Before=shutdown.target
Conflicts=shutdown.target

[Service]
RuntimeDirectory=ingot
ExecStartPre=/bin/mkdir -p /run/ingot/seed
ExecStartPre=/bin/mount -t iso9660 -o ro %[2]s /run/ingot/seed
ExecStart=/run/ingot/seed/ingot-agent -port %[3]s
KillMode=mixed
TimeoutStopSec=5
StandardOutput=journal+console
StandardError=journal+console
`

// initrdFiles are for initramfs-tools: its /init sources every file in /conf/conf.d before it runs any scripts, which is
// where one more script can be added to those that init-bottom runs, without knowing the others (initramfs-tools(7)).
// What the script leaves in /run is still there after the switch to the real root. An initrd without busybox has the tools
// of klibc-utils only: no cp.
func initrdFiles() []File {
	deviceUnit := "dev-disk-by\\x2did-virtio\\x2d" + strings.ReplaceAll(Serial, "-", "\\x2d") + ".device"
	return []File{
		{Name: "conf/conf.d/ingot", Mode: 0o644, Data: []byte(
			"mkdir -p /scripts/init-bottom\necho '/scripts/init-bottom/ingot \"$@\"' >>/scripts/init-bottom/ORDER\n")},
		{Name: "scripts/init-bottom/ingot", Mode: 0o755, Data: []byte(`#!/bin/sh
[ "$1" = prereqs ] && exit 0
mkdir -p /run/systemd/system/sysinit.target.wants
cat /ingot-agent.service >/run/systemd/system/ingot-agent.service
ln -s ../ingot-agent.service /run/systemd/system/sysinit.target.wants/
if [ -e /ingot-tmp.conf ]; then mkdir -p /run/tmpfiles.d; cat /ingot-tmp.conf >/run/tmpfiles.d/tmp.conf; fi
`)},
		{Name: "ingot-agent.service", Mode: 0o644, Data: fmt.Appendf(nil, unit, deviceUnit, device, agent.PortName)},
	}
}

// KeepTmp is a file for the guest's initrd, beside those of [Direct], with which the boot leaves /tmp as it is: the distribution's rule, by which
// it is emptied, is replaced by one that only makes it (tmpfiles.d(5): a file of the same name in /run wins over /usr/lib).
func KeepTmp() File {
	return File{Name: "ingot-tmp.conf", Mode: 0o644, Data: []byte("d /tmp 1777 root root -\nd /var/tmp 1777 root root -\n")}
}

// Instance is what a NoCloud seed tells cloud-init of the instance.
type Instance struct {
	ID       string // a new one makes cloud-init treat the boot as a first boot
	Hostname string
	// AuthorizedKeys may log in as the image's default user.
	AuthorizedKeys []string
	// Password, if not empty, lets the default user log in, on the console and by ssh.
	Password string
}

// NoCloud returns the files of a seed for cloud-init's NoCloud data source (cloud-init's documentation, "NoCloud"). With a
// program the user data starts it as the agent, at every boot; without, the instance is only given its login.
func NoCloud(instance Instance, program []byte) ([]File, error) {
	userData := map[string]any{}
	if len(instance.AuthorizedKeys) > 0 {
		userData["ssh_authorized_keys"] = instance.AuthorizedKeys
	}
	if instance.Password != "" {
		userData["password"] = instance.Password
		userData["ssh_pwauth"] = true
		userData["chpasswd"] = map[string]any{"expire": false}
	}
	metaData := map[string]any{"instance-id": instance.ID, "local-hostname": instance.Hostname}
	files := []File{}
	if len(program) > 0 {
		// bootcmd is the first thing cloud-init runs, and it runs at every boot: the agent is back after a reboot. The unit is
		// made by systemd-run so that it outlives cloud-init's own.
		start := strings.Join([]string{
			"mkdir -p /run/ingot/seed",
			"{ mountpoint -q /run/ingot/seed || mount -t iso9660 -o ro " + device + " /run/ingot/seed; }",
			"systemd-run --no-block --collect --unit=ingot-agent -p DefaultDependencies=no -p TimeoutStopSec=5" +
				" -p Conflicts=shutdown.target -p Before=shutdown.target" +
				" /run/ingot/seed/ingot-agent -port " + agent.PortName,
		}, " && ")
		userData["bootcmd"] = [][]string{{"sh", "-c", start}}
		files = append(files, File{Name: "ingot-agent", Mode: 0o755, Data: program})
	}
	// JSON is YAML, and quotes whatever a name or key may hold.
	user, err := json.Marshal(userData)
	if err != nil {
		return nil, err
	}
	meta, err := json.Marshal(metaData)
	if err != nil {
		return nil, err
	}
	return append(files,
		File{Name: "meta-data", Mode: 0o644, Data: meta},
		File{Name: "user-data", Mode: 0o644, Data: append([]byte("#cloud-config\n"), user...)},
	), nil
}

// Labels of seeds: cloud-init looks for its own.
const (
	LabelDirect  = "INGOT"
	LabelNoCloud = "cidata"
)

const isoBlock = 2048

// Write writes an ISO 9660 image with Rock Ridge names and modes, of the given volume label, to a new file. Names are
// those of files in the root folder.
func Write(path, label string, files []File) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write seed disk: %w", err)
		}
	}()
	workspace, err := os.MkdirTemp(filepath.Dir(path), "seed-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(workspace)
	size := int64(1 << 20) // descriptors, path tables and folders take well under this
	for _, f := range files {
		size += int64(len(f.Data)+isoBlock-1) / isoBlock * isoBlock
		name := filepath.Join(workspace, filepath.Base(f.Name))
		if err := os.WriteFile(name, f.Data, f.Mode); err != nil {
			return err
		}
		if err := os.Chmod(name, f.Mode); err != nil {
			return err
		}
	}
	image, err := file.CreateFromPath(path, size)
	if err != nil {
		return err
	}
	defer image.Close()
	fs, err := iso9660.Create(image, size, 0, isoBlock, workspace)
	if err != nil {
		return err
	}
	return fs.Finalize(iso9660.FinalizeOptions{RockRidge: true, VolumeIdentifier: label})
}
