package imds

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Instance is what the service tells of an instance. Empty fields get what is said here.
type Instance struct {
	InstanceID       string // i-0123456789abcdef0
	AMIID            string // ami-0123456789abcdef0
	InstanceType     string // t3.medium
	Architecture     string // x86_64
	AccountID        string // 123456789012
	Region           string // us-east-1
	AvailabilityZone string // the region's a
	LocalIPv4        string // 169.254.0.15, what QEMU gives a guest in 169.254.0.0/16
	SubnetIPv4       string // 169.254.0.0/16
	MAC              string // 52:54:00:12:34:56, QEMU's
	RootDeviceName   string // /dev/xvda
	// Volumes are the device names of the other EBS volumes, such as /dev/sdf; none if empty.
	Volumes   []string
	PublicKey string // in the form of authorized_keys; none if empty
	UserData  []byte // none if empty
	Launched  time.Time
}

// versions are those that the service has had, newest last (the EC2 user guide's column "Version when category was released", and what the service lists at /).
// Programs ask for one of the past: cloud-init for 2009-04-04, 2016-09-02, 2018-09-24 and 2021-03-23.
func versions() []string {
	return []string{
		"1.0", "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10", "2007-12-15", "2008-02-01", "2008-09-01", "2009-04-04", "2011-01-01", "2011-05-01",
		"2012-01-12", "2014-02-25", "2014-11-05", "2015-10-20", "2016-04-19", "2016-06-30", "2016-09-02", "2018-03-28", "2018-08-17", "2018-09-24",
		"2019-10-01", "2020-10-27", "2021-01-03", "2021-03-23", "2021-07-15", "2022-09-24", "2024-04-11", "latest",
	}
}

// keyName is the key pair's.
const keyName = "rehearsal"

func (i Instance) complete() Instance {
	i.InstanceID = cmp.Or(i.InstanceID, "i-0123456789abcdef0")
	i.AMIID = cmp.Or(i.AMIID, "ami-0123456789abcdef0")
	i.InstanceType = cmp.Or(i.InstanceType, "t3.medium")
	i.Architecture = cmp.Or(i.Architecture, "x86_64")
	i.AccountID = cmp.Or(i.AccountID, "123456789012")
	i.Region = cmp.Or(i.Region, "us-east-1")
	i.AvailabilityZone = cmp.Or(i.AvailabilityZone, i.Region+"a")
	i.LocalIPv4 = cmp.Or(i.LocalIPv4, "169.254.0.15")
	i.SubnetIPv4 = cmp.Or(i.SubnetIPv4, "169.254.0.0/16")
	i.MAC = cmp.Or(i.MAC, "52:54:00:12:34:56")
	i.RootDeviceName = cmp.Or(i.RootDeviceName, "/dev/xvda")
	if i.Launched.IsZero() {
		i.Launched = time.Now()
	}
	return i
}

func (i Instance) hostname() string {
	return "ip-" + strings.ReplaceAll(i.LocalIPv4, ".", "-") + ".ec2.internal"
}

