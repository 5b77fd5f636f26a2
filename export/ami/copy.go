package ami

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/google/uuid"

	"github.com/ingot-image/ingot/export/account"
	"github.com/ingot-image/ingot/export/distribution"
)

// copying is a copy that a site is to have.
type copying struct {
	source      types.Image
	region      string   // the source's
	sources     []string // ids of images whose copies are as good as the source's
	lender      *made    // whose image it is, if that is another account; it shares the image while it is copied
	name        string
	description string
	key         string // KMS, "" for none
	permission  *distribution.LaunchPermission
	inherited   map[string]string // tags of the source
	tags        map[string]string
}

// tagsWithSource are the tags that the copy is to have: the source's own, and those of the distribution.
func (c copying) tagsWithSource() map[string]string {
	t := maps.Clone(c.inherited)
	maps.Copy(t, c.tags)
	return t
}

// input is what CopyImage is sent, but for the client token.
func (c copying) input() *ec2.CopyImageInput {
	in := &ec2.CopyImageInput{Name: &c.name, SourceImageId: c.source.ImageId, SourceRegion: &c.region}
	if c.description != "" {
		in.Description = &c.description
	}
	if c.key != "" {
		in.Encrypted, in.KmsKeyId = sdk.Bool(true), &c.key
	}
	// Not CopyImageTags: it copies tags of one's own only, and those too that the source has for its own region.
	in.TagSpecifications = tagSpecifications(c.tagsWithSource(), types.ResourceTypeImage, types.ResourceTypeSnapshot)
	return in
}

// recorded is what is recorded of a copy: the client token before it is asked for, its id after. A token is for one request only, word for word
// (EC2 API reference, "Ensuring idempotency"), and so its digest is recorded too.
type recorded struct{ Request, Token, ImageID string }

// stays tells whether the source itself is what its region is to have: the name is right, and it is encrypted with the key if there is one.
func (j *job) stays(ctx context.Context, at site, c copying) (bool, error) {
	if c.lender != nil || at.region != c.region {
		return false, nil
	}
	same := sdk.ToString(c.source.Name) == c.name
	if c.key == "" {
		return same, nil
	}
	encrypted, err := encryptedWith(ctx, at, c.source, c.key)
	if err == nil && same && !encrypted {
		err = fmt.Errorf("%s is to be copied within %s to be encrypted, and has the copy's name %q itself; register it under another name, or import it encrypted",
			sdk.ToString(c.source.ImageId), at.region, c.name)
	}
	return same && encrypted, err
}

// encryptedWith tells whether all snapshots of an image are encrypted with a key, which is given by its ARN, id or alias.
func encryptedWith(ctx context.Context, at site, i types.Image, key string) (bool, error) {
	out, err := at.ec2.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{SnapshotIds: snapshots(i)})
	if err != nil {
		return false, fmt.Errorf("read the encryption of %s: %w", sdk.ToString(i.ImageId), account.Explain(err))
	}
	for _, s := range out.Snapshots {
		if !sdk.ToBool(s.Encrypted) {
			return false, nil
		}
	}
	described, err := kms.NewFromConfig(at.config).DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &key})
	if err != nil {
		return false, fmt.Errorf("look up KMS key %s: %w", key, account.Explain(err))
	}
	for _, s := range out.Snapshots {
		if sdk.ToString(s.KmsKeyId) != sdk.ToString(described.KeyMetadata.Arn) {
			return false, nil
		}
	}
	return true, nil
}

