package vmimport

import "strings"

// remedy is what to do about a message of AWS. Messages carry names, versions and offsets and differ in their beginnings: they are known by
// the parts that stay, all of which must be there, in lower case.
type remedy struct {
	from  string // where the message is known from
	parts []string
	do    string
}

// Where messages are known from, besides the issues of others' projects, OWNER/NAME#NUMBER.
const (
	guide  = "VM Import/Export User Guide, Troubleshoot"
	codes  = "EC2 API Reference, Error codes"
	access = "IAM User Guide, Troubleshoot access denied error messages"
	// guess: a limit is documented, and nobody seems to have published what AWS says when it is met. The remedy says that it is not sure.
	guess = "a guess"
)

// Remedy says what to do about a message of AWS, which is matched without regard to case, "" for one that nobody has met. The messages are those of
// the VM Import/Export User Guide ("Troubleshoot VM Import/Export") and those that users have reported; what is known of none of them begins with
// "perhaps".
func Remedy(message string) string {
	message = strings.ToLower(message)
next:
	for _, r := range remedies() {
		for _, part := range r.parts {
			if !strings.Contains(message, part) {
				continue next
			}
		}
		if r.from == guess {
			return "perhaps: " + r.do
		}
		return r.do
	}
	return ""
}

// remedies are in the order in which they are tried: what says more goes before what says less.
func remedies() []remedy {
	const (
		lookFirst = "run ingot check on the image to see where"
		snapshot  = "import a snapshot instead (path: import-snapshot), which AWS does not look into"
		setup     = "run ingot doctor --aws to see what is missing, and ingot aws setup to make it"
		boots     = "run ingot check --boot on the image to see it boot as on EC2"
	)
	return []remedy{
		// The file and its format.
		{guide, []string{"unsupported vmdk file format"}, "AWS takes only streamOptimized VMDK: write one with ingot convert IMAGE disk.vmdk"},
		{guide, []string{"unsupported compression algorithm"}, "the VMDK is not compressed by deflate: write it anew with ingot convert IMAGE disk.vmdk"},
		{guide, []string{"uncompressed data has an invalid length"}, "a grain of the VMDK is damaged: write it anew with ingot convert IMAGE disk.vmdk, and upload it again"},
		{guide, []string{"footers not identical"}, "the VHD's two footers differ, as after a write that was cut short: write it anew with ingot convert IMAGE disk.vhd"},
		{guide, []string{"chunked disk files"}, "AWS takes an OVA with each disk in one piece: write it anew with ingot convert IMAGE disk.ova"},
		{"osbuild/osbuild-composer#706", []string{"unsupported specified file format"}, "AWS does not find the declared format in the file: it must not be compressed besides; " + lookFirst},
		{"keithvassallomt/windows10-ec2#3", []string{"do not have access to the given resource"}, "the role may not read the object, or its KMS key: " + setup},
		{"hashicorp/packer-plugin-amazon#457", []string{"unsupported ova format"}, "AWS takes an OVA that is a plain tar with the OVF first and streamOptimized disks: write it anew with ingot convert IMAGE disk.ova"},
		{guide, []string{"ovf file parsing error"}, "the OVA's description cannot be read: write it anew with ingot convert IMAGE disk.ova"},
		{"hashicorp/packer#11970", []string{"architecture=", "has an invalid format"}, "ImportImage takes x86_64 only: " + snapshot},
		{guide, []string{"disk-image-size=0"}, "AWS found no disk in the file: its format is not the one that was declared, or its upload is not complete; run ingot check on the file"},
		{guide, []string{"has an invalid format"}, "the format that was declared is not the file's: run ingot check on the file"},
		{guess, []string{"sesparse"}, "the disk is a snapshot of a hypervisor: write it whole with ingot convert IMAGE disk.vmdk"},
		// Partitions and boot.
		{"REMnux/remnux-cli#156", []string{"no valid partition"}, "AWS found no partition table where the disk begins, often because the format that was declared is not the file's: " + lookFirst},
		{guide, []string{"no bootable partition"}, "no partition is marked to boot, or there is no boot loader: " + lookFirst},
		{guide, []string{"logical volume group activation failed"}, "a physical volume of the volume group is not among the disks: import them all, or bring the system onto one disk"},
		{guide, []string{"could not read fstab"}, "the root file system holds no readable /etc/fstab, as when it is encrypted or there are two systems on the disk: " + lookFirst},
		{"NixOS/nixpkgs#71770", []string{"unable to find an etc directory with fstab"}, "no file system holds /etc/fstab, as when root is a Btrfs subvolume or encrypted: " + lookFirst + ", or " + snapshot},
		{guide, []string{"multiple directories found"}, "there is more than one system on the disk: leave only one, or " + snapshot},
		{guide, []string{"multiple different grub"}, "leave exactly one grub.cfg or menu.lst with content: " + lookFirst},
		{guide, []string{"blsc-style grub"}, "GRUB's saved_entry names no entry of /boot/loader/entries: set it with grub2-set-default, or " + snapshot},
		{"coreos/coreos-assembler#2140", []string{"efi partition detected"}, "the disk boots by UEFI and the import was for BIOS: set bootMode: uefi, or " + snapshot},
		{guide, []string{"firstbootfailure"}, "AWS booted the image and it did not come up on the network within its time: it needs DHCP, and drivers for EC2 in its initramfs; " + boots},
		{guide, []string{"booter networking"}, "Windows came up without a network: enable DHCP, remove the hypervisor's tools, and allow Remote Desktop"},
		// The operating system.
		{guide, []string{"unsupported kernel version"}, "ImportImage takes only the kernels of its list: " + snapshot},
		{"hashicorp/packer#8302", []string{"unable to determine kernel version"}, "AWS did not find the default kernel: " + lookFirst + ", or " + snapshot},
		{guide, []string{"unknown os"}, "ImportImage takes only the systems of its list, on ext, XFS, JFS or Btrfs without subvolumes: " + snapshot},
		{guide, []string{"missing os files"}, "AWS found no complete system on the disk: " + lookFirst + ", or " + snapshot},
		{guide, []string{"read your import's initramfs"}, "the initramfs must be whole and compressed by gzip, xz or zstd: make it anew (update-initramfs -u -k all, dracut -f), or " + snapshot},
		{guess, []string{"file system check"}, "the system was not shut down cleanly: boot it, let it check its file systems, and shut it down, or build the image anew"},
		{guess, []string{"not enough", "space"}, "leave at least 250 MB free on each file system of the image: AWS puts drivers and its agent there"},
		{guess, []string{"insufficient", "space"}, "leave at least 250 MB free on each file system of the image: AWS puts drivers and its agent there"},
		// The account, S3, IAM.
		{guide, []string{"service role", "does not exist or does not have sufficient permissions"}, setup + "; a role that was only just made takes up to a minute"},
		{"hashicorp/packer-plugin-amazon#225", []string{"kms key", "not accessible"}, "the role and you must be allowed to use the KMS key, in its key policy too: ingot doctor --aws --kms-key-id KEY tells what is missing"},
		{guess, []string{"kms"}, "the role and you must be allowed to use the KMS key, in its key policy too: ingot doctor --aws --kms-key-id KEY tells what is missing"},
		{guide, []string{"not local to the region"}, "the bucket must be in the region of the import: name another with bucket:, or import into the bucket's region with region:"},
		{guide, []string{"bucket", "is not in the", "region"}, "the bucket must be in the region of the import: name another with bucket:, or import into the bucket's region with region:"},
		{guide, []string{"invalid s3 source location"}, "AWS does not find the object: its name, the bucket's region and the role's access to it must be right; run the same command again to upload it if it was deleted"},
		{guide, []string{"malformedpolicydocument"}, "a policy that is given to the AWS command line as a file begins with file://; " + setup},
		{access, []string{"iam:passrole"}, "your credentials must allow iam:PassRole on the role; docs/aws-setup.md has the policy"},
		{codes, []string{"unauthorizedoperation"}, "your credentials must allow the action; docs/aws-setup.md has the policy"},
		{codes, []string{"authfailure"}, "the credentials are not valid in this region: log in again, and see that the region is enabled for the account"},
		{codes, []string{"limitexceeded"}, "too many tasks are in flight: wait for others to end, or ask for a higher quota of EC2"},
		{guess, []string{"limit", "import"}, "too many tasks are in flight: wait for others to end, or ask for a higher quota of EC2"},
		{guide, []string{"notexportable"}, "EC2 exports no image that holds what is AWS's or another's, such as one from the Marketplace"},
		{guess, []string{"cancel"}, "the task was cancelled: run the same command again to start another"},
		// What says little goes last.
		{guess, []string{"larger than"}, sizes},
		{guess, []string{"exceed", "size"}, sizes},
		{guess, []string{"size", "maximum"}, sizes},
		{guide, []string{"disk validation failed"}, "the file is not a whole disk that AWS takes (no snapshots, no deltas, no SEsparse): " + lookFirst + ", and write it anew with ingot convert; run the same command again if the check finds nothing"},
		{guess, []string{"unsupported"}, "AWS takes OVA, streamOptimized VMDK, VHD, VHDX and raw: write one of them with ingot convert"},
	}
}

// sizes are the limits of the VM Import/Export User Guide ("Limitations").
const sizes = "a disk of ImportImage must be below 8 TiB, a volume below 16 TiB, and a disk with an MBR at most 2 TiB: run ingot check on the image, or shrink it with ingot convert --shrink"
