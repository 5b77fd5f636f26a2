package vmdk

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	"github.com/ingot-image/ingot/disk/image"
)

// Options are options of [NewWriter]. The zero value gives what all of ESXi, vCenter, Workstation, VirtualBox and ImportSnapshot take.
type Options struct {
	// Name is the file's own name, which its descriptor repeats and VMware's tools look for: "disk.vmdk" when empty. What a
	// descriptor cannot hold becomes "_".
	Name  string
	Level image.Level
	// AdapterType is the controller that the disk is for, one of [AdapterTypes]: "lsilogic" when empty, which also stands for every other
	// SCSI controller. Whoever runs the disk decides by the machine's own settings; "ide" changes the geometry.
	AdapterType string
	// HardwareVersion of the virtual machines that the disk is for, 3 to 99; 6 when 0. It should not exceed that of the machine, which an OVF
	// descriptor names; ESXi looks at it no more, but older versions refuse disks of version 4, as qemu-img writes them by default.
	HardwareVersion int
	// ToolsVersion is the version of VMware Tools in the guest as VMware counts it, (major*1024)+(minor*32)+patch. 0 stands for 2147483647: not
	// managed by the host, as with open-vm-tools. vSphere calls guests whose disks have none out of date.
	ToolsVersion int
}

const (
	defaultAdapterType     = "lsilogic"
	defaultHardwareVersion = 6          // QEMU's option compat6
	unmanagedTools         = 2147483647 // open-vmdk's and QEMU's value
	defaultName            = "disk.vmdk"

	maxName = 255
)

// AdapterTypes are the values of ddb.adapterType that VMware's products know: the four of the specification, section "The Disk Database", and
// those that ESXi's vmkfstools takes besides.
func AdapterTypes() []string {
	return []string{"lsilogic", "buslogic", "ide", "legacyESX", "lsisas", "pvscsi"}
}

// checked is the options with defaults in place.
func (o Options) checked() (Options, error) {
	o.Name = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || strings.ContainsRune(`"/\`, r) {
			return '_'
		}
		return r
	}, strings.ToValidUTF8(o.Name, "_"))
	if o.Name == "" || o.Name == "." || o.Name == ".." {
		o.Name = defaultName
	}
	if len(o.Name) > maxName {
		return o, fmt.Errorf("the name of the VMDK has %d bytes: use %d at most", len(o.Name), maxName)
	}
	if o.Level < image.Default || o.Level > image.Best {
		return o, fmt.Errorf("unknown level of compression %d", o.Level)
	}
	if o.AdapterType == "" {
		o.AdapterType = defaultAdapterType
	}
	if !slices.Contains(AdapterTypes(), o.AdapterType) {
		return o, fmt.Errorf("VMDK adapter type %q is unknown: use one of %s", o.AdapterType, strings.Join(AdapterTypes(), ", "))
	}
	if o.HardwareVersion == 0 {
		o.HardwareVersion = defaultHardwareVersion
	}
	if o.HardwareVersion < 3 || o.HardwareVersion > 99 {
		return o, fmt.Errorf("VMDK hardware version %d: use 3 to 99, or 0 for %d", o.HardwareVersion, defaultHardwareVersion)
	}
	if o.ToolsVersion == 0 {
		o.ToolsVersion = unmanagedTools
	}
	if o.ToolsVersion < 0 || o.ToolsVersion > unmanagedTools {
		return o, fmt.Errorf("VMware Tools version %d: use 1 to %d, or 0 for tools that the host does not manage", o.ToolsVersion, unmanagedTools)
	}
	return o, nil
}

// descriptor is the text that is embedded in the file: section "The Descriptor File".
func (o Options) descriptor(sectors int64) string {
	cylinders, heads, perTrack := o.geometry(sectors)
	return fmt.Sprintf(`# Disk DescriptorFile
version=1
encoding="UTF-8"
CID=%08x
parentCID=ffffffff
createType="streamOptimized"

# Extent description
RW %d SPARSE "%s"

# The Disk Data Base
#DDB

ddb.virtualHWVersion = "%d"
ddb.geometry.cylinders = "%d"
ddb.geometry.heads = "%d"
ddb.geometry.sectors = "%d"
ddb.adapterType = "%s"
ddb.toolsInstallType = "4"
ddb.toolsVersion = "%d"
`, o.contentID(sectors), sectors, o.Name, o.HardwareVersion, cylinders, heads, perTrack, o.AdapterType, o.ToolsVersion)
}

// contentID is the descriptor's CID, which others draw at random. It tells snapshots of this disk that it is still what they were made
// of, so any value does but ffffffff, no parent; and as the descriptor comes before the content, it is one of name and size. There is no
// ddb.longContentID: VMware makes one when it first writes to the disk, and one without content would be a lie.
func (o Options) contentID(sectors int64) uint32 {
	h := fnv.New32a()
	fmt.Fprintf(h, "%d %s", sectors, o.Name)
	return h.Sum32() & 0x7fffffff
}

// geometry is that by which VMware's products, QEMU and open-vmdk address disks of the controller: 255 heads on SCSI, 16 on IDE, where ATA
// ends at 16383 cylinders. Parts of cylinders do not count (VMware's knowledge base 306526: 10485760 sectors are 652). On disks that
// are larger than a geometry can say nobody looks at it.
func (o Options) geometry(sectors int64) (cylinders, heads, perTrack int64) {
	heads, most := int64(255), int64(65535)
	if o.AdapterType == "ide" {
		heads, most = 16, 16383
	}
	return min(max(sectors/(heads*63), 1), most), heads, 63
}
