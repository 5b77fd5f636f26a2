package ami

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ingot-image/ingot/export/account"
	"github.com/ingot-image/ingot/export/distribution"
)

// Record keeps what has been done, so that a command that is started again goes on. A record.Book is one.
type Record interface {
	Get(key string, v any) (bool, error)
	Put(key string, v any) error
	Delete(key string) error
}

// forgetful is the record of those who keep none.
type forgetful struct{}

func (forgetful) Get(string, any) (bool, error) { return false, nil }
func (forgetful) Put(string, any) error         { return nil }
func (forgetful) Delete(string) error           { return nil }

// RegisterAPI is what Register asks of EC2; *ec2.Client has it.
type RegisterAPI interface {
	RegisterImage(context.Context, *ec2.RegisterImageInput, ...func(*ec2.Options)) (*ec2.RegisterImageOutput, error)
	DescribeImages(context.Context, *ec2.DescribeImagesInput, ...func(*ec2.Options)) (*ec2.DescribeImagesOutput, error)
	tagAPI
}

// RegisterOptions say what AMI a snapshot becomes.
type RegisterOptions struct {
	Name          string // as Name gives it
	Description   string // at most 255 characters
	SnapshotID    string // of the root volume
	VolumeSizeGiB int64  // at least the snapshot's; 0: that of the snapshot, or of the recipe's root volume
	// Registration holds the rest. Its Architecture and BootMode are to be what the disk has and can (an empty BootMode is EC2's default); of
	// UEFIData only the field below counts.
	Registration distribution.Registration
	BlockDevices []BlockDevice // the recipe's
	Tags         map[string]string
	UEFIData     string // base64: the UEFI variable store, for Secure Boot
	Record       Record // nil: none is kept
}

// maxUEFIData is how long the variable store may be, in bytes (EC2 user guide, UEFI variables).
const maxUEFIData = 64 << 10

// maxDescription is how long an AMI's description may be, in characters.
const maxDescription = 255

// Validate tells all that EC2 would refuse. It asks nobody, and so is worth calling before an upload, when SnapshotID is not known yet. The error is joined
// of *distribution.Mistake, whose fields are those of a configuration and a recipe; name is that of the AMI.
func (o RegisterOptions) Validate() error {
	r := o.Registration
	_, volumes := mappings(rootDevice(r.RootDeviceName, o.BlockDevices), "snap-later", o.VolumeSizeGiB, o.BlockDevices)
	wrong := []error{volumes}
	mistake := func(field string, err error) {
		if err != nil {
			wrong = append(wrong, &distribution.Mistake{Field: field, Err: err})
		}
	}
	refuse := func(is bool, field, text string, arguments ...any) {
		if is {
			mistake("registration."+field, fmt.Errorf(text, arguments...))
		}
	}
	mistake("name", checkName(o.Name))
	mistake("amiTags", checkTags(o.Tags))
	if len([]rune(o.Description)) > maxDescription {
		mistake("description", fmt.Errorf("it has more than %d characters", maxDescription))
	}
	uefi := r.BootMode == "uefi" || r.BootMode == "uefi-preferred"
	refuse(r.Architecture != "x86_64" && r.Architecture != "arm64", "architecture", "%q is neither x86_64 nor arm64", r.Architecture)
	refuse(r.BootMode != "" && r.BootMode != "legacy-bios" && !uefi, "bootMode", "%q is none of legacy-bios, uefi, uefi-preferred", r.BootMode)
	refuse(r.Architecture == "arm64" && r.BootMode != "" && r.BootMode != "uefi", "bootMode", "it is %s; instances with arm64 boot by uefi only", r.BootMode)
	refuse(r.IMDSSupport != "" && r.IMDSSupport != "v2.0" && r.IMDSSupport != "none", "imdsSupport", "%q is neither v2.0 nor none", r.IMDSSupport)
	refuse(r.TPMSupport != "" && r.TPMSupport != "v2.0", "tpmSupport", "%q is not v2.0", r.TPMSupport)
	refuse(r.TPMSupport != "" && r.BootMode != "uefi", "tpmSupport", "it needs an AMI that boots by uefi, and this one is to boot by %s; set bootMode: uefi if the disk can, or remove this",
		cmp.Or(r.BootMode, "EC2's default"))
	refuse(r.RootDeviceName != "" && !strings.HasPrefix(r.RootDeviceName, "/dev/"), "rootDeviceName", "%q does not begin with /dev/", r.RootDeviceName)
	if o.UEFIData != "" {
		data, err := base64.StdEncoding.DecodeString(o.UEFIData)
		refuse(err != nil, "uefiData", "it is not base64")
		refuse(len(data) > maxUEFIData, "uefiData", "it has %d bytes; EC2 takes %d", len(data), maxUEFIData)
		refuse(!uefi, "uefiData", "it needs an AMI that boots by uefi or uefi-preferred, and this one is to boot by %s", cmp.Or(r.BootMode, "EC2's default"))
	}
	return errors.Join(wrong...)
}

