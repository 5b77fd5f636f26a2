package export_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/export"
	"github.com/ingot-image/ingot/export/ami"
	"github.com/ingot-image/ingot/export/distribution"
	"github.com/ingot-image/ingot/export/internal/ec2sim"
	"github.com/ingot-image/ingot/export/internal/ec2sim/guest"
	"github.com/ingot-image/ingot/export/record"
)

// hold gives the names of the account's AMIs in a region, and the ids of its snapshots.
func (c *cloud) hold(region string) (names, snapshots []string) {
	c.Helper()
	client := ec2.NewFromConfig(c.sim.Config(c.T, region))
	images, err := client.DescribeImages(c.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}})
	if err != nil {
		c.Fatal(err)
	}
	all, err := client.DescribeSnapshots(c.Context(), &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}})
	if err != nil {
		c.Fatal(err)
	}
	for _, i := range images.Images {
		names = append(names, *i.Name)
	}
	for _, s := range all.Snapshots {
		snapshots = append(snapshots, *s.SnapshotId)
	}
	slices.Sort(names)
	return names, snapshots
}

// holds expects these AMIs in a region, and so many snapshots.
func (c *cloud) holds(region string, snapshots int, names ...string) {
	c.Helper()
	got, s := c.hold(region)
	if !slices.Equal(got, names) || len(s) != snapshots {
		c.Errorf("%s has the AMIs %q and the snapshots %v, want %q and %d", region, got, s, names, snapshots)
	}
}

// everywhere brings the image to all its regions, and gives the ids of the AMIs by region.
func (c *cloud) everywhere() map[string]string {
	c.Helper()
	results, err := export.Distribute(c.Context(), c.image, c.config, c.options)
	if err != nil {
		c.Fatal(err)
	}
	ids := map[string]string{}
	for _, r := range results {
		ids[r.Region] = r.ImageID
	}
	return ids
}

// unchanging runs it all once more, which is to change nothing but by these actions.
func (c *cloud) unchanging(want map[string]string, but ...string) {
	c.Helper()
	before := len(c.sim.Requests())
	got := c.everywhere()
	for region, id := range want {
		if got[region] != id {
			c.Errorf("again: %v, want %v", got, want)
		}
	}
	for _, r := range c.sim.Requests()[before:] {
		if !strings.HasPrefix(r.Action, "Describe") && !strings.HasPrefix(r.Action, "Get") && !slices.Contains(but, r.Action) {
			c.Errorf("the run sent %s %s", r.Service, r.Action)
		}
	}
}

func (c *cloud) add(region string) {
	c.config.Distributions = append(c.config.Distributions, distribution.Distribution{Region: region, AMI: &distribution.AMI{Name: "web-1"}})
}

const far = "us-east-1"

// The AMI that ImportImage gives a name of AWS's own goes once it is copied, whatever stops that meanwhile.
func TestTheSourceOfImportImageGoes(t *testing.T) {
	for _, fault := range []string{"", "CopyImage", "DeregisterImage", "DeleteSnapshot"} {
		t.Run(fault, func(t *testing.T) {
			c := newCloud(t, distribution.ImportImage)
			c.use(guest.Sample(t, nil))
			c.add(far)
			if fault == "CopyImage" { // in one region: what the next run copies has to stay
				c.sim.Faults.Add(ec2sim.Fault{Service: "ec2", Action: fault, Region: far, Times: -1, Status: 403, Code: "UnauthorizedOperation", Message: "No."})
				if results, err := export.Distribute(t.Context(), c.image, c.config, c.options); err == nil || len(results) != 1 {
					t.Fatalf("%+v, %v", results, err)
				}
				if names, _ := c.hold(ec2sim.Region); len(names) != 2 || !strings.HasPrefix(names[0], "import-ami-") {
					t.Errorf("there are %q", names)
				}
			} else if fault != "" {
				c.sim.Faults.Add(ec2sim.Fault{Service: "ec2", Action: fault, Times: -1, Status: 403, Code: "UnauthorizedOperation", Message: "No."})
				if c.everywhere(); len(c.warnings) != 1 || !strings.Contains(c.warnings[0], "until the next run") {
					t.Errorf("warnings %q", c.warnings)
				}
			}
			c.sim.Faults.Clear()
			ids := c.everywhere()
			c.holds(ec2sim.Region, 1, "web-1")
			c.holds(far, 1, "web-1")
			c.unchanging(ids)
			// A region more gets its copy of what is there now.
			c.add("eu-central-1")
			c.unchanging(ids, "CopyImage")
			if n := c.sim.Count("ec2", "ImportImage"); n != 1 {
				t.Errorf("it was imported %d times", n)
			}
		})
	}
}

