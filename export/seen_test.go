package export_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/export"
	"github.com/ingot-image/ingot/export/distribution"
	"github.com/ingot-image/ingot/export/internal/ec2sim"
)

// A file that is another one than was checked becomes no AMI, by whatever path, and nothing of it stays at AWS.
func TestDistributeRefusesAFileThatChanged(t *testing.T) {
	// Whoever hides the change cannot hide it from the time of change.
	overwrite := func(t *testing.T, path string) {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteAt([]byte("other"), 4096)
		}
		if err == nil {
			err = f.Close()
		}
		if err == nil {
			err = os.Chtimes(path, time.Unix(0, 0), time.Unix(1e9, 0))
		}
		if err != nil {
			t.Error(err)
		}
	}
	replace := func(t *testing.T, path string) {
		content, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path+".new", content, 0o600)
		}
		if err == nil {
			err = os.Rename(path+".new", path)
		}
		if err != nil {
			t.Error(err)
		}
	}
	for _, c := range []struct {
		name, path string
		format     disk.Format
		when       string // the event at which it happens, "" for before
		change     func(*testing.T, string)
	}{
		{"replaced before", distribution.ImportSnapshot, disk.Raw, "", replace},
		{"overwritten before", distribution.EBSDirect, disk.Raw, "", overwrite},
		{"the uploaded file, before", distribution.ImportSnapshot, disk.VMDK, "", overwrite},
		{"the uploaded file, while it is", distribution.ImportSnapshot, disk.VMDK, "upload", overwrite},
		{"blocks, while they are", distribution.EBSDirect, disk.Raw, "upload", overwrite},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newCloud(t, c.path)
			if c.format == disk.VMDK {
				raw, err := disk.Open(t.Context(), w.image.Files[0].Path, disk.OpenOptions{})
				if err != nil {
					t.Fatal(err)
				}
				defer raw.Close()
				file := filepath.Join(t.TempDir(), "web.vmdk")
				if err := disk.Write(t.Context(), raw, disk.WriteOptions{}, disk.Output{Path: file, Format: disk.VMDK}); err != nil {
					t.Fatal(err)
				}
				w.use(file)
				w.image.Files[0].Format = disk.VMDK
			}
			file := &w.image.Files[0]
			var err error
			if file.Seen, err = export.See(file.Path); err != nil {
				t.Fatal(err)
			}
			if c.when == "" {
				c.change(t, file.Path)
			}
			happened := c.when == ""
			tell := w.options.Event
			w.options.Event = func(e export.Event) {
				if tell(e); e.Doing == c.when && !happened {
					happened = true
					c.change(t, file.Path)
				}
			}
			_, err = export.Distribute(t.Context(), w.image, w.config, w.options)
			if err == nil || !happened || !strings.Contains(err.Error(), "was changed or replaced after it was checked") {
				t.Errorf("%v (happened: %v)", err, happened)
			}
			if names, snapshots := w.hold(ec2sim.Region); len(names) > 0 || len(snapshots) > w.sim.Count("ebs", "StartSnapshot")-w.sim.Count("ebs", "CompleteSnapshot") {
				t.Errorf("there are the AMIs %q and the snapshots %v", names, snapshots)
			}
			if n := w.sim.Count("ec2", "ImportSnapshot"); n != 0 {
				t.Errorf("%d snapshots were imported", n)
			}
			if made, gone := w.sim.Count("s3", "PutObject"), w.sim.Count("s3", "DeleteObject"); made > gone {
				t.Errorf("%d objects were made, %d deleted", made, gone)
			}
			// What is there now is another image, or was seen anew.
			w.use(file.Path)
			w.image.Files[0].Format = c.format
			w.options.Event = tell
			w.distribute()
		})
	}
}
