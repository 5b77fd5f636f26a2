package ami_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	ebstypes "github.com/aws/aws-sdk-go-v2/service/ebs/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ingot-image/ingot/export/ami"
	"github.com/ingot-image/ingot/export/distribution"
	"github.com/ingot-image/ingot/export/internal/ec2sim"
	"github.com/ingot-image/ingot/export/record"
)

const (
	home, far = ec2sim.Region, "us-east-1"
	other     = "210987654321"
	friend    = "333333333333"
	name      = "web {{ imagebuilder:buildDate:yyyyMMdd }}-{{ imagebuilder:buildVersion }}"
)

// world is an AMI in the simulated AWS, and what is needed to distribute it.
type world struct {
	*testing.T
	sim     *ec2sim.Server
	options ami.Options
	clients ami.Clients

	mu     sync.Mutex
	events []ami.Event
}

func newWorld(t *testing.T) *world {
	t.Helper()
	s := ec2sim.Start(t, ec2sim.Options{Lag: 20 * time.Millisecond})
	book, err := record.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { book.Close() })
	w := &world{T: t, sim: s, clients: ami.NewAccounts(s.Config(t, home))}
	w.options = ami.Options{SourceRegion: home, Record: book, Poll: 10 * time.Millisecond, Limit: 30 * time.Second,
		Tags:      map[string]string{"Tested": "yes"},
		Variables: ami.Variables{BuildDate: time.Now().UTC(), BuildVersion: "3", ImageName: "web", Version: "1.0.0"},
		Progress:  func(e ami.Event) { w.mu.Lock(); w.events = append(w.events, e); w.mu.Unlock() }}
	w.options.ImageID = w.register(ami.RegisterOptions{Name: w.name(), SnapshotID: w.snapshot(), Tags: map[string]string{"Team": "web"},
		Registration: distribution.Registration{Architecture: "x86_64", BootMode: "uefi-preferred"},
		BlockDevices: []ami.BlockDevice{{DeviceName: "/dev/sdb", EBS: &ami.EBS{VolumeSize: 10, Encrypted: sdk.Bool(true)}}}})
	return w
}

func (w *world) name() string {
	w.Helper()
	n, err := ami.Name(name, w.options.Variables)
	w.must(err)
	return n
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) ec2(region string) *ec2.Client { return ec2.NewFromConfig(w.sim.Config(w, region)) }

func (w *world) register(o ami.RegisterOptions) string {
	w.Helper()
	id, err := ami.Register(w.Context(), w.ec2(home), o)
	w.must(err)
	return id
}

// snapshot makes one of a GiB that begins with a known block.
func (w *world) snapshot() string {
	w.Helper()
	client := ebs.NewFromConfig(w.sim.Config(w, home))
	started, err := client.StartSnapshot(w.Context(), &ebs.StartSnapshotInput{VolumeSize: sdk.Int64(1)})
	w.must(err)
	block := bytes.Repeat([]byte("ingot!!\n"), 512<<10/8)
	sum := sha256.Sum256(block)
	_, err = client.PutSnapshotBlock(w.Context(), &ebs.PutSnapshotBlockInput{SnapshotId: started.SnapshotId, BlockIndex: sdk.Int32(0), BlockData: bytes.NewReader(block),
		DataLength: sdk.Int32(512 << 10), Checksum: sdk.String(base64.StdEncoding.EncodeToString(sum[:])), ChecksumAlgorithm: ebstypes.ChecksumAlgorithmChecksumAlgorithmSha256})
	w.must(err)
	_, err = client.CompleteSnapshot(w.Context(), &ebs.CompleteSnapshotInput{SnapshotId: started.SnapshotId, ChangedBlocksCount: sdk.Int32(1)})
	w.must(err)
	for {
		d, err := w.ec2(home).DescribeSnapshots(w.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{*started.SnapshotId}})
		w.must(err)
		if d.Snapshots[0].State == types.SnapshotStateCompleted {
			return *started.SnapshotId
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// distribute distributes, and gives the results by region and account.
func (w *world) distribute(d ...distribution.Distribution) (map[string]ami.Result, error) {
	w.Helper()
	w.options.Distributions = d
	results, err := ami.Distribute(w.Context(), w.clients, w.options)
	m := map[string]ami.Result{}
	for _, r := range results {
		m[r.Region+" "+r.AccountID] = r
	}
	return m, err
}

// changes are the requests since a number of them that change something.
func (w *world) changes(since int) []string {
	var all []string
	for _, r := range w.sim.Requests()[since:] {
		if !strings.HasPrefix(r.Action, "Describe") && !strings.HasPrefix(r.Action, "Get") && r.Action != "AssumeRole" {
			all = append(all, r.Action)
		}
	}
	return all
}

func (w *world) image(client *ec2.Client, id string) types.Image {
	w.Helper()
	d, err := client.DescribeImages(w.Context(), &ec2.DescribeImagesInput{ImageIds: []string{id}})
	w.must(err)
	return d.Images[0]
}

func (w *world) permissions(client *ec2.Client, id string) string {
	w.Helper()
	a, err := client.DescribeImageAttribute(w.Context(), &ec2.DescribeImageAttributeInput{ImageId: &id, Attribute: types.ImageAttributeNameLaunchPermission})
	w.must(err)
	var all []string
	for _, p := range a.LaunchPermissions {
		all = append(all, sdk.ToString(p.UserId)+string(p.Group)+sdk.ToString(p.OrganizationArn)+sdk.ToString(p.OrganizationalUnitArn))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func (w *world) template(c sdk.Config) string {
	w.Helper()
	made, err := ec2.NewFromConfig(c).CreateLaunchTemplate(w.Context(), &ec2.CreateLaunchTemplateInput{LaunchTemplateName: sdk.String("web"),
		LaunchTemplateData: &types.RequestLaunchTemplateData{ImageId: sdk.String("ami-0"), InstanceType: types.InstanceTypeT3Micro}})
	w.must(err)
	return *made.LaunchTemplate.LaunchTemplateId
}

func tagText(t []types.Tag) string {
	var all []string
	for _, tag := range t {
		all = append(all, *tag.Key+"="+*tag.Value)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}