// use has the image be a disk.
func (c *cloud) use(file string) {
	c.Helper()
	sum, size, err := disk.Digest(c.Context(), file)
	if err != nil {
		c.Fatal(err)
	}
	c.image.Files = []export.ImageFile{{Path: file, Format: disk.Raw, SHA256: sum, Size: size}}
}

// What was copied within its region to be encrypted goes. A region more cannot be served from the encrypted copy: the disk is imported once more.
func TestTheSourceOfAnEncryptedCopyGoes(t *testing.T) {
	c := newCloud(t, distribution.ImportSnapshot)
	key, err := kms.NewFromConfig(c.options.Config).CreateKey(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	c.config.Distributions[0].AMI.KMSKeyID = *key.KeyMetadata.Arn
	// A volume of the recipe's is of somebody's snapshot, which is not ours to delete.
	somebodys := c.snapshot()
	c.image.BlockDevices = []ami.BlockDevice{{DeviceName: "/dev/sdb", EBS: &ami.EBS{SnapshotID: somebodys}}}
	c.add(far)
	ids := c.everywhere()
	c.holds(ec2sim.Region, 3, "web-1") // the root's, the other volume's copy, and what that is of
	c.unchanging(ids)
	for _, region := range []string{"eu-central-1", "eu-west-2"} {
		c.add(region)
		all := c.everywhere()
		if all[ec2sim.Region] != ids[ec2sim.Region] || all[far] != ids[far] {
			t.Errorf("%v is not %v", all, ids)
		}
		client := ec2.NewFromConfig(c.sim.Config(t, region))
		out, err := client.DescribeImages(t.Context(), &ec2.DescribeImagesInput{ImageIds: []string{all[region]}})
		if err != nil || sdk.ToBool(out.Images[0].BlockDeviceMappings[0].Ebs.Encrypted) {
			t.Errorf("%s: %+v, %v", region, out, err)
		}
		c.holds(ec2sim.Region, 3, "web-1")
		c.unchanging(all)
	}
	if n := c.sim.Count("ec2", "ImportSnapshot"); n != 3 {
		t.Errorf("it was imported %d times", n)
	}
}

// snapshot makes a snapshot of a GiB that is somebody's.
func (c *cloud) snapshot() string {
	c.Helper()
	other := newImageFile(c.T, "other", 'o')
	image := *c.image
	image.Name, image.Files = "other", []export.ImageFile{other}
	book, err := record.Open(c.TempDir())
	if err != nil {
		c.Fatal(err)
	}
	defer book.Close()
	o := c.options
	o.Book = book
	config := *c.config
	config.Import.Path, config.Distributions = distribution.EBSDirect, []distribution.Distribution{{Region: ec2sim.Region, AMI: &distribution.AMI{Name: "other"}}}
	results, err := export.Distribute(c.Context(), &image, &config, o)
	if err != nil {
		c.Fatal(err)
	}
	client := ec2.NewFromConfig(c.options.Config)
	out, err := client.DescribeImages(c.Context(), &ec2.DescribeImagesInput{ImageIds: []string{results[0].ImageID}})
	if err == nil {
		_, err = client.DeregisterImage(c.Context(), &ec2.DeregisterImageInput{ImageId: &results[0].ImageID})
	}
	if err != nil {
		c.Fatal(err)
	}
	return *out.Images[0].BlockDeviceMappings[0].Ebs.SnapshotId
}

// newImageFile makes a disk of 8 MiB, the first of it a letter.
func newImageFile(t *testing.T, name string, letter byte) export.ImageFile {
	t.Helper()
	content := append(bytes.Repeat([]byte{letter}, 1<<20), make([]byte, 7<<20)...)
	file, sum := filepath.Join(t.TempDir(), name+".raw"), sha256.Sum256(content)
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return export.ImageFile{Path: file, Format: disk.Raw, SHA256: hex.EncodeToString(sum[:]), Size: int64(len(content))}
}

// By EBS direct the snapshot stays for the next build to be based on, and goes when that is.
func TestTheSourceOfTheNextUploadStays(t *testing.T) {
	c := newCloud(t, distribution.EBSDirect)
	parents := t.TempDir()
	c.options.Parents = func() (*record.Book, error) { return record.Open(parents) }
	key, err := kms.NewFromConfig(c.options.Config).CreateKey(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	c.config.Distributions[0].AMI.KMSKeyID = *key.KeyMetadata.Arn
	ids := c.everywhere()
	c.holds(ec2sim.Region, 2, "web-1")
	c.unchanging(ids)
	book, err := record.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer book.Close()
	c.options.Book = book
	c.image.Version, c.image.Files = "1.0.0/2", []export.ImageFile{newImageFile(t, "web", '2')}
	c.config.Distributions[0].AMI.Name = "web-2"
	written := c.sim.Count("ebs", "PutSnapshotBlock")
	c.everywhere()
	c.holds(ec2sim.Region, 3, "web-1", "web-2") // and not the first one's base
	if n := c.sim.Count("ebs", "PutSnapshotBlock") - written; n != 2 {
		t.Errorf("%d blocks were sent", n)
	}
	if len(c.warnings) > 0 {
		t.Errorf("warnings %q", c.warnings)
	}
}

// The AMI that took the place of an import is one that somebody may use: another name makes another AMI, and takes none away.
func TestAnotherNameTakesNoAMIAway(t *testing.T) {
	c := newCloud(t, distribution.ImportImage)
	c.use(guest.Sample(t, nil))
	first := c.everywhere()
	for i := range c.config.Distributions {
		c.config.Distributions[i].AMI.Name = "web-2"
	}
	if second := c.everywhere(); second[ec2sim.Region] == first[ec2sim.Region] {
		t.Errorf("there is only %v", first)
	}
	if names, _ := c.hold(ec2sim.Region); len(names) != 2 {
		t.Errorf("there are %q", names)
	}
}

// Who asks for an encrypted image does not get the one that is there and is not.
func TestAnotherImportIsMade(t *testing.T) {
	c := newCloud(t, distribution.EBSDirect)
	c.everywhere()
	c.config.Import.Encrypt = true
	if _, err := export.Distribute(t.Context(), c.image, c.config, c.options); err == nil || !strings.Contains(err.Error(), "register web-1: the name is taken") {
		t.Errorf("the name is taken by one that is not encrypted: %v", err)
	}
	c.config.Distributions[0].AMI.Name = "web-2"
	id := c.everywhere()[ec2sim.Region]
	client := ec2.NewFromConfig(c.sim.Config(c.T, ec2sim.Region))
	image, err := client.DescribeImages(t.Context(), &ec2.DescribeImagesInput{ImageIds: []string{id}})
	if err != nil {
		t.Fatal(err)
	}
	snapshot, err := client.DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{*image.Images[0].BlockDeviceMappings[0].Ebs.SnapshotId}})
	if err != nil || !sdk.ToBool(snapshot.Snapshots[0].Encrypted) {
		t.Errorf("%s is not encrypted, %v", id, err)
	}
}
