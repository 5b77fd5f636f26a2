package box

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/ingot-image/ingot/disk/image"
	"github.com/ingot-image/ingot/disk/ova"
)

// VirtualBoxOptions fills in what boxes for VirtualBox have in place of an OVA's defaults: the controller "sata", the network adapter "e1000" and the
// network "NAT", which Vagrant needs. [NewVirtualBoxWriter] takes options by it; [ova.Options.Check] then says what is wrong with them.
func VirtualBoxOptions(o ova.Options) ova.Options {
	o.Controller = cmp.Or(o.Controller, "sata")
	o.NetworkAdapter = cmp.Or(o.NetworkAdapter, "e1000")
	o.Network = cmp.Or(o.Network, "NAT")
	return o
}

// NewVirtualBoxWriter begins a box for the VirtualBox provider, of a disk of size bytes, in an empty file: metadata.json, Vagrantfile, box.ovf and its VMDK.
// The options are an OVA's, but for the defaults of [VirtualBoxOptions].
//
// VirtualBox reads the same descriptor as VMware (src/VBox/Main/xml/ovfreader.cpp: any system type will do, controllers are known by VMware's names);
// only firmware it does not read, so that the Vagrantfile tells it. There is no vbox:Machine, which would make it ignore all the
// rest, and no base_mac, which Vagrant has not needed since 2.2 and which gives all machines of a box one address.
func NewVirtualBoxWriter(f ova.File, size int64, o ova.Options) (image.Writer, error) {
	o = VirtualBoxOptions(o)
	head, err := metadata{Provider: "virtualbox"}.encode()
	if err != nil {
		return nil, fmt.Errorf("write vagrant box: %w", err)
	}
	w, err := ova.NewLayoutWriter(f, size, o, ova.Layout{
		Kind:       "vagrant box",
		First:      []ova.Entry{{Name: metadataName, Data: head}, {Name: vagrantfileName, Data: []byte(vagrantVirtualBox(o))}},
		Descriptor: "box.ovf", // the name that the provider imports
		Disk:       "box-disk001.vmdk",
	})
	if err != nil {
		return nil, err // not a *ova.Writer that is nil
	}
	return w, nil
}

func vagrantVirtualBox(o ova.Options) string {
	firmware := ""
	if strings.EqualFold(o.Firmware, "efi") {
		firmware = "    vb.customize [\"modifyvm\", :id, \"--firmware\", \"efi\"]\n"
	}
	return `Vagrant.configure("2") do |config|
  config.vm.synced_folder ".", "/vagrant", type: "rsync"
  config.vm.provider :virtualbox do |vb|
    vb.check_guest_additions = false
` + firmware + `  end
end
`
}
