package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ingot-image/ingot/builder"
	"github.com/ingot-image/ingot/builder/catalog"
	"github.com/ingot-image/ingot/disk"
	direct "github.com/ingot-image/ingot/export/ebs"
)

// TestDistribute goes the whole way: an image is built, rehearsed as on EC2, imported, registered, copied to a second region and shared; then the
// bytes of the snapshot are read back, and boot.
func TestDistribute(t *testing.T) {
	s := newSite(t)
	c := newCloud(t)
	s.environ = c.environ
	// Before there is a bucket and a role nothing is uploaded: what is missing is told, with the way to make it.
	recipe := s.write("cloud.yaml", `name: cloud
semanticVersion: 1.0.0
parentImage: debian-12
amiTags: {Team: platform}
blockDeviceMappings: [{deviceName: /dev/sdf, ebs: {volumeSize: 3}}]
distribution:
  formats: [vmdk]
  registration: {bootMode: legacy-bios}
  distributions:
    - region: eu-west-1
      amiDistributionConfiguration:
        name: cloud-{{ imagebuilder:buildVersion }}
        launchPermission: {userIds: ["210987654321"]}
    - region: us-east-1
      amiDistributionConfiguration:
        name: cloud-{{ imagebuilder:buildVersion }}
    - folder: shelf
`)
	stderr := s.fail(recipe)
	expect(t, stderr, "G02", "G03", "ingot aws setup", "the image itself is finished")
	if n := c.count("s3", "CreateMultipartUpload") + c.count("s3", "PutObject"); n != 0 {
		t.Errorf("%d uploads began although there is no role", n)
	}
	stdout, _ := s.run(0, "images", "cloud/1.0.0", "--json")
	var image catalog.Image
	if err := json.Unmarshal([]byte(stdout), &image); err != nil || image.Status != catalog.Available {
		t.Fatalf("the image is lost: %v, %s", err, stdout)
	}
	if !slices.ContainsFunc(image.Tests, func(t catalog.Test) bool { return t.Name == "rehearsal-bios" && t.Status == builder.TestPassed }) {
		t.Errorf("the image was not rehearsed: %+v", image.Tests)
	}

	s.run(0, "aws", "setup", "--yes")
	// The same recipe again: nothing is built, the distribution goes on.
	m := s.build(recipe)
	if m.Version != "1.0.0/1" {
		t.Fatalf("it was built anew, as %s", m.Version)
	}
	if n := c.count("ec2", "ImportSnapshot"); n != 1 {
		t.Errorf("%d snapshots were imported, not one", n)
	}
	if n := c.count("s3", "DeleteObject"); n == 0 {
		t.Error("the object is still in the bucket")
	}
	stdout, _ = s.run(0, "images", "cloud/1.0.0", "--json")
	if err := json.Unmarshal([]byte(stdout), &image); err != nil || len(image.AMIs) != 2 {
		t.Fatalf("the catalog has not both AMIs: %v, %s", err, stdout)
	}
	snapshots := map[string]string{}
	for _, a := range image.AMIs {
		if a.Name != "cloud-1" || a.State != "available" {
			t.Errorf("%+v", a)
		}
		snapshots[a.Region] = s.checkAMI(c, a)
	}
	if _, err := os.Stat(filepath.Join(s.recipes, "shelf", "cloud-1.0.0-1.vmdk")); err != nil {
		t.Error(err)
	}
	judge(t, "OK", "sh", "-c", "cd '"+filepath.Join(s.recipes, "shelf")+"' && sha256sum -c *.sha256")

	// Once more: all is there, and nothing is changed.
	c.forget()
	s.run(0, "distribute", "cloud/1.0.0", "--distribution", recipe)
	for _, r := range c.requests() {
		if !strings.HasPrefix(r.Action, "Describe") && !strings.HasPrefix(r.Action, "Get") && !strings.HasPrefix(r.Action, "Head") && !strings.HasPrefix(r.Action, "List") && !strings.HasPrefix(r.Action, "Simulate") {
			t.Errorf("a second distribution asked for %s %s in %s", r.Service, r.Action, r.Region)
		}
	}

	// The bytes of the copy in the second region are those of the image, and boot as on EC2, by the firmware that the build did not rehearse.
	back := s.readBack(c, "us-east-1", snapshots["us-east-1"])
	raw := filepath.Join(s.recipes, "cloud.raw")
	s.run(0, "convert", filepath.Join(s.out, "cloud-1.0.0-1.vmdk"), raw)
	judge(t, "identical", "qemu-img", "compare", "-f", "raw", "-F", "raw", raw, back)
	s.rehearse(0, "uefi", back, "", map[string]string{
		builder.CheckConsole: "the kernel and what it starts", builder.CheckCloudInit: "DataSourceEc2Local", builder.CheckPublicKey: "debian was let in by SSH",
		builder.CheckUserData: "as user id 0", builder.CheckGrown: "grew from 3.9 GiB to 5.",
	})
	s.expectClean()
}

