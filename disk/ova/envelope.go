package ova

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/ingot-image/ingot/disk/image"
)

// envelope is what is read of a descriptor. Elements are found whatever their namespace: it changed with each version of OVF.
type envelope struct {
	XMLName    xml.Name    `xml:"Envelope"`
	Files      []reference `xml:"References>File"`
	Disks      []diskDesc  `xml:"DiskSection>Disk"`
	Systems    []system    `xml:"VirtualSystem"`
	Collection []system    `xml:"VirtualSystemCollection>VirtualSystem"` // as vCloud writes, even for one
}

type reference struct {
	ID          string `xml:"id,attr"`
	Href        string `xml:"href,attr"`
	Compression string `xml:"compression,attr"`
	ChunkSize   string `xml:"chunkSize,attr"`
}

type diskDesc struct {
	ID        string `xml:"diskId,attr"`
	File      string `xml:"fileRef,attr"`
	Capacity  string `xml:"capacity,attr"`
	Units     string `xml:"capacityAllocationUnits,attr"`
	Format    string `xml:"format,attr"`
	Populated string `xml:"populatedSize,attr"`
	Parent    string `xml:"parentRef,attr"`
}

type system struct {
	ID   string `xml:"id,attr"`
	Name string `xml:"Name"`
	OS   struct {
		ID          string `xml:"id,attr"`
		GuestID     string `xml:"osType,attr"`
		Description string `xml:"Description"`
	} `xml:"OperatingSystemSection"`
	Hardware struct {
		Type   string    `xml:"System>VirtualSystemType"`
		Items  []element `xml:"Item"`
		Config []setting `xml:"Config"`
	} `xml:"VirtualHardwareSection"`
}

type element struct {
	ID       string `xml:"InstanceID"`
	Parent   string `xml:"Parent"`
	Type     string `xml:"ResourceType"`
	SubType  string `xml:"ResourceSubType"`
	Resource string `xml:"HostResource"`
	Quantity string `xml:"VirtualQuantity"`
	Units    string `xml:"AllocationUnits"`
}

type setting struct {
	Key   string `xml:"key,attr"`
	Value string `xml:"value,attr"`
}

// parse reads a descriptor. Entities of its own are an error of encoding/xml, and so is deep nesting.
func parse(text []byte) (*envelope, error) {
	var e envelope
	d := xml.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(&e); err != nil {
		return nil, image.Damaged(image.OVA, "its descriptor: %v", err)
	}
	return &e, nil
}

// machine says what of a machine is understood, and refuses one that has not got exactly one disk with content.
func (e *envelope) machine() (Machine, error) {
	systems := append(e.Systems, e.Collection...)
	if strings.HasPrefix(e.XMLName.Space, "http://www.vmware.com/schema/ovf/") {
		return Machine{}, fmt.Errorf("the OVA has a descriptor of OVF 0.9: %w", errors.ErrUnsupported)
	}
	if len(systems) == 0 {
		return Machine{}, image.Damaged(image.OVA, "its descriptor has no VirtualSystem")
	}
	disks := e.filled()
	switch {
	case len(disks) == 0:
		return Machine{}, fmt.Errorf("the OVA has %w", ErrNoDisk)
	case len(disks) > 1:
		return Machine{}, fmt.Errorf("the OVA has disks %q and %q: %w", disks[0].ID, disks[1].ID, ErrSeveralDisks)
	case disks[0].Parent != "":
		return Machine{}, image.Damaged(image.OVA, "its disk %q is what changed of another one", disks[0].ID)
	}
	d := disks[0]
	s := systems[max(0, slices.IndexFunc(systems, func(s system) bool { return slices.ContainsFunc(s.Hardware.Items, d.attached) }))]
	m := Machine{Name: cmp.Or(s.Name, s.ID), Type: s.Hardware.Type, GuestID: s.OS.GuestID, OSDescription: s.OS.Description}
	m.OSID, _ = strconv.Atoi(s.OS.ID)
	m.Disk = Disk{Format: d.Format, Capacity: bytesOf(d.Capacity, d.Units), Populated: bytesOf(d.Populated, "")}
	for _, c := range s.Hardware.Config {
		switch c.Key {
		case "firmware":
			m.Firmware = strings.ToLower(c.Value)
		case "bootOptions.efiSecureBootEnabled", "uefi.secureBoot.enabled":
			m.SecureBoot = m.SecureBoot || strings.EqualFold(c.Value, "true")
		}
	}
	m.hardware(s.Hardware.Items, d)
	return m, nil
}