// input is what RegisterImage is sent.
func (o RegisterOptions) input() (*ec2.RegisterImageInput, error) {
	r := o.Registration
	root := rootDevice(r.RootDeviceName, o.BlockDevices)
	devices, err := mappings(root, o.SnapshotID, o.VolumeSizeGiB, o.BlockDevices)
	in := &ec2.RegisterImageInput{
		Name:                &o.Name,
		Architecture:        types.ArchitectureValues(r.Architecture),
		BootMode:            types.BootModeValues(r.BootMode),
		BlockDeviceMappings: devices,
		RootDeviceName:      &root,
		EnaSupport:          sdk.Bool(r.ENASupport == nil || *r.ENASupport),
		ImdsSupport:         types.ImdsSupportValuesV20,
		TpmSupport:          types.TpmSupportValues(r.TPMSupport),
		VirtualizationType:  sdk.String(string(types.VirtualizationTypeHvm)),
		// RegisterImage tags the image only; its snapshots exist already.
		TagSpecifications: tagSpecifications(o.Tags, types.ResourceTypeImage),
	}
	if r.IMDSSupport == "none" {
		in.ImdsSupport = ""
	}
	if o.Description != "" {
		in.Description = &o.Description
	}
	if o.UEFIData != "" {
		in.UefiData = &o.UEFIData
	}
	return in, err
}

// registered is what is recorded of a registration.
type registered struct{ Name, SnapshotID, ImageID string }

// Register registers a snapshot as an AMI and gives the AMI's id. Its snapshot gets the AMI's tags as well. It does nothing twice: an AMI of the same name
// and snapshot, recorded or there, is the one it gives. The AMI may be pending still; Distribute waits for it.
func Register(ctx context.Context, client RegisterAPI, o RegisterOptions) (imageID string, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("register %s: %w", o.Name, account.Explain(err))
		}
	}()
	if err := o.Validate(); err != nil {
		return "", err
	}
	in, err := o.input()
	if err != nil {
		return "", err
	}
	if o.Record == nil {
		o.Record = forgetful{}
	}
	const key = "ami/registered"
	var done registered
	if _, err := o.Record.Get(key, &done); err != nil {
		return "", err
	}
	if done.Name != o.Name || done.SnapshotID != o.SnapshotID {
		done = registered{}
	}
	image, err := o.find(ctx, client, done.ImageID)
	if err != nil {
		return "", err
	}
	if image == nil {
		out, err := client.RegisterImage(ctx, in)
		switch {
		case err == nil:
			image = &types.Image{ImageId: out.ImageId, Tags: tags(o.Tags)}
		case account.Code(err) != duplicateName:
			return "", err
		default: // a request that was sent again, after its first answer was lost
			if image, err = o.find(ctx, client, ""); err != nil {
				return "", err
			}
			if image == nil {
				return "", fmt.Errorf("the name is taken in this account and region (%s); choose another one, "+
					"with {{ imagebuilder:buildDate }} in it for instance", duplicateName)
			}
		}
	}
	imageID = sdk.ToString(image.ImageId)
	if err := o.Record.Put(key, registered{o.Name, o.SnapshotID, imageID}); err != nil {
		return imageID, err
	}
	_, err = ensureTags(ctx, client, image, []string{o.SnapshotID}, o.Tags)
	return imageID, err
}

// duplicateName is EC2's code for a name that another AMI of the account has in the region.
const duplicateName = "InvalidAMIName.Duplicate"

// find looks for the AMI by the id that was recorded, and by its name. It gives nil if there is none; one of the same name with another snapshot is an error.
func (o RegisterOptions) find(ctx context.Context, client RegisterAPI, id string) (*types.Image, error) {
	if id != "" {
		out, err := client.DescribeImages(ctx, &ec2.DescribeImagesInput{ImageIds: []string{id}})
		if err == nil && len(out.Images) == 1 && usable(out.Images[0].State) {
			return &out.Images[0], nil
		}
		if err != nil && !notFound(err) {
			return nil, err
		}
	}
	out, err := client.DescribeImages(ctx, &ec2.DescribeImagesInput{Owners: []string{"self"}, Filters: []types.Filter{
		{Name: sdk.String("name"), Values: []string{o.Name}}}})
	if err != nil {
		return nil, err
	}
	for _, i := range out.Images {
		if sdk.ToString(i.Name) != o.Name { // a filter takes * and ?, which a name has not, so that this is for servers that filter loosely
			continue
		}
		for _, snapshot := range snapshots(i) {
			if snapshot == o.SnapshotID {
				return &i, nil
			}
		}
		return nil, fmt.Errorf("the name is taken by %s, which has another snapshot; choose another one, with {{ imagebuilder:buildDate }} in it for instance",
			sdk.ToString(i.ImageId))
	}
	return nil, nil
}
