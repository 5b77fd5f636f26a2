package builder

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"io/fs"
	"path"
	"regexp"
	"strings"

	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/disk/inspect"
)

// leftDisk is what a guest left on its disk: how to know what came of a boot of which the guest told nothing.
type leftDisk struct {
	datasource string // that cloud-init took: "DataSourceNoCloud", "" if there is no trace of a run
	list       string // the datasource_list that is configured: "[NoCloud] (etc/cloud/cloud.cfg.d/90_dpkg.cfg)"
	disabled   bool   // by /etc/cloud/cloud-init.disabled
	installed  bool   // cloud-init is there
	users      []string
	root       int64 // size of the root file system in bytes, 0 if unknown
}

// left reads the overlay that a VM wrote, which has ended.
func (r *rehearsal) left(ctx context.Context, overlay, key string) (*leftDisk, error) {
	raw := disk.Image{Path: overlay + ".raw", Format: disk.Raw}
	// Read by qemu-img: disk.Open never follows a backing file.
	if err := disk.Convert(ctx, disk.Image{Path: overlay, Format: disk.Qcow2}, raw, nil); err != nil {
		return nil, err
	}
	d, err := disk.Open(ctx, raw.Path, disk.OpenOptions{Format: disk.Raw})
	if err != nil {
		return nil, err
	}
	defer d.Close()
	report, err := inspect.Inspect(ctx, d, inspect.Options{})
	if err != nil {
		return nil, err
	}
	l := &leftDisk{}
	for _, f := range report.FileSystems {
		if f.MountPoint == "/" && f.Space != nil {
			l.root = f.Space.Size
		}
	}
	root, err := inspect.OpenRoot(ctx, d, inspect.Options{Mount: r.builder.Mount})
	if err != nil {
		return l, err
	}
	defer root.Close()
	l.read(root, key)
	return l, nil
}

var (
	datasourceName = regexp.MustCompile(`DataSource\w+`)
	datasourceList = regexp.MustCompile(`(?m)^\s*datasource_list:\s*(.*(?:\n\s*-.*)*)`)
)

// read looks at what cloud-init writes for those who come later (cloud-init's documentation, "Instance metadata", and stages.py).
func (l *leftDisk) read(root fs.FS, key string) {
	text := func(name string) string {
		data, _ := fs.ReadFile(root, name)
		return string(data)
	}
	var result struct {
		V1 struct {
			Datasource string `json:"datasource"`
		} `json:"v1"`
	}
	json.Unmarshal([]byte(text("var/lib/cloud/data/result.json")), &result)
	l.datasource = cmp.Or(datasourceName.FindString(result.V1.Datasource), datasourceName.FindString(text("var/lib/cloud/instance/datasource")))
	_, err := fs.Stat(root, "etc/cloud/cloud.cfg")
	l.installed = err == nil
	_, err = fs.Stat(root, "etc/cloud/cloud-init.disabled")
	l.disabled = err == nil
	files := []string{"etc/cloud/cloud.cfg"}
	entries, _ := fs.ReadDir(root, "etc/cloud/cloud.cfg.d")
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".cfg") {
			files = append(files, "etc/cloud/cloud.cfg.d/"+e.Name())
		}
	}
	for _, file := range files { // the last one counts
		if m := datasourceList.FindStringSubmatch(text(file)); m != nil {
			l.list = strings.Join(strings.Fields(m[1]), " ") + " in /" + file
		}
	}
	accounts := bufio.NewScanner(io.LimitReader(strings.NewReader(text("etc/passwd")), 1<<20))
	for accounts.Scan() {
		fields := strings.Split(accounts.Text(), ":")
		if len(fields) < 6 {
			continue
		}
		keys := text(strings.TrimPrefix(path.Join(fields[5], ".ssh/authorized_keys"), "/"))
		for line := range strings.Lines(keys) {
			if strings.Contains(line, strings.Fields(key)[1]) && !strings.Contains(line, "command=") {
				l.users = append(l.users, fields[0])
			}
		}
	}
}
