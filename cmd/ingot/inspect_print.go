package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/ingot-image/ingot/disk/inspect"
)

// row prints the cells of a line of a table. Text of an image can neither steer the terminal nor make cells and lines of its own.
func row(w io.Writer, cells ...string) {
	for i, c := range cells {
		if i > 0 {
			io.WriteString(w, "\t")
		}
		io.WriteString(w, strings.ReplaceAll(printable(c), "\t", " "))
	}
	io.WriteString(w, "\n")
}

// printInspected prints what is inside a disk for people.
func printInspected(w io.Writer, r *inspected, packages bool) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	image := r.Image
	row(t, "image", image.Path)
	format := []string{string(image.Format)}
	if image.Variant != "" {
		format = append(format, image.Variant)
	}
	if image.ClusterSize > 0 {
		format = append(format, size(image.ClusterSize)+" clusters")
	}
	if image.Compressed {
		format = append(format, "compressed")
	}
	for _, f := range slices.Backward(image.Within) {
		format = append(format, "in "+string(f))
	}
	row(t, "format", strings.Join(format, ", "))
	row(t, "size", fmt.Sprintf("%s; the file is %s long and takes up %s", size(image.VirtualSize), size(image.FileSize), size(image.Allocated)))
	if s := r.System; s != nil {
		os := s.OS.PrettyName
		if s.OS.Minor != "" && s.OS.Minor != s.OS.VersionID {
			os += ", " + s.OS.Minor
		}
		row(t, "system", fmt.Sprintf("%s, %s, in %s", os, cmp.Or(s.Architecture, "unknown architecture"), s.Root))
		switch p := s.Packages; {
		case p.Problem != "":
			row(t, "packages", p.Manager+": "+p.Problem)
		case p.Manager == "":
			row(t, "packages", "no package manager that is known")
		default:
			row(t, "packages", fmt.Sprintf("%d, by %s", len(p.List), p.Manager))
		}
	} else {
		row(t, "system", "none that could be read")
	}
	row(t, "boots by", cmp.Or(strings.Join(r.Boot.Firmware, ", "), "nothing: there is no boot loader that is known"))
	if s := r.System; s != nil {
		printSettings(t, s)
	}
	t.Flush()
	printTable(w, r.Report)
	printFileSystems(w, r.Report)
	printLoaders(w, r.Report)
	if r.System != nil {
		printKernels(w, r.Report)
	}
	if packages && r.System != nil {
		fmt.Fprintln(w)
		t = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "PACKAGE\tVERSION\tARCHITECTURE")
		for _, p := range r.System.Packages.List {
			row(t, p.Name, p.Version, p.Architecture)
		}
		t.Flush()
	}
	if len(r.Problems) > 0 {
		fmt.Fprintln(w)
		t = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "WHERE\tPROBLEM")
		for _, p := range r.Problems {
			row(t, p.Where, p.What)
		}
		return t.Flush()
	}
	return nil
}

// printSettings prints how the system will behave as a copy.
func printSettings(w io.Writer, s *inspect.System) {
	state := func(installed, enabled bool) string {
		switch {
		case !installed:
			return "not installed"
		case enabled:
			return "enabled"
		}
		return "not enabled"
	}
	cloudInit := state(s.CloudInit.Installed, s.CloudInit.Enabled)
	if s.CloudInit.DisabledBy != "" {
		cloudInit += " by " + s.CloudInit.DisabledBy
	}
	if len(s.CloudInit.Datasources) > 0 {
		cloudInit += ", datasources " + strings.Join(s.CloudInit.Datasources, ", ")
	}
	row(w, "cloud-init", cloudInit)
	ssh := state(s.SSH.Installed, s.SSH.Enabled)
	if n := len(s.SSH.HostKeys); n > 0 {
		ssh += ", " + counted(n, "host key") + " in the image"
	}
	row(w, "ssh", ssh)
	network := strings.Join(s.Network.Managers, ", ")
	if len(s.Network.DHCP) > 0 {
		network += ", DHCP"
	}
	if len(s.Network.Static) > 0 {
		network += ", fixed addresses in " + strings.Join(s.Network.Static, ", ")
	}
	if len(s.Network.MACBound) > 0 {
		network += ", bound to a MAC address in " + strings.Join(s.Network.MACBound, ", ")
	}
	row(w, "network", cmp.Or(strings.TrimPrefix(network, ", "), "not configured"))
	row(w, "machine id", s.Identity.MachineID)
}

