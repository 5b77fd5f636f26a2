package vmimport

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ingot-image/ingot/export/account"
	"github.com/ingot-image/ingot/export/preflight"
)

// names is G05.
func (e *examination) names(ctx context.Context) {
	f := about("G05", "no AMI of the account has the name")
	if len(e.AMINames) == 0 {
		f.Status, f.Reason = preflight.Skipped, "no name was given"
		e.add(f)
		return
	}
	filter := "name"
	for _, region := range slices.Sorted(maps.Keys(e.AMINames)) {
		if !e.open(region) {
			continue // said by G01
		}
		client := ec2.NewFromConfig(account.In(e.cfg, region))
		out, err := client.DescribeImages(ctx, &ec2.DescribeImagesInput{Owners: []string{"self"}, Filters: []types.Filter{{Name: &filter, Values: e.AMINames[region]}}})
		if err != nil {
			e.add(unknownFor(f, preflight.Fatal, region, err, "have ec2:DescribeImages allowed"))
			continue
		}
		for _, image := range out.Images {
			if e.Image != "" && slices.ContainsFunc(image.Tags, func(t types.Tag) bool { return value(t.Key) == "ingot:image" && value(t.Value) == e.Image }) {
				continue
			}
			e.add(failed(f, preflight.Fatal, region, fmt.Sprintf("%s is called %q already", value(image.ImageId), value(image.Name)), "InvalidAMIName.Duplicate",
				"give the new one another name, such as one with {{ imagebuilder:buildDate }}, or deregister the old one"))
		}
	}
	e.concluded(f, preflight.Fatal, fmt.Sprintf("looked at %s", counted(len(e.AMINames), "region")))
}

func counted(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}
