package account

import (
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
)

// Partition gives the partition of a region, as ARNs name it (AWS General Reference, "Amazon Resource Names"; the prefixes are those of the regions'
// patterns in the SDK's partitions.json). It is "aws" for a region of no known pattern: where there is an identity, [PartitionOf] knows better.
func Partition(region string) string {
	for _, p := range []struct{ prefix, partition string }{
		{"cn-", "aws-cn"},
		{"us-gov-", "aws-us-gov"},
		{"us-iso-", "aws-iso"},
		{"us-isob-", "aws-iso-b"},
		{"eu-isoe-", "aws-iso-e"},
		{"us-isof-", "aws-iso-f"},
		{"eusc-", "aws-eusc"},
	} {
		if strings.HasPrefix(region, p.prefix) {
			return p.partition
		}
	}
	return "aws"
}

// PartitionOf gives the partition that the caller's own ARN names, which AWS itself says. Without one it is that of the region.
func PartitionOf(callerARN, region string) string {
	if a, err := arn.Parse(callerARN); err == nil && a.Partition != "" {
		return a.Partition
	}
	return Partition(region)
}