func printTable(w io.Writer, r *inspect.Report) {
	p := r.PartitionTable
	if p.Kind == "none" {
		return
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row(t, strings.ToUpper(p.Kind), "START", "SIZE", "TYPE", "NAME")
	for _, e := range p.Partitions {
		kind := cmp.Or(e.TypeName, e.Type)
		if e.Active {
			kind += ", active"
		}
		row(t, fmt.Sprint(e.Index), size(e.Start), size(e.Size), kind, e.Name)
	}
	t.Flush()
}

func printFileSystems(w io.Writer, r *inspect.Report) {
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "FILE SYSTEM\tTYPE\tSIZE\tUSED\tFREE\tMOUNTED AT\tLABEL\tUUID")
	for _, f := range r.FileSystems {
		if f.Type == "" {
			continue
		}
		total, used, free := size(f.Capacity), "", ""
		if f.Space != nil {
			total, used, free = size(f.Space.Size), size(f.Space.Used), size(f.Space.Free)
		}
		row(t, f.Device, f.Type, total, used, free, f.MountPoint, f.Label, f.UUID)
	}
	t.Flush()
}

func printLoaders(w io.Writer, r *inspect.Report) {
	if r.Boot.BIOS == nil && len(r.Boot.EFI) == 0 {
		return
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "BOOT LOADER\tIS\tSIGNED BY")
	if b := r.Boot.BIOS; b != nil {
		what := b.Loader
		switch {
		case b.CoreFound && b.CorePartition > 0:
			what += fmt.Sprintf(", goes on in partition %d", b.CorePartition)
		case b.CoreFound:
			what += ", goes on behind the MBR"
		case b.Loader == "grub":
			what += ", its core image is missing"
		case b.Second != "":
			what += ", goes on with " + b.Second + " in a partition"
		}
		row(t, "MBR", what, "")
	}
	for _, l := range r.Boot.EFI {
		what := strings.TrimSpace(l.Loader + " " + l.Version)
		if l.Architecture != "" {
			what += ", " + l.Architecture
		}
		by := ""
		if l.Signed {
			by = cmp.Or(signer(l.Signers), "unknown")
		}
		row(t, l.Path, what, by)
	}
	t.Flush()
}

// signer is the name that tells most: the authority whose key firmware or shim has.
func signer(names []string) string {
	for _, n := range names {
		if strings.Contains(n, "UEFI CA") || strings.Contains(n, "Secure Boot CA") || strings.Contains(n, "Production PCA") {
			return n
		}
	}
	return strings.Join(names[:min(len(names), 1)], "")
}

// shown are the drivers that people look for.
var shown = []string{"nvme", "ena", "xen_blkfront", "virtio_blk", "hv_storvsc", "vmw_pvscsi"}

func printKernels(w io.Writer, r *inspect.Report) {
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "KERNEL\tINITRD\tDRIVERS")
	for _, k := range r.System.Kernels {
		initrd := "none"
		if k.Initrd != nil {
			initrd = k.Initrd.Path + ", " + k.Initrd.Compression
			if k.Initrd.Problem != "" {
				initrd = k.Initrd.Path + ": " + k.Initrd.Problem
			}
		}
		var has []string
		for _, d := range k.Drivers {
			if slices.Contains(shown, d.Name) {
				has = append(has, d.Name)
			}
		}
		name := k.Path
		if k.Default {
			name += " (default)"
		}
		row(t, name, initrd, strings.Join(has, " "))
	}
	t.Flush()
	for _, e := range r.Boot.Entries {
		if e.Default {
			fmt.Fprintln(w)
			row(w, "command line  "+e.Options)
		}
	}
}
