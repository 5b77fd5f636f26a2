package recipe

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/export/distribution"
)

// The keys of a distribution configuration (CreateDistributionConfiguration), and Ingot's own beside them.
var (
	configurationKeys = []string{"name", "description", "distributions", "tags", "import", "registration", "distributionPolicy"}
	importKeys        = []string{"path", "region", "bucket", "prefix", "roleName", "encrypted", "kmsKeyId", "writeZeros", "licenseType", "usageOperation", "platform"}
	registrationKeys  = []string{"architecture", "bootMode", "rootDeviceName", "enaSupport", "imdsSupport", "tpmSupport", "uefiData"}
)

// The service's quotas, and bounds where it has none.
const (
	maxDistributions   = 100
	maxLaunchTemplates = 5
	maxSSMParameters   = 10
	maxAccounts        = 1536
	maxLicenses        = 50
)

var regionName = regexp.MustCompile(`^[a-z]{2,}(-[a-z]+)+-[0-9]+$`)

// distribution reads the recipe's part of that name: the files to write, and where the image goes.
func (m mapping) distribution(key string) Distribution {
	d := Distribution{Formats: []Format{disk.Raw}}
	f, ok := m.at(key)
	if !ok {
		return d
	}
	m = f.mapping("a mapping with formats and folder", slices.Concat(distributionKeys, configurationKeys))
	if f, ok := m.at("formats"); ok {
		d.Formats = nil
		items := f.list("a list of formats, such as [raw, vmdk]", 16)
		if len(items) == 0 && f.node.Kind == sequenceKind {
			f.problem("names no format", "write at least one of "+formatNames())
		}
		for _, item := range items {
			d.format(item)
		}
	}
	m.text("folder", &d.Folder)
	if slices.ContainsFunc(configurationKeys, func(key string) bool { _, ok := m.at(key); return ok }) {
		d.Configuration = m.configuration()
	}
	return d
}

// ReadDistribution reads a distribution configuration from a file of its own, or from the part distribution of a recipe. The error is component.Problems
// with every mistake; those of a recipe's other parts are not looked for. Paths in it come out relative to the file's folder.
func ReadDistribution(ctx context.Context, file string) (*distribution.Configuration, error) {
	data, err := readFile(file)
	if err != nil {
		return nil, component.Problems{{File: file, Message: err.Error()}}
	}
	rd := &reader{file: file, what: "distribution", needs: "at least distributions", positions: map[string]position{}}
	root, ok := rd.read(data)
	if ok {
		ok = root.is(mappingKind, "a mapping with distributions")
	}
	if !ok {
		return nil, rd.problems.Err()
	}
	var c *distribution.Configuration
	if m := root.mapping("", nil); slices.ContainsFunc([]string{"parentImage", "semanticVersion", "distribution"}, func(key string) bool { _, ok := m.at(key); return ok }) {
		if f, ok := m.at("blockDeviceMappings"); ok && f.node.Kind == sequenceKind {
			f.list("", 100) // for their places: what EC2 refuses of them is found out later
		}
		if c = m.distribution("distribution").Configuration; c == nil {
			root.problem("the recipe's distribution names no place", "add distributions to it, or give a distribution configuration of its own")
		}
	} else {
		c = root.mapping("a mapping with distributions", configurationKeys).configuration()
	}
	if err := rd.problems.Err(); err != nil {
		return nil, err
	}
	relocate(c, func(path string) string {
		if filepath.IsAbs(path) {
			return filepath.Clean(path)
		}
		return filepath.Join(filepath.Dir(file), path)
	})
	return c, ctx.Err()
}

// relocate makes the paths of a configuration start where local says.
func relocate(c *distribution.Configuration, local func(string) string) {
	if c == nil {
		return
	}
	at := func(path *string) {
		if *path != "" {
			*path = local(*path)
		}
	}
	at(&c.Policy)
	at(&c.Registration.UEFIData)
	for i := range c.Distributions {
		at(&c.Distributions[i].Folder)
		if p := c.Distributions[i].LibvirtPool; p != nil {
			at(&p.Path)
		}
	}
}

// configuration reads the keys of a distribution configuration.
func (m mapping) configuration() *distribution.Configuration {
	c := &distribution.Configuration{}
	m.text("name", &c.Name)
	m.text("description", &c.Description)
	if f, ok := m.at("tags"); ok {
		c.Tags = f.tags()
	}
	m.text("distributionPolicy", &c.Policy)
	if f, ok := m.require("distributions", "a list of places, such as - region: eu-west-1"); ok {
		regions := map[string]bool{}
		if f.node.Kind == sequenceKind && len(f.node.Content) == 0 {
			f.problem("names no place", "add one, such as - region: eu-west-1")
		}
		for _, item := range f.list("a list of places, such as - region: eu-west-1", maxDistributions) {
			d := item.place()
			if d.Region != "" && regions[d.Region] {
				item.problem(fmt.Sprintf("%s is named twice", d.Region), "put both into one entry")
			}
			regions[d.Region] = true
			c.Distributions = append(c.Distributions, d)
		}
	}
	if f, ok := m.at("import"); ok {
		f.readImport(c)
	}
	if f, ok := m.at("registration"); ok {
		f.registration(&c.Registration)
	}
	m.checkTogether(c)
	c.Origin = &distribution.Origin{File: m.r.file, Recipe: m.path != "", Places: map[string]distribution.Place{}}
	for path, p := range m.r.positions {
		c.Origin.Places[path] = distribution.Place{Line: p.line, Column: p.column}
	}
	return c
}

