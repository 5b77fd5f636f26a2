package export

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/export/ami"
	"github.com/ingot-image/ingot/export/distribution"
	"github.com/ingot-image/ingot/export/record"
)

// Image is a finished image that is to become an AMI.
type Image struct {
	Name    string    // as in file names, such as web-server
	Version string    // "1.0.3/2"
	Build   string    // "2"
	Date    time.Time // of the build
	// Files hold one and the same disk; SHA256 of each is that of its content now.
	Files []ImageFile
	// Architecture and BootMode are what the AMI is registered with: x86_64 or arm64; legacy-bios, uefi or uefi-preferred.
	Architecture, BootMode string
	BlockDevices           []ami.BlockDevice // of the recipe, with several volumes perhaps
	Tags                   map[string]string // on every AMI and snapshot, besides those of the configuration
}

// ImageFile is one of an image's files.
type ImageFile struct {
	Path   string
	Format disk.Format
	SHA256 string // HEX
	Size   int64  // in bytes
	// Seen is what the file was before SHA256 was computed and the image was checked: one that has changed since is not uploaded. Zero: nobody looked.
	Seen Seen
}

// Event tells how far a distribution is.
type Event struct {
	Region string // "" for what concerns all
	Doing  string // "upload", "import", "copy" …
	// Done of Total, in bytes if Bytes says so, else in percent; Total 0: it is not known.
	Done, Total int64
	Bytes       bool
	// Warning is what did not work and harms no image, nil for none.
	Warning error
}

// Options are what Distribute needs besides.
type Options struct {
	// Config is the account's, in any region.
	Config sdk.Config
	// AccountID is the account that the image is imported into.
	AccountID string
	// Book keeps what was done for this image in this account, so that the same call goes on with it.
	Book *record.Book
	// Parents keeps the newest snapshot of each image name, which the next build's upload by EBS direct is based on. It opens the record for a
	// moment; nil: every upload is whole.
	Parents func() (*record.Book, error)
	// Temp names a file that may be written and is removed when the process ends, however it does.
	Temp func(name string) (string, error)
	// TempDir is a folder for what a compressed image is expanded into; "" for the system's.
	TempDir string
	Event   func(Event)
	// Poll is how often AWS is asked how far something is, 0 for the default.
	Poll time.Duration
}

// Distribute makes the image an AMI in every region and account of the configuration:
//
//	import      the disk becomes a snapshot in the first region, by the path that the configuration names (distribute_import.go)
//	register    the snapshot becomes an AMI there; ImportImage has done that already
//	distribute  copies, names, permissions, launch templates and the rest, all regions at once (package ami)
//	replace     an AMI that was only there to be copied in its own region is taken away (distribute_source.go)
//
// What was done before, and is still there, is not done again. An error of a region does not keep the others from being served: it is then an
// [ami.DistributionError], and the results are those of the others.
func Distribute(ctx context.Context, image *Image, c *distribution.Configuration, o Options) ([]ami.Result, error) {
	r, err := newRelease(image, c, o)
	if err != nil {
		return nil, fmt.Errorf("distribute: %w", err)
	}
	done, err := r.imported(ctx)
	if err != nil {
		return nil, fmt.Errorf("import to %s: %w", r.region, err)
	}
	if done.ImageID == "" {
		r.event(Event{Region: r.region, Doing: "register"})
		r.ami.SnapshotID, r.ami.VolumeSizeGiB = done.SnapshotID, done.VolumeSizeGiB
		if done.ImageID, err = ami.Register(ctx, r.ec2, r.ami); err != nil {
			return nil, fmt.Errorf("register in %s: %w", r.region, err)
		}
	}
	if err := r.remember(done); err != nil {
		return nil, fmt.Errorf("distribute: %w", err)
	}
	results, err := ami.Distribute(ctx, ami.NewAccounts(o.Config), ami.Options{
		SourceRegion: r.region, ImageID: done.ImageID, Sources: done.Sources, Distributions: r.regions(), Variables: r.image.Variables(), Tags: image.Tags,
		Record: o.Book, Poll: o.Poll, Progress: func(e ami.Event) {
			told := Event{Region: e.Region, Doing: strings.TrimSpace(e.AccountID + " " + e.Message)}
			if e.Percent >= 0 {
				told.Done, told.Total = int64(e.Percent), 100
			}
			r.event(told)
		},
	})
	r.replace(ctx, done, results)
	return results, err
}

// release is one call of Distribute.
type release struct {
	Options
	image  *Image
	config *distribution.Configuration
	region string // that the image is imported into
	home   sdk.Config
	ec2    *ec2.Client
	ami    ami.RegisterOptions // but for the snapshot
	lost   string              // id of what was imported once and is not there any more
	before imported            // what that was
}