// The values of CIM_ResourceAllocationSettingData.ResourceType that are looked at.
const (
	typeProcessor = "3"
	typeMemory    = "4"
	typeEthernet  = "10"
	typeDisk      = "17"
)

// attached tells whether an item is the drive that the disk is in.
func (d diskDesc) attached(i element) bool { return strings.HasSuffix(i.Resource, "/disk/"+d.ID) }

func (m *Machine) hardware(items []element, disk diskDesc) {
	controllers := map[string]string{}
	parent := ""
	for _, i := range items {
		switch strings.TrimSpace(i.Type) {
		case typeProcessor:
			m.CPUs, _ = strconv.Atoi(strings.TrimSpace(i.Quantity))
		case typeMemory:
			m.MemoryMiB = bytesOf(i.Quantity, cmp.Or(i.Units, "MegaBytes")) >> 20
		case typeEthernet:
			m.NetworkAdapter = cmp.Or(m.NetworkAdapter, i.SubType)
		case typeDisk:
			if disk.attached(i) {
				parent = i.Parent
			}
		case "5":
			controllers[i.ID] = cmp.Or(i.SubType, "IDE")
		default:
			controllers[i.ID] = i.SubType
		}
	}
	if parent != "" {
		m.Controller = controllers[parent]
	}
}

// filled are the disks that have a file. Others are to be made empty.
func (e *envelope) filled() []diskDesc {
	var disks []diskDesc
	for _, d := range e.Disks {
		if d.File != "" {
			disks = append(disks, d)
		}
	}
	return disks
}

// disk is the file of the one disk.
func (e *envelope) disk() reference {
	id := e.filled()[0].File
	for _, f := range e.Files {
		if f.ID == id {
			return f
		}
	}
	return reference{ID: id}
}

// find is the member that a reference means.
func (a *Archive) find(f reference) (Member, error) {
	if f.Href == "" {
		return Member{}, image.Damaged(image.OVA, "its disk is file %q, which References does not list", f.ID)
	}
	if f.Compression != "" && f.Compression != "identity" {
		return Member{}, fmt.Errorf("the OVA's disk %q is %w (%s)", f.Href, ErrCompressed, f.Compression)
	}
	if n, err := strconv.ParseInt(f.ChunkSize, 10, 64); f.ChunkSize != "" && (err != nil || n != 0) {
		return Member{}, fmt.Errorf("the OVA's disk %q is %w", f.Href, ErrChunked)
	}
	names := []string{f.Href}
	if plain, err := url.PathUnescape(f.Href); err == nil && plain != f.Href { // it is a URI: DSP0243 1.1, section 7.1
		names = append(names, plain)
	}
	if slices.ContainsFunc(names, elsewhere) {
		return Member{}, fmt.Errorf("the OVA's disk %q is %w", f.Href, ErrOutside)
	}
	for _, name := range names {
		for _, m := range a.Members {
			if m.Name == path.Clean(name) {
				return m, nil
			}
		}
	}
	return Member{}, fmt.Errorf("the OVA's disk %q is %w", f.Href, ErrOutside)
}

// elsewhere tells whether a name is of what is not in the archive.
func elsewhere(name string) bool {
	if u, err := url.Parse(name); err == nil && (u.Scheme != "" || u.Host != "") {
		return true
	}
	clean := path.Clean(name)
	return strings.HasPrefix(name, "/") || strings.ContainsAny(name, "\\\x00") || clean == ".." || strings.HasPrefix(clean, "../")
}

// bytesOf multiplies a number by a unit: "byte * 2^30" as in DSP0004, annex C, or one of the names that older writers use. What is not understood, such as a
// reference to a property, is 0.
func bytesOf(number, unit string) int64 {
	n, err := strconv.ParseUint(strings.TrimSpace(number), 10, 63)
	if err != nil {
		return 0
	}
	factor := uint64(1)
	unit = strings.ToLower(strings.ReplaceAll(unit, " ", ""))
	switch unit {
	case "", "byte", "bytes":
	case "kilobytes", "kb":
		factor = 1 << 10
	case "megabytes", "mb":
		factor = 1 << 20
	case "gigabytes", "gb":
		factor = 1 << 30
	default:
		p, err := strconv.ParseUint(strings.TrimPrefix(unit, "byte*2^"), 10, 6)
		if err != nil || p > 62 {
			return 0
		}
		factor = 1 << p
	}
	high, low := bits.Mul64(n, factor)
	if high != 0 || low > math.MaxInt64 {
		return 0
	}
	return int64(low)
}