// TestDistributePaths brings a disk of nobody's build to AWS by each path. The first upload is killed in its middle, and the same command sends only what is missing.
func TestDistributePaths(t *testing.T) {
	s := newSite(t)
	c := newCloud(t)
	s.environ = c.environ
	bases, _ := filepath.Glob(filepath.Join(s.home, "bases", "*", "disk.raw"))
	if len(bases) == 0 {
		t.Fatal("there is no base")
	}
	disk := filepath.Join(s.recipes, "somebody.raw")
	if err := os.Symlink(bases[0], disk); err != nil {
		t.Fatal(err)
	}
	configuration := s.write("distribution.yaml", "distributions:\n  - region: eu-west-1\n    amiDistributionConfiguration: {name: somebody}\n")
	distribute := func(more ...string) []string {
		return append([]string{"distribute", disk, "--distribution", configuration, "--allow-untested"}, more...)
	}
	_, stderr := s.run(1, "distribute", disk, "--distribution", configuration)
	expect(t, stderr, "--allow-untested")
	// A disk that could not boot goes nowhere, and nobody is asked.
	c.forget()
	judge(t, "", "truncate", "-s", "64M", filepath.Join(s.recipes, "empty.raw"))
	_, stderr = s.run(1, "distribute", filepath.Join(s.recipes, "empty.raw"), "--distribution", configuration, "--allow-untested")
	expect(t, stderr, "would not come up on EC2", "C03", "ingot check")
	if all := c.requests(); len(all) != 0 {
		t.Errorf("AWS was asked for %+v", all)
	}
	// Nor does one whose registration EC2 would refuse: that is a mistake of the file.
	refused := s.write("refused.yaml", "registration:\n  bootMode: legacy-bios\n  uefiData: refused.yaml\ndistributions: [{region: eu-west-1, amiDistributionConfiguration: {amiTags: {B: '{{ build }}'}}}]\n")
	_, stderr = s.run(2, "distribute", disk, "--distribution", refused, "--allow-untested")
	expect(t, stderr, "refused.yaml:3:13: registration.uefiData: ", "refused.yaml:4:", "distributions[0].amiDistributionConfiguration.amiTags: ", "nothing was changed")
	if all := c.requests(); len(all) != 0 {
		t.Errorf("AWS was asked for %+v", all)
	}
	s.run(0, "aws", "setup", "--yes")

	// From the sixth part on the server takes its time.
	c.forget()
	c.fault(`{"Service": "s3", "Action": "UploadPart", "Skip": 5, "Times": -1, "Delay": 600000000000}`)
	cmd := s.command(distribute()...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "five parts", func() bool { return c.count("s3", "UploadPart") >= 5 })
	cmd.Process.Kill()
	cmd.Wait()
	s.expectClean()
	c.mend()
	c.forget()
	s.run(0, distribute()...)
	sent, parts := c.count("s3", "UploadPart"), 0
	for _, r := range c.requests() {
		if r.Action == "CompleteMultipartUpload" {
			parts++
		}
	}
	size := s.vmdkSize(disk)
	if want := int((size+16<<20-1)/(16<<20)) - 5; sent != want || parts != 1 {
		t.Errorf("%d parts were sent again and %d uploads completed, want %d parts and one", sent, parts, want)
	}
	if n := c.count("s3", "DeleteObject"); n != 1 {
		t.Errorf("the object was deleted %d times", n)
	}

	// An image of the name that is there is no clash if it is this one; the other paths get names of their own.
	for _, path := range []string{"ebs-direct", "import-image"} {
		c.forget()
		other := s.write(path+".yaml", "distributions:\n  - region: eu-west-1\n    amiDistributionConfiguration: {name: somebody-"+path+"}\n")
		stdout, _ := s.run(0, "distribute", disk, "--distribution", other, "--allow-untested", "--path", path, "--json")
		var done builder.Distributed
		if err := json.Unmarshal([]byte(stdout), &done); err != nil || len(done.AMIs) != 1 || done.AMIs[0].Name != "somebody-"+path {
			t.Fatalf("%s: %v, %s", path, err, stdout)
		}
		if by := map[string]string{"ebs-direct": "StartSnapshot", "import-image": "ImportImage"}[path]; c.count(map[string]string{"ebs-direct": "ebs", "import-image": "ec2"}[path], by) != 1 {
			t.Errorf("%s was not asked for", by)
		}
	}

	// The image that ImportImage made under a name of AWS's says as well that nobody tested it.
	made, err := ec2.NewFromConfig(c.config("eu-west-1")).DescribeImages(context.Background(), &ec2.DescribeImagesInput{Owners: []string{"self"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range made.Images {
		if !slices.ContainsFunc(i.Tags, func(t types.Tag) bool { return *t.Key == "ingot:untested" && *t.Value == "true" }) {
			t.Errorf("%s (%s) does not tell that it is untested: %+v", *i.ImageId, *i.Name, i.Tags)
		}
	}
	// A policy that allows the account lets the image out, and one that does not keeps it.
	allowed := s.write("allowed.yaml", "allowedAccounts: [\"123456789012\"]\n")
	s.run(0, distribute("--distribution-policy", allowed)...)
	strangers := s.write("strangers.yaml", "allowedAccounts: [\"210987654321\"]\n")
	_, stderr = s.run(1, distribute("--distribution-policy", strangers)...)
	expect(t, stderr, "allowedAccounts", "eu-west-1 in account 123456789012")

	// A name that another image has, and a task that AWS gives up, with AWS's own words.
	_, stderr = s.run(1, distribute("--name", "another")...)
	expect(t, stderr, "G05", "somebody")
	failing := s.write("failing.yaml", "distributions: [{region: eu-west-1}]\n")
	c.fault(`{"Service": "ec2", "Action": "ImportSnapshot", "TaskMessage": "ClientError: Disk validation failed [Unsupported VMDK File Format]", "TaskStatus": "deleted"}`)
	c.forget()
	_, stderr = s.run(1, "distribute", disk, "--distribution", failing, "--allow-untested", "--name", "failing")
	expect(t, stderr, "ClientError: Disk validation failed [Unsupported VMDK File Format]")
	if n := c.count("s3", "DeleteObject"); n != 1 {
		t.Errorf("after a failure the object was deleted %d times", n)
	}
	s.expectClean()
}

// vmdkSize is how large a disk is as it is uploaded.
func (s *site) vmdkSize(disk string) int64 {
	s.t.Helper()
	file := filepath.Join(s.recipes, "size.vmdk")
	s.run(0, "convert", disk, file)
	info, err := os.Stat(file)
	if err != nil {
		s.t.Fatal(err)
	}
	return info.Size()
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for start := time.Now(); !done(); time.Sleep(100 * time.Millisecond) {
		if time.Since(start) > 5*time.Minute {
			t.Fatalf("waited for %s for five minutes", what)
		}
	}
}

// checkAMI looks at an AMI as EC2 describes it, and gives its snapshot.
func (s *site) checkAMI(c *cloud, a catalog.AMI) string {
	s.t.Helper()
	client := ec2.NewFromConfig(c.config(a.Region))
	images, err := client.DescribeImages(context.Background(), &ec2.DescribeImagesInput{ImageIds: []string{a.Image}})
	if err != nil || len(images.Images) != 1 {
		s.t.Fatalf("%s: %v, %+v", a.Image, err, images)
	}
	i := images.Images[0]
	tags := map[string]string{}
	for _, t := range i.Tags {
		tags[*t.Key] = *t.Value
	}
	if i.BootMode != types.BootModeValuesLegacyBios || i.Architecture != types.ArchitectureValuesX8664 || i.EnaSupport == nil || !*i.EnaSupport ||
		i.ImdsSupport != types.ImdsSupportValuesV20 || *i.RootDeviceName != "/dev/xvda" || tags["Team"] != "platform" || tags["ingot:image"] != "cloud/1.0.0/1" {
		s.t.Errorf("%s in %s: %+v, tags %v", a.Image, a.Region, i, tags)
	}
	shared, err := client.DescribeImageAttribute(context.Background(), &ec2.DescribeImageAttributeInput{ImageId: &a.Image, Attribute: types.ImageAttributeNameLaunchPermission})
	if err != nil {
		s.t.Fatal(err)
	}
	if want := map[string]int{"eu-west-1": 1, "us-east-1": 0}[a.Region]; len(shared.LaunchPermissions) != want {
		s.t.Errorf("%s in %s is shared with %+v", a.Image, a.Region, shared.LaunchPermissions)
	}
	if len(i.BlockDeviceMappings) != 2 || *i.BlockDeviceMappings[1].DeviceName != "/dev/sdf" {
		s.t.Fatalf("%s in %s has the volumes %+v", a.Image, a.Region, i.BlockDeviceMappings)
	}
	return *i.BlockDeviceMappings[0].Ebs.SnapshotId
}

// readBack writes what is in a snapshot into a file.
func (s *site) readBack(c *cloud, region, snapshot string) string {
	s.t.Helper()
	src, err := direct.Open(context.Background(), ebs.NewFromConfig(c.config(region)), snapshot)
	if err != nil {
		s.t.Fatal(err)
	}
	path := filepath.Join(s.recipes, "back.raw")
	if err := disk.Write(context.Background(), src, disk.WriteOptions{}, disk.Output{Path: path, Format: disk.Raw}); err != nil {
		s.t.Fatal(err)
	}
	return path
}