func newRelease(image *Image, c *distribution.Configuration, o Options) (*release, error) {
	r := &release{Options: o, image: image, config: c}
	regions := c.Regions()
	if len(regions) == 0 || len(image.Files) == 0 {
		return nil, errors.New("no region, or no file")
	}
	r.region = cmp.Or(c.Import.Region, regions[0])
	r.home = o.Config.Copy()
	r.home.Region = r.region
	r.ec2 = ec2.NewFromConfig(r.home)
	return r, r.registration() // and not after the upload
}

// Validate tells what is wrong with the configuration, and with the recipe where the image has its volumes and tags from, as far as that can be told without
// AWS: what EC2 would refuse after the upload. The error is joined of *distribution.Mistake.
func Validate(image *Image, c *distribution.Configuration) error {
	if len(c.Regions()) == 0 {
		return nil
	}
	return (&release{image: image, config: c, region: cmp.Or(c.Import.Region, c.Regions()[0])}).registration()
}

// Names are the names that the image's AMIs will have, by region: two in that of the import, if it is registered there to be copied there.
func Names(image *Image, c *distribution.Configuration) (map[string][]string, error) {
	r := &release{image: image, config: c, region: cmp.Or(c.Import.Region, c.Regions()[0])}
	names := map[string][]string{}
	for _, d := range r.regions() {
		text := ""
		if d.AMI != nil {
			text = d.AMI.Name
		}
		name, err := ami.Name(text, image.Variables())
		if err != nil {
			return nil, err
		}
		names[d.Region] = []string{name}
	}
	if r.path() == distribution.ImportImage { // AWS names it
		return names, nil
	}
	source, err := ami.SourceName(r.region, c.Import.KMSKeyID, r.regions(), image.Variables())
	if source != names[r.region][0] {
		names[r.region] = append(names[r.region], source)
	}
	return names, err
}

func (r *release) warn(err error) {
	r.event(Event{Region: r.region, Doing: "import", Warning: err})
}

func (r *release) event(e Event) {
	if r.Event != nil {
		r.Event(e)
	}
}

// regions are the distributions to regions, that of the import first.
func (r *release) regions() []distribution.Distribution {
	var all []distribution.Distribution
	for _, d := range r.config.Distributions {
		if d.Region == r.region {
			all = slices.Insert(all, 0, d)
		} else if d.Region != "" {
			all = append(all, d)
		}
	}
	return all
}

// Variables are what names and tags may say of the image.
func (i *Image) Variables() ami.Variables {
	return ami.Variables{BuildDate: i.Date, BuildVersion: i.Build, ImageName: i.Name, Version: i.Version}
}

// registration is what the snapshot will be registered as, under the name that the region's configuration gives it.
func (r *release) registration() error {
	// A name that is none is a mistake here already, and not told twice below.
	wrong := []error{ami.Options{Distributions: r.regions(), Variables: r.image.Variables(), Tags: r.image.Tags}.Validate()}
	name, err := ami.SourceName(r.region, r.config.Import.KMSKeyID, r.regions(), r.image.Variables())
	if err != nil {
		name = r.image.Name
	}
	uefiData, err := readUEFIData(r.config.Registration.UEFIData)
	if err != nil {
		wrong = append(wrong, &distribution.Mistake{Field: "registration.uefiData", Err: err})
	}
	registration := r.config.Registration
	registration.Architecture, registration.BootMode = r.image.Architecture, r.image.BootMode
	r.ami = ami.RegisterOptions{
		Name: name, Registration: registration, BlockDevices: r.image.BlockDevices, Tags: r.image.Tags, UEFIData: uefiData, Record: r.Book,
	}
	wrong = append(wrong, r.ami.Validate())
	if r.path() == distribution.ImportImage && r.image.Architecture != "x86_64" {
		wrong = append(wrong, &distribution.Mistake{Field: "import.path", Err: fmt.Errorf("import-image takes x86_64 only, and the image is of %s; "+
			"choose import-snapshot or ebs-direct", r.image.Architecture)})
	}
	if r.path() == distribution.ImportImage && r.image.BootMode == "uefi-preferred" {
		wrong = append(wrong, &distribution.Mistake{Field: "registration.bootMode", Err: errors.New("import-image takes legacy-bios and uefi only")})
	}
	if first := r.regions()[0].AMI; first != nil {
		r.ami.Description = first.Description
	}
	return errors.Join(wrong...)
}

// key names the record of the import, which is of one region and path, and of what is asked of it: who wants it encrypted does not want the one that is not.
func (r *release) key() string {
	key := strings.Join([]string{"import", r.region, r.path()}, "/")
	in := r.config.Import
	if in.Encrypt || in.KMSKeyID+in.LicenseType+in.UsageOperation+in.Platform != "" {
		asked := sha256.Sum256([]byte(strings.Join([]string{fmt.Sprint(in.Encrypt), in.KMSKeyID, in.LicenseType, in.UsageOperation, in.Platform}, "\n")))
		key += "/" + hex.EncodeToString(asked[:4])
	}
	return key
}

func (r *release) path() string {
	if r.config.Import.Path == "" {
		return distribution.ImportSnapshot
	}
	return r.config.Import.Path
}