// tree gives every leaf by its path below the version (EC2 user guide, "Instance metadata categories"). There is no iam folder, as on an instance without
// a role, no public address, no tags, and no credentials of the instance's own (identity-credentials): nobody could use them.
func (i Instance) tree() map[string][]byte {
	mac := "meta-data/network/interfaces/macs/" + strings.ToLower(i.MAC) + "/"
	text := map[string]string{
		"meta-data/ami-id":                             i.AMIID,
		"meta-data/ami-launch-index":                   "0",
		"meta-data/ami-manifest-path":                  "(unknown)",
		"meta-data/autoscaling/target-lifecycle-state": "InService",
		"meta-data/block-device-mapping/ami":           i.RootDeviceName,
		"meta-data/block-device-mapping/root":          i.RootDeviceName,
		"meta-data/events/maintenance/history":         "[]",
		"meta-data/events/maintenance/scheduled":       "[]",
		"meta-data/metrics/vhostmd":                    `<?xml version="1.0" encoding="UTF-8"?>`,
		"meta-data/identity-credentials/ec2/info":      i.identityInfo(),
		"meta-data/hostname":                           i.hostname(),
		"meta-data/instance-action":                    "none",
		"meta-data/instance-id":                        i.InstanceID,
		"meta-data/instance-life-cycle":                "on-demand",
		"meta-data/instance-type":                      i.InstanceType,
		"meta-data/local-hostname":                     i.hostname(),
		"meta-data/local-ipv4":                         i.LocalIPv4,
		"meta-data/mac":                                strings.ToLower(i.MAC),
		"meta-data/placement/availability-zone":        i.AvailabilityZone,
		"meta-data/placement/availability-zone-id":     "use1-az1",
		"meta-data/placement/region":                   i.Region,
		"meta-data/profile":                            "default-hvm",
		"meta-data/reservation-id":                     "r-0123456789abcdef0",
		"meta-data/security-groups":                    "default",
		"meta-data/services/domain":                    "amazonaws.com",
		"meta-data/services/partition":                 "aws",
		"meta-data/system":                             "nitro",
		mac + "device-number":                          "0",
		mac + "interface-id":                           "eni-0123456789abcdef0",
		mac + "local-hostname":                         i.hostname(),
		mac + "local-ipv4s":                            i.LocalIPv4,
		mac + "mac":                                    strings.ToLower(i.MAC),
		mac + "owner-id":                               i.AccountID,
		mac + "security-group-ids":                     "sg-0123456789abcdef0",
		mac + "security-groups":                        "default",
		mac + "subnet-id":                              "subnet-0123456789abcdef0",
		mac + "subnet-ipv4-cidr-block":                 i.SubnetIPv4,
		mac + "vpc-id":                                 "vpc-0123456789abcdef0",
		mac + "vpc-ipv4-cidr-block":                    i.SubnetIPv4,
		mac + "vpc-ipv4-cidr-blocks":                   i.SubnetIPv4,
		"dynamic/instance-identity/document":           i.document(),
		"dynamic/instance-identity/pkcs7":              i.seal("pkcs7", 1152),
		"dynamic/instance-identity/rsa2048":            i.seal("rsa2048", 1488),
		"dynamic/instance-identity/signature":          i.seal("signature", 128),
	}
	if i.PublicKey != "" {
		text["meta-data/public-keys/0/openssh-key"] = strings.TrimSpace(i.PublicKey) + "\n"
	}
	for n, device := range i.Volumes {
		text["meta-data/block-device-mapping/ebs"+strconv.Itoa(n+1)] = strings.TrimPrefix(device, "/dev/")
	}
	leaves := map[string][]byte{}
	for name, value := range text {
		leaves[name] = []byte(value)
	}
	if len(i.UserData) > 0 {
		leaves["user-data"] = i.UserData
	}
	return leaves
}

// document is the instance identity document (EC2 user guide, "Instance identity documents for Amazon EC2 instances").
func (i Instance) document() string {
	data, err := json.MarshalIndent(struct {
		AccountID               string   `json:"accountId"`
		Architecture            string   `json:"architecture"`
		AvailabilityZone        string   `json:"availabilityZone"`
		BillingProducts         []string `json:"billingProducts"`
		DevpayProductCodes      []string `json:"devpayProductCodes"`
		MarketplaceProductCodes []string `json:"marketplaceProductCodes"`
		ImageID                 string   `json:"imageId"`
		InstanceID              string   `json:"instanceId"`
		InstanceType            string   `json:"instanceType"`
		KernelID                *string  `json:"kernelId"`
		PendingTime             string   `json:"pendingTime"`
		PrivateIP               string   `json:"privateIp"`
		RamdiskID               *string  `json:"ramdiskId"`
		Region                  string   `json:"region"`
		Version                 string   `json:"version"`
	}{
		AccountID: i.AccountID, Architecture: i.Architecture, AvailabilityZone: i.AvailabilityZone, ImageID: i.AMIID, InstanceID: i.InstanceID,
		InstanceType: i.InstanceType, PendingTime: i.Launched.UTC().Format(time.RFC3339), PrivateIP: i.LocalIPv4, Region: i.Region, Version: "2017-09-30",
	}, "", "  ")
	if err != nil {
		panic(err) // strings only
	}
	return string(data)
}

// identityInfo is what the service says of the credentials that agents of EC2's own use.
func (i Instance) identityInfo() string {
	return fmt.Sprintf("{\n  \"Code\" : \"Success\",\n  \"LastUpdated\" : %q,\n  \"AccountId\" : %q\n}", i.Launched.UTC().Format(time.RFC3339), i.AccountID)
}

// seal is base64 of the length that the service's signatures have, in lines as it gives them. Nobody but AWS can make one that is right: it is the same for the same
// instance, and verifies against nothing.
func (i Instance) seal(kind string, bytes int) string {
	var data []byte
	for n := 0; len(data) < bytes; n++ {
		sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %s", kind, n, i.document()))
		data = append(data, sum[:]...)
	}
	encoded := base64.StdEncoding.EncodeToString(data[:bytes])
	var lines []string
	for len(encoded) > 76 {
		lines, encoded = append(lines, encoded[:76]), encoded[76:]
	}
	return strings.Join(append(lines, encoded), "\n")
}
