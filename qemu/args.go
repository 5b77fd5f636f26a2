package qemu

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// surroundings are what a running VM adds to its Config: an inherited file descriptor and files of its own folder.
type surroundings struct {
	monitorFD int      // a connected socket
	ports     []string // socket paths, one for each Config.Ports
	services  []string // socket paths, one for each Network.Services
	vars      string   // the VM's own UEFI variables
	sandbox   bool
	version   string // of QEMU
	incoming  bool   // a state is to be loaded before the guest runs
}

// arguments builds QEMU's argument list. Config has been validated.
func (c *Config) arguments(m *machine, s surroundings) []string {
	var a argList
	a.add("-nodefaults", "-no-user-config", "-display", "none")
	if s.sandbox {
		a.add("-sandbox", c.sandbox())
	}
	a.machine(c, m, s)
	a.add("-cpu", firstOf(c.CPUModel, m.cpu(c.Accelerator.Name)))
	a.add("-smp", strconv.Itoa(max(c.CPUs, 1)), "-m", strconv.Itoa(c.MemoryMiB)+"M")
	for _, g := range m.global {
		a.add("-global", g)
	}
	// The CPUs start when the monitor is listening, so that no event is missed.
	a.add("-S")
	if s.incoming {
		a.add("-incoming", "defer")
	}
	if c.OnReboot == Exit {
		a.add("-action", "reboot=shutdown")
	}
	// A panic is reported by an event; the console is still worth reading after it.
	a.add("-device", m.panicDevice, "-action", "panic=none")
	a.add("-object", "rng-builtin,id=rng0", "-device", "virtio-rng-pci,id=rng0-device,rng=rng0")
	a.add("-chardev", fmt.Sprintf("socket,id=monitor,fd=%d", s.monitorFD), "-mon", "chardev=monitor,mode=control")
	a.add("-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console")
	a.ports(c.Ports, s.ports)
	a.disks(c.Disks)
	a.network(c.Network, c.Relay, s.services)
	a.kernel(c.Kernel)
	for _, t := range c.SMBIOS {
		o := option("type", strconv.Itoa(t.Type))
		for _, f := range t.Fields {
			o += "," + option(f.Name, f.Value)
		}
		a.add("-smbios", o)
	}
	for _, f := range c.FWCfg {
		a.add("-fw_cfg", option("name", f.Name)+","+option("string", f.Value))
	}
	a.add(c.ExtraArgs...)
	return a
}

type argList []string

func (a *argList) add(args ...string) { *a = append(*a, args...) }

