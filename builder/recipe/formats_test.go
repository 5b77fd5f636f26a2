package recipe_test

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/builder/recipe"
)

// sized is of parents that all have disks of this size, in bytes.
type sized int64

func (s sized) Inspect(context.Context, recipe.PlannedParentImage) (string, int64, error) {
	return "", int64(s), nil
}

// Formats that hold no disk of the size are told with their place, before anything is built.
func TestFormatsHoldTheDisk(t *testing.T) {
	const head = "name: web\nsemanticVersion: 1.0.0\nparentImage: debian-12\n"
	for _, test := range []struct {
		rest    string
		parent  sized
		formats []recipe.Format
		want    string
	}{
		{"blockDeviceMappings: [{deviceName: /dev/xvda, ebs: {volumeSize: 3000}}]\ndistribution:\n  formats:\n    - raw\n    - {format: vhd, align: 1MiB}\n", 1 << 30, nil,
			"r.yaml:8:7: distribution.formats[1]: VHD: a disk of 3221225472000 bytes: the format holds at most 2040 GiB"},
		{"blockDeviceMappings: [{deviceName: /dev/xvda, ebs: {volumeSize: 3000}}]\ndistribution: {formats: [vhd]}\n", 1 << 30, []recipe.Format{"raw"}, ""},
		{"blockDeviceMappings: [{deviceName: /dev/xvda, ebs: {volumeSize: 3000}}]\n", 1 << 30, []recipe.Format{"raw", "vhd-fixed"}, "--format=vhd-fixed: VHD"},
		{"blockDeviceMappings: [{deviceName: /dev/xvda, ebs: {volumeSize: 2040}}]\ndistribution: {formats: [vhd]}\n", 1 << 30, nil, ""},
		{"distribution: {formats: [vhd]}\n", 3000 << 30, nil, "r.yaml:4:26: distribution.formats[0]: VHD"},
		{"distribution: {formats: [vmdk]}\n", 1<<30 + 5, nil, ""},
		{"distribution: {formats: [vhd]}\n", 0, nil, ""},
	} {
		dir := folder(t, map[string]string{"r.yaml": head + test.rest})
		env := environment()
		env.Parents, env.Formats = test.parent, test.formats
		p, err := recipe.Load(t.Context(), filepath.Join(dir, "r.yaml"), env)
		if test.want == "" {
			if err != nil || len(test.formats) > 0 && !slices.Equal(p.Distribution.Formats, test.formats) {
				t.Errorf("%s: %+v, %v", test.rest, p, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.rest, err, test.want)
		}
	}
}