func (f field) readImport(c *distribution.Configuration) {
	m := f.mapping("a mapping with path and bucket", importKeys)
	i := &c.Import
	if f, ok := m.at("path"); ok {
		i.Path, _ = word(f, distribution.Paths())
	}
	if f, ok := m.at("region"); ok {
		if i.Region = f.pattern(regionName, "a region such as eu-west-1"); i.Region != "" && !slices.Contains(c.Regions(), i.Region) {
			f.problem(fmt.Sprintf("%s is not among the distributions", i.Region), "the image is imported into one of the regions that it goes to; add it there")
		}
	}
	if f, ok := m.at("bucket"); ok {
		i.Bucket = f.pattern(bucketName, "the name of a bucket")
	}
	for key, to := range map[string]*string{"prefix": &i.Prefix, "roleName": &i.RoleName, "kmsKeyId": &i.KMSKeyID, "usageOperation": &i.UsageOperation} {
		m.text(key, to)
	}
	m.boolean("encrypted", &i.Encrypt)
	m.boolean("writeZeros", &i.WriteZeros)
	if f, ok := m.at("writeZeros"); ok && i.Path != distribution.EBSDirect {
		f.problem("is for the path ebs-direct only", "set path: ebs-direct, or remove it")
	}
	if f, ok := m.at("licenseType"); ok {
		i.LicenseType, _ = word(f, []string{"AWS", "BYOL"})
	}
	if f, ok := m.at("platform"); ok {
		i.Platform, _ = word(f, []string{"Linux", "Windows"})
	}
	_, chosen := m.at("path")
	for _, key := range []string{"licenseType", "usageOperation", "platform"} {
		f, ok := m.at(key)
		switch {
		case !ok:
		case !chosen: // whoever asks for a licence asks for the path that has them
			i.Path = distribution.ImportImage
		case i.Path != distribution.ImportImage:
			f.problem("is for the path import-image only", "set path: import-image, or remove it")
		}
	}
}

func (f field) registration(r *distribution.Registration) {
	m := f.mapping("a mapping with bootMode", registrationKeys)
	if f, ok := m.at("architecture"); ok {
		r.Architecture, _ = word(f, []string{"x86_64", "arm64"})
	}
	if f, ok := m.at("bootMode"); ok {
		r.BootMode, _ = word(f, []string{"legacy-bios", "uefi", "uefi-preferred"})
	}
	if f, ok := m.at("rootDeviceName"); ok {
		r.RootDeviceName, _ = word(f, []string{"/dev/xvda", "/dev/sda1"})
	}
	if f, ok := m.at("enaSupport"); ok {
		if b, ok := f.boolean(); ok {
			r.ENASupport = &b
		}
	}
	if f, ok := m.at("imdsSupport"); ok {
		r.IMDSSupport, _ = word(f, []string{"v2.0", "none"})
	}
	if f, ok := m.at("tpmSupport"); ok {
		if r.TPMSupport, _ = word(f, []string{"v2.0"}); r.TPMSupport != "" && r.BootMode != "uefi" && r.BootMode != "" {
			f.problem(fmt.Sprintf("needs bootMode uefi, and it is %s", r.BootMode), "")
		}
	}
	m.text("uefiData", &r.UEFIData)
	if f, ok := m.at("bootMode"); ok && r.Architecture == "arm64" && r.BootMode != "uefi" && r.BootMode != "" {
		f.problem("an arm64 AMI boots by uefi only", "set bootMode: uefi")
	}
}

// checkTogether reports what contradicts itself between the parts.
func (m mapping) checkTogether(c *distribution.Configuration) {
	if len(c.Regions()) == 0 {
		for _, key := range []string{"import", "registration"} {
			if f, ok := m.at(key); ok {
				f.problem("no distribution names a region", "add one, or remove this")
			}
		}
		return
	}
	if c.Import.Path == distribution.ImportImage && c.Registration.BootMode == "uefi-preferred" {
		m.fields["registration"].problem("import-image does not take bootMode uefi-preferred", "use legacy-bios or uefi, or another import path")
	}
}

// pattern gives a string that matches, "" if it does not.
func (f field) pattern(p *regexp.Regexp, wanted string) string {
	s, ok := f.text()
	if !ok {
		return ""
	}
	if !p.MatchString(s) {
		f.problem(fmt.Sprintf("%q is not %s", clip(s), wanted), "")
		return ""
	}
	return s
}

// patterns gives the strings of a list.
func (f field) patterns(p *regexp.Regexp, wanted string, limit int) []string {
	var all []string
	for _, item := range f.list("a list", limit) {
		s := item.pattern(p, wanted)
		if s != "" && slices.Contains(all, s) {
			item.problem(strings.TrimSpace(clip(s))+" is given twice", "remove one of them")
		}
		if s != "" {
			all = append(all, s)
		}
	}
	return all
}
