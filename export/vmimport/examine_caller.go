package vmimport

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/ingot-image/ingot/export/account"
	"github.com/ingot-image/ingot/export/preflight"
)

// caller is G01. Without it nothing else can be asked.
func (e *examination) caller(ctx context.Context) bool {
	f := about("G01", "credentials are there, for enabled regions, and not those of the root user")
	if e.Region == "" {
		e.add(NoAccount(account.ErrNoRegion))
		return false
	}
	who, err := account.WhoAmI(ctx, e.cfg)
	if err != nil {
		e.add(e.unanswered(ctx, f, err))
		return false
	}
	e.accountID, e.callerARN, e.partition = who.AccountID, principalARN(ctx, iam.NewFromConfig(e.cfg), who.ARN), who.Partition
	if strings.HasSuffix(who.ARN, ":root") {
		e.add(failed(f, preflight.Fatal, who.ARN, "the credentials are those of the account's root user", "UnauthorizedOperation",
			"log in as a user or role that may import (see docs/aws-setup.md)"))
	}
	e.regions(ctx, f)
	e.concluded(f, preflight.Fatal, fmt.Sprintf("%s in %s", who.ARN, e.Region))
	return true
}

// unanswered tells why nobody says who is calling: a region that is not enabled refuses credentials that others take.
func (e *examination) unanswered(ctx context.Context, f preflight.Finding, err error) preflight.Finding {
	where := "sts:GetCallerIdentity in " + e.Region
	home := account.Home(e.Region)
	switch account.Code(err) {
	case "":
		fix := "look at the network, a proxy (HTTPS_PROXY), the endpoint (AWS_ENDPOINT_URL)"
		if home == "" {
			fix += fmt.Sprintf(", and the region's name: %q is like no region that is known", e.Region)
		}
		return failed(f, preflight.Fatal, where, err.Error(), "no message: AWS is not reached", fix)
	case "InvalidClientTokenId", "UnrecognizedClientException", "AuthFailure", "OptInRequired":
		if home == "" || home == e.Region {
			break
		}
		if _, elsewhere := account.WhoAmI(ctx, account.In(e.cfg, home)); elsewhere == nil {
			return failed(f, preflight.Fatal, where, fmt.Sprintf("the region %s is not enabled for the account: the credentials are valid in %s", e.Region, home), "AuthFailure", enable(e.Region))
		}
	case "RegionDisabledException":
		return failed(f, preflight.Fatal, where, err.Error(), "RegionDisabledException", "activate STS in "+e.Region+", in the account settings of IAM")
	}
	return failed(f, preflight.Fatal, where, err.Error(), "AuthFailure", "log in again, and see that the region is enabled for the account")
}

func enable(region string) string {
	return fmt.Sprintf("enable it, which takes minutes to hours: aws account enable-region --region-name %s", region)
}

// regions checks that the regions that get an image are there and enabled for the account (EC2 API Reference, DescribeRegions). Those that are not
// are not looked at any further.
func (e *examination) regions(ctx context.Context, f preflight.Finding) {
	out, err := ec2.NewFromConfig(e.cfg).DescribeRegions(ctx, &ec2.DescribeRegionsInput{AllRegions: aws.Bool(true)})
	if err != nil {
		return // a right that imports do without
	}
	wanted := append([]string{e.Region}, e.PublicIn...)
	for region := range e.AMINames {
		wanted = append(wanted, region)
	}
	for _, c := range e.CopyKeys {
		wanted = append(wanted, c.Region)
	}
	slices.Sort(wanted)
	for _, region := range slices.Compact(wanted) {
		n := slices.IndexFunc(out.Regions, func(r types.Region) bool { return value(r.RegionName) == region })
		switch {
		case n < 0:
			e.add(failed(f, preflight.Fatal, region, fmt.Sprintf("there is no region %s for accounts of the partition %s", region, e.partition), "AuthFailure", "name one of: aws ec2 describe-regions --all-regions"))
		case value(out.Regions[n].OptInStatus) == "not-opted-in":
			e.add(failed(f, preflight.Fatal, region, "the region "+region+" is not enabled for the account", "AuthFailure", enable(region)))
		default:
			continue
		}
		e.closed = append(e.closed, region)
	}
}

// open tells whether requests to a region make sense.
func (e *examination) open(region string) bool { return !slices.Contains(e.closed, region) }

// principalARN is the user or role behind an identity: a session of a role is one of arn:…:sts::ACCOUNT:assumed-role/ROLE/SESSION, which does not tell the
// role's path. Roles of IAM Identity Center have one: IAM is asked, and if it does not answer the path is left out.
func principalARN(ctx context.Context, client *iam.Client, identity string) string {
	a, err := arn.Parse(identity)
	session, assumed := strings.CutPrefix(a.Resource, "assumed-role/")
	if err != nil || !assumed {
		return identity
	}
	role, _, _ := strings.Cut(session, "/")
	if out, err := client.GetRole(ctx, &iam.GetRoleInput{RoleName: &role}, func(o *iam.Options) { o.Retryer = aws.NopRetryer{} }); err == nil && value(out.Role.Arn) != "" {
		return *out.Role.Arn
	}
	return fmt.Sprintf("arn:%s:iam::%s:role/%s", a.Partition, a.AccountID, role)
}
