package ova

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"strconv"
	"text/template"
)

// diskFile is the VMDK that a descriptor is about.
type diskFile struct {
	Name      string // of the file, relative to the descriptor's
	Capacity  int64  // size of the disk in bytes
	Size      int64  // length of the file in bytes
	Populated int64  // bytes of the disk that are not zeros, about
}

// item is an element of the VirtualHardwareSection: CIM_ResourceAllocationSettingData, in the order of its schema, which is alphabetical.
type item struct {
	Address, AddressOnParent, AllocationUnits, AutomaticAllocation, Connection, Description, ElementName, HostResource, InstanceID, Parent,
	ResourceSubType, ResourceType, VirtualQuantity string
}

func (m resolved) items() []item {
	cpus, memory, c := strconv.Itoa(m.CPUs), strconv.Itoa(m.MemoryMiB), m.controller
	return []item{
		{InstanceID: "1", ResourceType: "3", ElementName: cpus + " virtual CPU(s)", Description: "Number of virtual CPUs", AllocationUnits: "hertz * 10^6", VirtualQuantity: cpus},
		{InstanceID: "2", ResourceType: "4", ElementName: memory + " MB of memory", Description: "Memory size", AllocationUnits: "byte * 2^20", VirtualQuantity: memory},
		{InstanceID: "3", ResourceType: c.resourceType, ResourceSubType: c.subType, ElementName: c.description + " 0", Description: c.description, Address: "0"},
		{InstanceID: "4", ResourceType: "17", ElementName: "Hard disk 1", HostResource: "ovf:/disk/vmdisk1", Parent: "3", AddressOnParent: "0"},
		{InstanceID: "5", ResourceType: "10", ResourceSubType: m.adapter, ElementName: "Network adapter 1", Description: m.adapter + " ethernet adapter on \"" + m.Network + "\"",
			Connection: m.Network, AutomaticAllocation: "true", AddressOnParent: "7"},
	}
}

// descriptor writes an OVF 1.1 descriptor (DMTF DSP0243). It is the same for the same options and disk.
//
// It has what vSphere and Workstation look for, and nothing that either of them or VirtualBox refuses: a VirtualHardwareSection whose system type is
// vmx-NN (vSphere refuses "virtualbox-2.2"; VirtualBox looks at it only to tell its own), a disk format that ends in #streamOptimized, the elements
// of an Item in the order of their schema, VMware's own settings marked as not required.
func (m resolved) descriptor(d diskFile) ([]byte, error) {
	t, err := template.New("ovf").Funcs(template.FuncMap{"xml": escape}).Parse(ovf)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = t.Execute(&b, map[string]any{
		"Disk": d, "Name": m.Name, "ID": m.files, "Network": m.Network, "Items": m.items(), "Type": fmt.Sprintf("vmx-%d", m.HardwareVersion), "EFI": m.Firmware == "efi",
		"Firmware": m.Firmware, "SecureBoot": m.SecureBoot, "OS": m.guest.cim, "GuestID": m.guest.vmware, "Guest": m.guest.description,
	})
	return b.Bytes(), err
}

func escape(s string) (string, error) {
	var b bytes.Buffer
	err := xml.EscapeText(&b, []byte(s))
	return b.String(), err
}

const ovf = `<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:vmw="http://www.vmware.com/schema/ovf" xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData">
  <References>
    <File ovf:href="{{xml .Disk.Name}}" ovf:id="file1" ovf:size="{{.Disk.Size}}"/>
  </References>
  <DiskSection>
    <Info>Virtual disks</Info>
    <Disk ovf:capacity="{{.Disk.Capacity}}" ovf:capacityAllocationUnits="byte" ovf:diskId="vmdisk1" ovf:fileRef="file1" ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized" ovf:populatedSize="{{.Disk.Populated}}"/>
  </DiskSection>
  <NetworkSection>
    <Info>Logical networks</Info>
    <Network ovf:name="{{xml .Network}}">
      <Description>The {{xml .Network}} network</Description>
    </Network>
  </NetworkSection>
  <VirtualSystem ovf:id="{{.ID}}">
    <Info>A virtual machine</Info>
    <Name>{{xml .Name}}</Name>
    <OperatingSystemSection ovf:id="{{.OS}}" vmw:osType="{{.GuestID}}">
      <Info>The operating system</Info>
      <Description>{{xml .Guest}}</Description>
    </OperatingSystemSection>
    <VirtualHardwareSection>
      <Info>Virtual hardware</Info>
      <System>
        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemIdentifier>{{xml .Name}}</vssd:VirtualSystemIdentifier>
        <vssd:VirtualSystemType>{{.Type}}</vssd:VirtualSystemType>
      </System>
{{- range .Items}}
      <Item>
{{- with .Address}}
        <rasd:Address>{{.}}</rasd:Address>
{{- end}}
{{- with .AddressOnParent}}
        <rasd:AddressOnParent>{{.}}</rasd:AddressOnParent>
{{- end}}
{{- with .AllocationUnits}}
        <rasd:AllocationUnits>{{.}}</rasd:AllocationUnits>
{{- end}}
{{- with .AutomaticAllocation}}
        <rasd:AutomaticAllocation>{{.}}</rasd:AutomaticAllocation>
{{- end}}
{{- with .Connection}}
        <rasd:Connection>{{xml .}}</rasd:Connection>
{{- end}}
{{- with .Description}}
        <rasd:Description>{{xml .}}</rasd:Description>
{{- end}}
        <rasd:ElementName>{{.ElementName}}</rasd:ElementName>
{{- with .HostResource}}
        <rasd:HostResource>{{.}}</rasd:HostResource>
{{- end}}
        <rasd:InstanceID>{{.InstanceID}}</rasd:InstanceID>
{{- with .Parent}}
        <rasd:Parent>{{.}}</rasd:Parent>
{{- end}}
{{- with .ResourceSubType}}
        <rasd:ResourceSubType>{{.}}</rasd:ResourceSubType>
{{- end}}
        <rasd:ResourceType>{{.ResourceType}}</rasd:ResourceType>
{{- with .VirtualQuantity}}
        <rasd:VirtualQuantity>{{.}}</rasd:VirtualQuantity>
{{- end}}
      </Item>
{{- end}}
{{- if .EFI}}
      <vmw:Config ovf:required="false" vmw:key="bootOptions.efiSecureBootEnabled" vmw:value="{{.SecureBoot}}"/>
{{- end}}
      <vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="{{.Firmware}}"/>
    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
`
