package ec2sim

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// filter tells whether a described resource passes all filters. The names are those of the filters, with the way to the elements that they look at;
// filters of tags are known for all resources.
func filter(filters []form, item []element, names map[string]string) (bool, error) {
	for _, f := range filters {
		name := f.get("Name")
		var have []string
		if key, ok := strings.CutPrefix(name, "tag:"); ok {
			have = tagValues(item, key)
		} else if name == "tag-key" {
			have = values(item, "tagSet/item/key")
		} else if path, ok := names[name]; ok {
			have = values(item, path)
		} else {
			return false, refuse("InvalidParameterValue", "The filter '%s' is invalid", name)
		}
		if !slices.ContainsFunc(f.list("Value"), func(pattern string) bool {
			return slices.ContainsFunc(have, func(v string) bool { return matches(pattern, v) })
		}) {
			return false, nil
		}
	}
	return true, nil
}

// values are the texts of the elements at the end of a way, NAME/NAME/…
func values(elements []element, path string) []string {
	name, rest, more := strings.Cut(path, "/")
	var found []string
	for _, e := range elements {
		if e.name != name {
			continue
		}
		if more {
			found = append(found, values(e.children, rest)...)
		} else {
			found = append(found, e.text)
		}
	}
	return found
}

func tagValues(item []element, key string) []string {
	for _, e := range item {
		if e.name == "tagSet" {
			for _, tag := range e.children {
				if slices.Equal(values(tag.children, "key"), []string{key}) {
					return values(tag.children, "value")
				}
			}
		}
	}
	return nil
}

// matches tells whether a value fits a pattern with * for any text and ? for any character.
func matches(pattern, value string) bool {
	quoted := strings.NewReplacer(`\*`, `(?s:.*)`, `\?`, `(?s:.)`).Replace(regexp.QuoteMeta(pattern))
	fits, err := regexp.MatchString("^"+quoted+"$", value)
	return err == nil && fits
}

// page answers with the page of a list that was asked for.
func page(c *call, name string, items [][]element) ([]element, error) {
	start := 0
	if token := c.form.get("NextToken"); token != "" {
		n, err := strconv.Atoi(token)
		if err != nil || n < 0 || n > len(items) {
			return nil, refuse("InvalidParameterValue", "Invalid value '%s' for NextToken", token)
		}
		start = n
	}
	end := len(items)
	if most := int(c.form.number("MaxResults")); most > 0 {
		end = min(end, start+most)
	}
	answer := []element{list(name, items[start:end]...)}
	if end < len(items) {
		answer = append(answer, text("nextToken", strconv.Itoa(end)))
	}
	return answer, nil
}

var snapshotFilters = map[string]string{
	"snapshot-id": "snapshotId", "status": "status", "owner-id": "ownerId", "volume-size": "volumeSize", "description": "description",
	"encrypted": "encrypted", "progress": "progress", "volume-id": "volumeId", "start-time": "startTime", "storage-tier": "storageTier",
}

var imageFilters = map[string]string{
	"image-id": "imageId", "name": "name", "state": "imageState", "owner-id": "imageOwnerId", "architecture": "architecture",
	"description": "description", "is-public": "isPublic", "image-type": "imageType", "root-device-type": "rootDeviceType",
	"root-device-name": "rootDeviceName", "virtualization-type": "virtualizationType", "boot-mode": "bootMode", "tpm-support": "tpmSupport",
	"imds-support": "imdsSupport", "ena-support": "enaSupport", "platform": "platform", "creation-date": "creationDate",
	"source-image-id": "sourceImageId", "source-image-region": "sourceImageRegion",
	"block-device-mapping.device-name": "blockDeviceMapping/item/deviceName", "block-device-mapping.snapshot-id": "blockDeviceMapping/item/ebs/snapshotId",
	"block-device-mapping.volume-size": "blockDeviceMapping/item/ebs/volumeSize", "block-device-mapping.volume-type": "blockDeviceMapping/item/ebs/volumeType",
	"block-device-mapping.encrypted": "blockDeviceMapping/item/ebs/encrypted",
}