// option writes name=value of QEMU's option syntax, in which a comma within a value is doubled.
func option(name, value string) string {
	return name + "=" + strings.ReplaceAll(value, ",", ",,")
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// machine gives the machine, the accelerator and the firmware's flash chips.
func (a *argList) machine(c *Config, m *machine, s surroundings) {
	o := m.typ + "," + m.options
	fw := c.Firmware
	flash := fw != nil && fw.Code.Path != ""
	if flash && fw.RequiresSMM {
		o += ",smm=on"
	}
	if flash {
		a.blockdev(blockNode{"node-name": "flash0", "driver": fw.Code.Format, "read-only": true}, fileNode(fw.Code.Path, true, ""))
		a.blockdev(blockNode{"node-name": "flash1", "driver": fw.Vars.Format}, fileNode(s.vars, false, ""))
		o += ",pflash0=flash0,pflash1=flash1"
	}
	a.add("-machine", o)
	if flash && fw.SecureBoot && fw.RequiresSMM {
		// Only the firmware's own SMM code may write the variables (firmware.json, "requires-smm").
		a.add("-global", "driver=cfi.pflash01,property=secure,value=on")
	}
	if c.Accelerator.Name == KVM {
		a.add("-accel", "kvm")
	} else {
		a.add("-accel", "tcg,thread="+tcgThreads(c, s.version)+",tb-size=512")
	}
}

// ports gives a virtio-serial port for each name; VSERPORT_CHANGE reports the device by its id.
func (a *argList) ports(names, sockets []string) {
	if len(names) == 0 {
		return
	}
	a.add("-device", "virtio-serial-pci,id=serial0,max_ports=31")
	for i, name := range names {
		id := fmt.Sprintf("port%d", i)
		a.add("-chardev", "socket,id="+id+","+option("path", sockets[i])+",server=on,wait=off")
		a.add("-device", fmt.Sprintf("virtserialport,bus=serial0.0,nr=%d,id=%s,chardev=%s,name=%s", i+1, portDevice(i), id, name))
	}
}

// network gives user-mode networking. The card's boot ROM is left out: nothing here boots by PXE.
func (a *argList) network(n *Network, relay, services []string) {
	if n == nil {
		return
	}
	o := "user,id=net0"
	if n.Subnet.IsValid() {
		o += ",net=" + n.subnet().String()
	}
	if n.Restrict {
		o += ",restrict=on"
	}
	for _, f := range n.Forwards {
		o += "," + option("hostfwd", fmt.Sprintf("tcp:%s:%d-:%d", f.address(), f.HostPort, f.GuestPort))
	}
	for i, path := range services {
		o += "," + n.Services[i].option(relay, path)
	}
	d := "virtio-net-pci,id=net0-device,netdev=net0,romfile="
	if n.MAC != "" {
		d += "," + option("mac", n.MAC)
	}
	a.add("-netdev", o, "-device", d)
}

func (a *argList) kernel(k *DirectKernel) {
	if k == nil {
		return
	}
	a.add("-kernel", k.Kernel)
	if k.Initrd != "" {
		a.add("-initrd", k.Initrd)
	}
	if k.Append != "" {
		a.add("-append", k.Append)
	}
}

// disks gives each disk's block nodes and device. Disk i is the node disk<i> on the device disk<i>-device.
func (a *argList) disks(disks []Disk) {
	ordered := false
	scsi := false
	for _, d := range disks {
		ordered = ordered || d.BootIndex > 0
		scsi = scsi || d.Interface == SCSI
	}
	if scsi {
		a.add("-device", "virtio-scsi-pci,id=scsi0")
	}
	sata := 0
	for i, d := range disks {
		node := diskNode(i)
		a.backing(node, d.Backing)
		backing := ""
		if len(d.Backing) > 0 {
			backing = node + "-backing0"
		}
		a.blockdev(d.node(node, backing))

		dev := ""
		switch d.Interface {
		case NVMe:
			// The controller does not start without a serial number.
			dev = "nvme," + option("serial", firstOf(d.Serial, node))
		case SCSI:
			dev = "scsi-hd,bus=scsi0.0"
		case SATA:
			dev = fmt.Sprintf("ide-hd,bus=ide.%d", sata)
			sata++
		default:
			dev = "virtio-blk-pci"
		}
		if d.Serial != "" && d.Interface != NVMe {
			dev += "," + option("serial", d.Serial)
		}
		dev += fmt.Sprintf(",id=%s-device,drive=%s", node, node)
		switch {
		case ordered && d.BootIndex > 0:
			dev += fmt.Sprintf(",bootindex=%d", d.BootIndex)
		case !ordered:
			dev += fmt.Sprintf(",bootindex=%d", i+1)
		}
		a.add("-device", dev)
	}
	// Nothing but the disks named is tried, so that the firmware says soon that none boots.
	a.add("-boot", "strict=on,menu=off")
}

// diskNode is the name of a disk's block node, as the machine starts with it.
func diskNode(i int) string { return fmt.Sprintf("disk%d", i) }

// node is the disk's own block node with the file below it. backing names the node of its backing file, "" if there is none.
func (d *Disk) node(name, backing string) (node, file blockNode) {
	node = blockNode{"node-name": name, "driver": d.Format}
	if d.ReadOnly {
		node["read-only"] = true
	} else {
		node["discard"] = "unmap"
		node["detect-zeroes"] = "unmap"
	}
	d.Cache.apply(node)
	switch {
	case backing != "":
		node["backing"] = backing
	case hasBacking(d.Format):
		node["backing"] = nil
	}
	return node, fileNode(d.Path, d.ReadOnly, d.Cache)
}

// backing gives the nodes of a backing chain, <node>-backing0 the nearest to the disk.
func (a *argList) backing(node string, chain []Image) {
	for i := len(chain) - 1; i >= 0; i-- {
		n := blockNode{"node-name": fmt.Sprintf("%s-backing%d", node, i), "driver": chain[i].Format, "read-only": true}
		switch {
		case i+1 < len(chain):
			n["backing"] = fmt.Sprintf("%s-backing%d", node, i+1)
		case hasBacking(chain[i].Format):
			n["backing"] = nil
		}
		a.blockdev(n, fileNode(chain[i].Path, true, ""))
	}
}

// hasBacking tells whether QEMU's driver of that name takes a backing file.
func hasBacking(format string) bool {
	switch format {
	case "qcow2", "qcow", "qed", "vmdk":
		return true
	}
	return false
}

// blockNode is one node of -blockdev's JSON form, which has no escaping to get wrong.
type blockNode map[string]any

func fileNode(path string, readOnly bool, cache Cache) blockNode {
	n := blockNode{"driver": "file", "filename": path, "locking": "auto"}
	if readOnly {
		n["read-only"] = true
	} else {
		n["discard"] = "unmap"
	}
	cache.apply(n)
	return n
}

func (c Cache) apply(n blockNode) {
	switch c {
	case Unsafe:
		n["cache"] = map[string]any{"no-flush": true}
	case Direct:
		n["cache"] = map[string]any{"direct": true}
	}
}

func (a *argList) blockdev(n, file blockNode) {
	n["file"] = file
	b, err := json.Marshal(n) // map keys come out sorted
	if err != nil {
		panic(err) // strings, bools and nil only
	}
	a.add("-blockdev", string(b))
}
