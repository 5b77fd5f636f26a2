package export_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/export"
	"github.com/ingot-image/ingot/export/ami"
	"github.com/ingot-image/ingot/export/distribution"
	"github.com/ingot-image/ingot/export/internal/ec2sim"
	"github.com/ingot-image/ingot/export/record"
	"github.com/ingot-image/ingot/export/vmimport"
)

// cloud is the simulated AWS, set up for imports, and an image that is to go there.
type cloud struct {
	*testing.T
	sim     *ec2sim.Server
	image   *export.Image
	config  *distribution.Configuration
	options export.Options

	mu       sync.Mutex
	warnings []string
}

func newCloud(t *testing.T, path string) *cloud {
	t.Helper()
	sim := ec2sim.Start(t, ec2sim.Options{})
	cfg := sim.Config(t, ec2sim.Region)
	plan, err := vmimport.PlanSetup(t.Context(), cfg, vmimport.SetupOptions{Bucket: "images"})
	if err == nil {
		err = plan.Apply(t.Context(), func(vmimport.Step) {})
	}
	if err != nil {
		t.Fatal(err)
	}
	content := append(bytes.Repeat([]byte("ingot!!\n"), 1<<17), make([]byte, 7<<20)...)
	file, sum := filepath.Join(t.TempDir(), "web.raw"), sha256.Sum256(content)
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	book, err := record.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { book.Close() })
	c := &cloud{T: t, sim: sim}
	c.image = &export.Image{Name: "web", Version: "1.0.0/1", Build: "1", Date: time.Now().UTC(), Architecture: "x86_64", BootMode: "legacy-bios",
		Files: []export.ImageFile{{Path: file, Format: disk.Raw, SHA256: hex.EncodeToString(sum[:]), Size: int64(len(content))}}, Tags: map[string]string{"Tested": "no"}}
	c.config = &distribution.Configuration{Import: distribution.Import{Path: path, Bucket: "images"},
		Distributions: []distribution.Distribution{{Region: ec2sim.Region, AMI: &distribution.AMI{Name: "web-1"}}}}
	temp := t.TempDir()
	c.options = export.Options{Config: cfg, AccountID: "123456789012", Book: book, Poll: 5 * time.Millisecond,
		Temp: func(name string) (string, error) { return filepath.Join(temp, name), nil },
		Event: func(e export.Event) {
			if e.Warning != nil {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.warnings = append(c.warnings, e.Warning.Error())
			}
		}}
	return c
}

// distribute brings the image to its region, and gives the AMI and the warnings.
func (c *cloud) distribute() (ami.Result, []string) {
	c.Helper()
	c.warnings = nil
	results, err := export.Distribute(c.Context(), c.image, c.config, c.options)
	if err != nil || len(results) != 1 {
		c.Fatalf("%+v, %v", results, err)
	}
	return results[0], c.warnings
}

// An object that cannot be deleted takes no image back, and the next run that may deletes it.
func TestDistributeKeepsWhatItCannotClear(t *testing.T) {
	c := newCloud(t, distribution.ImportSnapshot)
	c.sim.Faults.Add(ec2sim.Fault{Service: "s3", Action: "DeleteObject", Times: -1, Status: 403, Code: "AccessDenied", Message: "Access Denied"})
	first, warnings := c.distribute()
	if len(warnings) != 1 || !strings.Contains(warnings[0], "AccessDenied") || !strings.Contains(warnings[0], "ingot/web-1.0.0-1-") {
		t.Errorf("warnings %q", warnings)
	}
	c.sim.Faults.Clear()
	deleted, uploaded := c.sim.Count("s3", "DeleteObject"), c.sim.Count("s3", "PutObject")
	second, warnings := c.distribute()
	if second.ImageID != first.ImageID || len(warnings) > 0 {
		t.Errorf("%+v after %+v, warnings %q", second, first, warnings)
	}
	if n := c.sim.Count("s3", "DeleteObject") - deleted; n != 1 {
		t.Errorf("the object was deleted %d times by the next run", n)
	}
	third, _ := c.distribute()
	if third.ImageID != first.ImageID || c.sim.Count("s3", "DeleteObject")-deleted != 1 || c.sim.Count("s3", "PutObject") != uploaded || c.sim.Count("ec2", "ImportSnapshot") != 1 {
		t.Errorf("a run of what is there did something: %+v", third)
	}
	if c.sim.Count("s3", "ListMultipartUploads") != 1 {
		t.Error("old uploads were not looked for once, after the import")
	}
}

// What was deleted at AWS is imported again, and not taken from the task that made it.
func TestDistributeImportsAgain(t *testing.T) {
	for _, path := range []string{distribution.ImportSnapshot, distribution.EBSDirect} {
		t.Run(path, func(t *testing.T) {
			c := newCloud(t, path)
			client := ec2.NewFromConfig(c.options.Config)
			first, _ := c.distribute()
			out, err := client.DescribeImages(t.Context(), &ec2.DescribeImagesInput{ImageIds: []string{first.ImageID}})
			if err != nil {
				t.Fatal(err)
			}
			snapshot := out.Images[0].BlockDeviceMappings[0].Ebs.SnapshotId
			if _, err := client.DeregisterImage(t.Context(), &ec2.DeregisterImageInput{ImageId: sdk.String(first.ImageID)}); err != nil {
				t.Fatal(err)
			}
			if _, err := client.DeleteSnapshot(t.Context(), &ec2.DeleteSnapshotInput{SnapshotId: snapshot}); err != nil {
				t.Fatal(err)
			}
			second, _ := c.distribute()
			if second.ImageID == first.ImageID {
				t.Errorf("%+v is the AMI that was deregistered", second)
			}
			c.distribute()
			if n := c.sim.Count("ec2", "ImportSnapshot") + c.sim.Count("ebs", "StartSnapshot"); n != 2 {
				t.Errorf("it was imported %d times, not twice", n)
			}
		})
	}
}

// What is known of earlier builds makes uploads shorter, and is no reason to have none.
func TestDistributeWithoutParents(t *testing.T) {
	c := newCloud(t, distribution.EBSDirect)
	c.options.Parents = func() (*record.Book, error) { return nil, errors.New("no space left") }
	_, warnings := c.distribute()
	if len(warnings) != 2 || !strings.Contains(strings.Join(warnings, "\n"), "the next build will be uploaded as a whole: no space left") {
		t.Errorf("warnings %q", warnings)
	}
}

// An upload that was begun by one path, and is not needed by another, is given up.
func TestDistributeClearsAwayAfterAnotherPath(t *testing.T) {
	c := newCloud(t, distribution.ImportSnapshot)
	c.sim.Faults.Add(ec2sim.Fault{Service: "ec2", Action: "ImportSnapshot", Times: -1, Status: 403, Code: "UnauthorizedOperation", Message: "No."},
		ec2sim.Fault{Service: "s3", Action: "DeleteObject", Status: 403, Code: "AccessDenied", Message: "Access Denied"})
	if _, err := export.Distribute(t.Context(), c.image, c.config, c.options); err == nil || !strings.Contains(err.Error(), "UnauthorizedOperation") {
		t.Fatal(err)
	}
	c.config.Import.Path = distribution.EBSDirect
	deleted := c.sim.Count("s3", "DeleteObject")
	c.distribute()
	if n := c.sim.Count("s3", "DeleteObject") - deleted; n != 1 {
		t.Errorf("the object of the other path was deleted %d times", n)
	}
}
