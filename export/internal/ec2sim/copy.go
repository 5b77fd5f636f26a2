package ec2sim

import (
	"cmp"
	"errors"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/ingot-image/ingot/export/internal/ec2sim/ebs"
)

// copyImage copies an image of this account, or one that is shared with it, from another region or its own: first the image is pending, then so are
// the copies of its snapshots, and at last both are there or have failed.
func (s *Server) copyImage(c *call) ([]element, error) {
	f := c.form
	from := f.get("SourceImageId")
	s.mu.Lock()
	var source amiImage
	if i := s.images[from]; i != nil {
		source = *i
	}
	made := s.tokens[c.token()] // those without a token remember nothing
	err := s.freeName(c.place(), f.get("Name"))
	s.mu.Unlock()
	switch {
	case made != "":
		return []element{text("imageId", made)}, nil
	case source.id == "" || source.region != f.get("SourceRegion") || !source.launchable(c.Account):
		return nil, unknownImage(from)
	case source.state != "available":
		return nil, refuse("IncorrectState", "The image %s is not in a valid state: %s", from, source.state)
	case err != nil:
		return nil, err
	}
	byDefault, _ := s.encryptedByDefault(c.place())
	key, encrypt := f.get("KmsKeyId"), f.flag("Encrypted") || byDefault
	if key != "" && !f.flag("Encrypted") {
		return nil, refuse("InvalidParameterDependency", "The parameter KmsKeyId requires the parameter Encrypted to be set.")
	}
	if source.account != c.Account && slices.ContainsFunc(source.devices, func(d device) bool { return d.snapshot != "" && !s.snapshotShared(d.snapshot, c.Account) }) {
		return nil, refuse("InvalidRequest", "You do not have permission to access the storage of this ami")
	}
	tags := f.tags("image")
	if f.flag("CopyImageTags") && source.account == c.Account {
		had, err := s.tagged(source.place)
		if err != nil {
			return nil, err
		}
		for key, value := range had[from] {
			if _, given := tags[key]; !given {
				tags[key] = value
			}
		}
	}
	copied := source
	copied.place, copied.name, copied.description, copied.state = c.place(), f.get("Name"), f.get("Description"), "pending"
	copied.fast, copied.licenses = nil, nil
	copied.permissions, copied.devices = nil, slices.Clone(source.devices)
	copied.source, copied.sourceRegion = source.id, source.region
	if err := s.add(&copied, tags); err != nil {
		return nil, err
	}
	s.remember(c, copied.id)
	snapshotTags := f.tags("snapshot")
	s.later(func() {
		s.finish(&copied, s.copyDevices(source.place, &copied, key, encrypt, snapshotTags))
	})
	return []element{text("imageId", copied.id)}, nil
}

// copyDevices copies the snapshots of an image. It returns why that failed, as stateReason has it.
func (s *Server) copyDevices(from place, i *amiImage, key string, encrypt bool, tags map[string]string) (reason string) {
	var err error
	if key != "" {
		if key, err = s.keyARN(i.place, key); err != nil {
			return "The KMS key provided does not exist or is not accessible: " + err.Error()
		}
	}
	for n, d := range i.devices {
		if d.snapshot == "" {
			continue
		}
		was, _ := s.blocks(from).Snapshot(d.snapshot)
		disk, err := s.blocks(from).Bytes(d.snapshot)
		if err != nil {
			return err.Error()
		}
		made := ebs.Snapshot{VolumeSizeGiB: was.VolumeSizeGiB, Tags: tags, OwnerID: i.account,
			Description: "Copied for DestinationAmi " + i.id + " from SourceAmi " + i.source + " for SourceSnapshot " + d.snapshot}
		if was.Encrypted || encrypt {
			made.Encrypted, made.KMSKeyARN = true, cmp.Or(key, defaultKey(i.place))
		}
		id, err := s.newSnapshot(i.place, made, disk)
		if err != nil {
			return err.Error()
		}
		s.mu.Lock()
		i.devices[n].snapshot, i.devices[n].encrypted, i.devices[n].kmsKey = id, made.Encrypted, made.KMSKeyARN
		s.mu.Unlock()
	}
	return ""
}

// keyARN finds a key by its id, alias or ARN. It must be enabled.
func (s *Server) keyARN(p place, id string) (string, error) {
	key, err := kms.NewFromConfig(s.behind(p)).DescribeKey(s.ctx, &kms.DescribeKeyInput{KeyId: &id})
	if err != nil {
		return "", err
	}
	if !key.KeyMetadata.Enabled {
		return "", errors.New("it is disabled")
	}
	return *key.KeyMetadata.Arn, nil
}
