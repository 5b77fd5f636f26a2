package account

import (
	"context"
	"fmt"
	"regexp"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// partition is one of AWS, whose accounts and regions know nothing of the others'.
type partition struct {
	name    string
	regions *regexp.Regexp
	home    string // a region that every account has
}

// partitions are those of the SDK's endpoints (its patterns, word by word), with the region that cannot be disabled.
func partitions() []partition {
	return []partition{
		{"aws", regexp.MustCompile(`^(us|eu|ap|sa|ca|me|af|il|mx)-\w+-\d+$`), "us-east-1"},
		{"aws-cn", regexp.MustCompile(`^cn-\w+-\d+$`), "cn-north-1"},
		{"aws-us-gov", regexp.MustCompile(`^us-gov-\w+-\d+$`), "us-gov-west-1"},
		{"aws-eusc", regexp.MustCompile(`^eusc-(de)-\w+-\d+$`), "eusc-de-east-1"},
		{"aws-iso", regexp.MustCompile(`^us-iso-\w+-\d+$`), "us-iso-east-1"},
		{"aws-iso-b", regexp.MustCompile(`^us-isob-\w+-\d+$`), "us-isob-east-1"},
		{"aws-iso-e", regexp.MustCompile(`^eu-isoe-\w+-\d+$`), "eu-isoe-west-1"},
		{"aws-iso-f", regexp.MustCompile(`^us-isof-\w+-\d+$`), "us-isof-south-1"},
	}
}

// Home is the region of the same partition that every account has, "" for a region of no known partition.
func Home(region string) string {
	for _, p := range partitions() {
		if p.regions.MatchString(region) {
			return p.home
		}
	}
	return ""
}

// Partition gives the partition of a region, as ARNs name it (AWS General Reference, "Amazon Resource Names"): by the pattern of the region's name, and for
// one that is not known by asking AWS who is calling. It is never guessed.
func Partition(ctx context.Context, c sdk.Config, region string) (string, error) {
	for _, p := range partitions() {
		if p.regions.MatchString(region) {
			return p.name, nil
		}
	}
	who, err := WhoAmI(ctx, In(c, region))
	return who.Partition, err
}

// Identity is who is calling AWS.
type Identity struct {
	AccountID string
	ARN       string // of the user, or of the session of a role
	Partition string // of its account, as AWS itself names it: "aws", "aws-cn", …
}

// WhoAmI asks AWS who is calling, which needs no right. The region's own endpoint answers, so that a region that is not enabled for the account refuses.
func WhoAmI(ctx context.Context, c sdk.Config) (Identity, error) {
	out, err := sts.NewFromConfig(c).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return Identity{}, fmt.Errorf("ask who is calling: %w", Explain(err))
	}
	a, err := arn.Parse(sdk.ToString(out.Arn))
	if err != nil {
		return Identity{}, fmt.Errorf("ask who is calling: %q: %w", sdk.ToString(out.Arn), err)
	}
	return Identity{AccountID: sdk.ToString(out.Account), ARN: *out.Arn, Partition: a.Partition}, nil
}
