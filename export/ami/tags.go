package ami

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// tagAPI is what tags are compared and made with.
type tagAPI interface {
	DescribeSnapshots(context.Context, *ec2.DescribeSnapshotsInput, ...func(*ec2.Options)) (*ec2.DescribeSnapshotsOutput, error)
	CreateTags(context.Context, *ec2.CreateTagsInput, ...func(*ec2.Options)) (*ec2.CreateTagsOutput, error)
}

// The limits of EC2's tags: how many a resource has, and how many characters a key and a value.
const (
	maxTags     = 50
	maxTagKey   = 128
	maxTagValue = 256
)

// reservedTags begin the keys of AWS's own tags, which nobody else can make.
const reservedTags = "aws:"

func checkTags(t map[string]string) error {
	var wrong []error
	if len(t) > maxTags {
		wrong = append(wrong, fmt.Errorf("there are %d tags; a resource has at most %d", len(t), maxTags))
	}
	for _, key := range slices.Sorted(maps.Keys(t)) {
		switch {
		case key == "" || len([]rune(key)) > maxTagKey:
			wrong = append(wrong, fmt.Errorf("the key %q of a tag has not 1 to %d characters", key, maxTagKey))
		case strings.HasPrefix(strings.ToLower(key), reservedTags):
			wrong = append(wrong, fmt.Errorf("the key %q of a tag begins with %s, which is AWS's own", key, reservedTags))
		case len([]rune(t[key])) > maxTagValue:
			wrong = append(wrong, fmt.Errorf("the value of tag %q has more than %d characters", key, maxTagValue))
		}
	}
	return errors.Join(wrong...)
}

// tags are the SDK's, sorted by key.
func tags(t map[string]string) []types.Tag {
	var all []types.Tag
	for _, key := range slices.Sorted(maps.Keys(t)) {
		all = append(all, types.Tag{Key: sdk.String(key), Value: sdk.String(t[key])})
	}
	return all
}

func tagSpecifications(t map[string]string, resources ...types.ResourceType) []types.TagSpecification {
	var all []types.TagSpecification
	for _, r := range resources {
		if len(t) > 0 {
			all = append(all, types.TagSpecification{ResourceType: r, Tags: tags(t)})
		}
	}
	return all
}

// userTags are the tags that are not AWS's own.
func userTags(all []types.Tag) map[string]string {
	t := map[string]string{}
	for _, tag := range all {
		if key := sdk.ToString(tag.Key); !strings.HasPrefix(key, reservedTags) {
			t[key] = sdk.ToString(tag.Value)
		}
	}
	return t
}

// missingTags are those that are wanted and not there with that value.
func missingTags(there []types.Tag, want map[string]string) map[string]string {
	has, missing := userTags(there), map[string]string{}
	for key, value := range want {
		if v, found := has[key]; !found || v != value {
			missing[key] = value
		}
	}
	return missing
}

// ensureTags gives an image and its snapshots the tags that they have not got, and tells whether there were any.
func ensureTags(ctx context.Context, client tagAPI, image *types.Image, snapshots []string, want map[string]string) (changed bool, err error) {
	if len(want) == 0 {
		return false, nil
	}
	missing := map[string]map[string]string{sdk.ToString(image.ImageId): missingTags(image.Tags, want)}
	if len(snapshots) > 0 {
		out, err := client.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{SnapshotIds: snapshots})
		if err != nil {
			return false, fmt.Errorf("read the tags of %s: %w", strings.Join(snapshots, ", "), err)
		}
		for _, s := range out.Snapshots {
			missing[sdk.ToString(s.SnapshotId)] = missingTags(s.Tags, want)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(missing)) {
		if len(missing[id]) == 0 {
			continue
		}
		if _, err := client.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{id}, Tags: tags(missing[id])}); err != nil {
			return changed, fmt.Errorf("tag %s: %w", id, err)
		}
		changed = true
	}
	return changed, nil
}
