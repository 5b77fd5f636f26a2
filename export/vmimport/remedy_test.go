package vmimport_test

import (
	"strings"
	"testing"

	"github.com/ingot-image/ingot/export/vmimport"
)

// TestRemedy knows AWS's messages as users have seen them.
func TestRemedy(t *testing.T) {
	for message, want := range map[string]string{
		"InvalidParameter: The given S3 object is not a valid disk image: disk-image-size=0 has an invalid format":                                                      "found no disk in the file",
		"ClientError: Disk validation failed [Unsupported VMDK File Format]":                                                                                            "streamOptimized",
		"ClientError: Disk validation failed [File uses unsupported compression algorithm 0]":                                                                           "deflate",
		"Uncompressed data has an invalid length":                                                                                                                       "grain",
		"ClientError: Footers not identical":                                                                                                                            "footers",
		"ClientError: Disk validation failed [OVF file parsing error: OVA with chunked disk files is not supported]":                                                    "in one piece",
		"ClientError: Disk validation failed [Unsupported OVA format]":                                                                                                  "OVF first",
		"ClientError: Disk validation failed [OVF file parsing error: Could not parse DOM tree]":                                                                        "description cannot be read",
		"ClientError: Disk validation failed [Unsupported specified file format]":                                                                                       "not be compressed",
		"ClientError: Disk validation failed [We do not have access to the given resource. Reason 403 Forbidden]":                                                       "ingot doctor --aws",
		"InvalidParameter: Parameter architecture=arm64 has an invalid format":                                                                                          "x86_64 only",
		"ClientError: No valid partition. Not a valid volume.":                                                                                                          "partition table",
		"ClientError: Unsupported configuration - Multiple directories found":                                                                                           "more than one system",
		"Client.NotExportable: This instance cannot be exported.":                                                                                                       "Marketplace",
		"ClientError: The disk is an SEsparse disk":                                                                                                                     "perhaps: ",
		"ClientError: Disk validation failed":                                                                                                                           "not a whole disk",
		"ClientError: No valid partitions. Not a valid volume.":                                                                                                         "partition table",
		"Client.Unsupported: No bootable partition found. (Service: AmazonEC2; Status Code: 400; Error Code: Unsupported)":                                              "boot loader",
		"FirstBootFailure: This import request failed because the instance failed to boot and establish network connectivity.":                                          "ingot check --boot",
		"ClientError: Unknown OS / Missing OS files.":                                                                                                                   "import-snapshot",
		"ClientError: Unsupported configuration - Logical volume group activation failed":                                                                               "physical volume",
		"ClientError: Invalid configuration - Could not read fstab":                                                                                                     "/etc/fstab",
		"ClientError: Unable to find an etc directory with fstab.":                                                                                                      "Btrfs subvolume",
		"ClientError: Unable to find an etc directory with fstab. - Multiple directories found":                                                                         "Btrfs subvolume",
		"ClientError: Invalid configuration - Multiple directories found":                                                                                               "more than one system",
		"ClientError: Multiple different grub/menu.lst files found.":                                                                                                    "exactly one grub.cfg",
		"ClientError: BLSC-style GRUB found, but unable to detect default kernel":                                                                                       "grub2-set-default",
		"ClientError: EFI partition detected. UEFI booting is not supported in EC2.":                                                                                    "bootMode: uefi",
		"ClientError: Unsupported kernel version 4.15.0-1021-aws":                                                                                                       "kernels of its list",
		"ClientError: Unable to determine kernel version":                                                                                                               "default kernel",
		"ClientError: We were unable to read your import's initramfs/initrd to determine what drivers your import requires to run in EC2":                               "update-initramfs",
		"ClientError: file system check failed":                                                                                                                         "shut down cleanly",
		"The service role vmimport does not exist or does not have sufficient permissions for the service to continue":                                                  "ingot aws setup",
		"The service role <vmimport> does not exist or does not have sufficient permissions for the service to continue. (KMS)":                                         "ingot aws setup",
		"ClientError: KMS key arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab is not accessible":                                            "--kms-key-id",
		"UnauthorizedOperation: You are not authorized to perform this operation.":                                                                                      "must allow the action",
		"UnauthorizedOperation: User: arn:aws:iam::123456789012:user/u is not authorized to perform: iam:PassRole on resource: arn:aws:iam::123456789012:role/vmimport": "iam:PassRole on the role",
		"AuthFailure: AWS was not able to validate the provided access credentials":                                                                                     "log in again",
		"The given S3 bucket is not local to the Region.":                                                                                                               "region of the import",
		"Bucket my-import-bucket is not in the us-east-1 Region, it's in the eu-west-1 Region.":                                                                         "region of the import",
		"InvalidParameter: Invalid S3 source location":                                                                                                                  "does not find the object",
		"MalformedPolicyDocument: Syntax errors in policy.":                                                                                                             "file://",
		"ResourceLimitExceeded: You have reached your limit of concurrent import tasks":                                                                                 "quota",
		"ClientError: Disk size exceeds the maximum":                                                                                                                    "8 TiB",
		"Booter Networking failure/instance not reachable. Please retry after installation of .Net framework 3.5 SP1 or greater.":                                       "Windows",
		"Unsupported image type":                      "write one of them",
		"User cancelled":                              "run the same command again",
		"Something nobody has seen, such as a colour": "",
	} {
		got := vmimport.Remedy(message)
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s\n\tgot  %q\n\twant %q in it", message, got, want)
		}
	}
}