// copy makes sure that the site has the copy, and that it is available.
func (j *job) copy(ctx context.Context, m *made, c copying) error {
	select {
	case j.slots <- struct{}{}:
		defer func() { <-j.slots }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	id, err := j.copyID(ctx, m, c)
	if err != nil {
		return fmt.Errorf("copy %s from %s: %w", sdk.ToString(c.source.ImageId), c.region, account.Explain(err))
	}
	image, err := j.waiting.available(ctx, m.ec2, id, func(percent int) { j.tell(m.site, id, percent, "copying") })
	var failed *FailedError
	switch {
	case err == nil:
		m.image = *image
	case errors.As(err, &failed): // the next run copies anew
		err = errors.Join(err, j.Record.Delete(m.key("copy")))
	default:
		return err
	}
	if c.lender != nil {
		err = errors.Join(err, j.takeBack(ctx, c.lender, m.account, c.permission))
	}
	return err
}

// copyID gives the id of the copy, which it asks EC2 for if there is none.
func (j *job) copyID(ctx context.Context, m *made, c copying) (string, error) {
	var r recorded
	if _, err := j.Record.Get(m.key("copy"), &r); err != nil {
		return "", err
	}
	in := c.input()
	request, err := json.Marshal(in)
	if err != nil {
		return "", err
	}
	old := r.ImageID
	if digest := fmt.Sprintf("%x", sha256.Sum256(request)); r.Request != digest {
		r = recorded{Request: digest}
	}
	id, err := findCopy(ctx, m.site, c, r.ImageID, old)
	if err != nil || id != "" {
		return id, err
	}
	if r.ImageID != "" || r.Token == "" { // a copy that is gone was asked for with the old token
		r.ImageID, r.Token = "", uuid.NewString()
		if err := j.Record.Put(m.key("copy"), r); err != nil {
			return "", err
		}
	}
	if err := refusePublic(ctx, m.site, c.permission); err != nil {
		return "", err
	}
	if c.lender != nil {
		if err := j.lend(ctx, c.lender, m.account); err != nil {
			return "", err
		}
	}
	in.ClientToken = &r.Token
	if r.ImageID, err = j.request(ctx, m.site, in); err != nil {
		return "", err
	}
	j.changed(m, "copied from %s in %s", sdk.ToString(c.source.ImageId), c.region)
	return r.ImageID, j.Record.Put(m.key("copy"), r)
}

// findCopy looks for the copy by the id that was recorded, and by its name. A failed one that has the name is deregistered. Old is the id of a copy that
// was made by another request, for other tags perhaps.
func findCopy(ctx context.Context, at site, c copying, id, old string) (string, error) {
	client := at.ec2
	if id != "" {
		out, err := client.DescribeImages(ctx, &ec2.DescribeImagesInput{ImageIds: []string{id}})
		switch {
		case err != nil && !notFound(err):
			return "", err
		case err == nil && len(out.Images) == 1 && usable(out.Images[0].State):
			return id, nil
		}
	}
	out, err := client.DescribeImages(ctx, &ec2.DescribeImagesInput{Owners: []string{"self"}, Filters: []types.Filter{
		{Name: sdk.String("name"), Values: []string{c.name}}}})
	if err != nil {
		return "", err
	}
	for _, i := range out.Images {
		id := sdk.ToString(i.ImageId)
		switch {
		case id != old && (!slices.Contains(c.sources, sdk.ToString(i.SourceImageId)) || sdk.ToString(i.SourceImageRegion) != c.region):
			return "", fmt.Errorf("the name %q is taken by %s, which is no copy of it; choose another one, with {{ imagebuilder:buildDate }} in it for instance",
				c.name, id)
		case i.State == types.ImageStateAvailable && c.key != "":
			if encrypted, err := encryptedWith(ctx, at, i, c.key); err != nil || encrypted {
				return id, err
			}
			return "", fmt.Errorf("its copy %s is not encrypted with %s; give the new one another name, or deregister it", id, c.key)
		case usable(i.State):
			return id, nil
		case i.State != types.ImageStateFailed && i.State != types.ImageStateInvalid && i.State != types.ImageStateError:
			return "", fmt.Errorf("its copy %s is %s", id, i.State)
		}
		if _, err := client.DeregisterImage(ctx, &ec2.DeregisterImageInput{ImageId: &id}); err != nil {
			return "", fmt.Errorf("deregister %s, which is %s: %w", id, i.State, err)
		}
	}
	return "", nil
}

// request asks for the copy. It waits while EC2 has too many copies at work, or does not know the image or the account's permission yet.
func (j *job) request(ctx context.Context, at site, in *ec2.CopyImageInput) (string, error) {
	started := time.Now()
	for {
		out, err := at.ec2.CopyImage(ctx, in)
		if err == nil {
			return sdk.ToString(out.ImageId), nil
		}
		busy := account.Code(err) == "ResourceLimitExceeded" && time.Since(started) < j.Limit
		early := (notFound(err) || strings.Contains(err.Error(), "permission to access the storage")) && time.Since(started) < j.waiting.appear
		if !busy && !early {
			return "", err
		}
		j.tell(at, "", -1, "waiting to copy: %s", account.Explain(err))
		if err := j.waiting.sleep(ctx); err != nil {
			return "", err
		}
	}
}
