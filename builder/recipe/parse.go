package recipe

import (
	"encoding/base64"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/ingot-image/ingot/builder/recipe/version"
)

// The keys of a recipe file and its parts, in the order they are documented in.
var (
	recipeKeys = []string{"name", "description", "semanticVersion", "parentImage", "components", "blockDeviceMappings",
		"workingDirectory", "additionalInstanceConfiguration", "amiTags", "amiWatermarks", "tags",
		"infrastructureConfiguration", "imageTestsConfiguration", "distribution"}
	componentKeys = []string{"componentArn", "parameters"}
	parameterKeys = []string{"name", "value", "secret"}
	mappingKeys   = []string{"deviceName", "virtualName", "noDevice", "ebs"}
	ebsKeys       = []string{"volumeSize", "volumeType", "iops", "throughput", "encrypted", "deleteOnTermination",
		"kmsKeyId", "snapshotId"}
	additionalKeys     = []string{"systemsManagerAgent", "userDataOverride"}
	infrastructureKeys = []string{"vcpus", "memory", "accelerator", "terminateInstanceOnFailure"}
	testsKeys          = []string{"imageTestsEnabled", "timeoutMinutes"}
	distributionKeys   = []string{"formats", "folder"}

	// The keys of CreateInfrastructureConfiguration that mean nothing here.
	awsInfrastructureKeys = []string{"name", "description", "instanceProfileName", "instanceTypes", "securityGroupIds",
		"subnetId", "keyPair", "logging", "snsTopicArn", "resourceTags", "instanceMetadataOptions", "placement", "tags"}

	volumeTypes = []string{"standard", "io1", "io2", "gp2", "gp3", "sc1", "st1"}
)

// The limits of the local VM. Even a small Debian does not boot in less than minMemoryMiB.
const (
	minMemoryMiB, maxMemoryMiB = 256, 1 << 20
	maxVCPUs                   = 64
	maxDescription             = 1024
	maxParameters              = 25    // per component, the service's quota
	maxParameterValue          = 1024  // characters, the service's quota
	maxUserData                = 21847 // characters of base64, the service's limit (CloudFormation)
)

// Parse reads a recipe file. file is its name, used in messages and as the place relative paths start from; Parse itself
// opens nothing.
//
// The error is component.Problems with every mistake in the file, each with line, column and field. The recipe is then
// returned too, with what could be read, so that Resolve can report the mistakes of the component documents with those
// of the recipe; it is nil only if the file is no YAML mapping.
func Parse(file string, data []byte) (*Recipe, error) {
	rd := &reader{file: file, positions: map[string]position{}}
	root, ok := rd.read(data)
	if ok {
		ok = root.is(mappingKind, "a mapping that begins with name, semanticVersion and parentImage")
	}
	if !ok {
		return nil, rd.problems.Err()
	}
	r := &Recipe{File: file}
	r.read(root)
	r.positions, r.problems = rd.positions, rd.problems
	return r, rd.problems.Err()
}

func (r *Recipe) read(root field) {
	m := root.mapping("a mapping", recipeKeys)
	if f, ok := m.require("name", "such as name: web-server"); ok {
		if s, ok := f.text(); ok {
			r.Name = s
			if err := version.CheckName(s); err != nil {
				f.problem(err.Error(), "")
			}
		}
	}
	m.text("description", &r.Description)
	if f, ok := m.at("description"); ok && utf8.RuneCountInString(r.Description) > maxDescription {
		f.problem(fmt.Sprintf("is longer than %d characters", maxDescription), "")
	}
	if f, ok := m.require("semanticVersion", "such as semanticVersion: 1.0.x, which takes the next patch version at each build"); ok {
		r.SemanticVersion = f.semanticVersion()
	}
	if f, ok := m.require("parentImage", "such as parentImage: debian-12"); ok {
		r.ParentImage = f.parentImage()
	}
	if f, ok := m.at("components"); ok {
		for _, item := range f.list("a list of components", MaxComponents) {
			r.Components = append(r.Components, item.component())
		}
	}
	if f, ok := m.at("blockDeviceMappings"); ok {
		for _, item := range f.list("a list of block device mappings", 100) {
			r.BlockDeviceMappings = append(r.BlockDeviceMappings, item.blockDeviceMapping())
		}
		r.checkRootDevice(f)
	}
	r.WorkingDirectory = DefaultWorkingDirectory
	m.text("workingDirectory", &r.WorkingDirectory)
	if f, ok := m.at("workingDirectory"); ok && !path.IsAbs(r.WorkingDirectory) {
		f.problem(fmt.Sprintf("%q is not an absolute path", clip(r.WorkingDirectory)), "it is a folder inside the image, such as /var/tmp")
	}
	if f, ok := m.at("additionalInstanceConfiguration"); ok {
		r.AdditionalInstanceConfiguration = f.additionalInstanceConfiguration()
	}
	if f, ok := m.at("amiTags"); ok {
		r.AMITags = f.tags()
	}
	if f, ok := m.at("amiWatermarks"); ok {
		r.AMIWatermarks = f.watermarks()
	}
	if f, ok := m.at("tags"); ok {
		r.Tags = f.tags()
	}
	r.InfrastructureConfiguration = m.infrastructureConfiguration("infrastructureConfiguration")
	r.ImageTestsConfiguration = m.imageTestsConfiguration("imageTestsConfiguration")
	r.Distribution = m.distribution("distribution")
}

func (f field) semanticVersion() Pattern {
	s, ok := f.text()
	if !ok {
		return Pattern{}
	}
	p, err := version.ParsePattern(s)
	if err != nil {
		f.problem(err.Error(), "write major.minor.patch, such as 1.0.0, or 1.0.x for the next patch version at each build")
		return Pattern{}
	}
	if p.Build() != 0 {
		f.problem(fmt.Sprintf("%q has a build number", s), "build numbers are assigned at each build; remove it")
		return Pattern{}
	}
	return p
}

func (f field) component() ComponentConfiguration {
	var c ComponentConfiguration
	m := f.mapping("a mapping with componentArn", componentKeys)
	if f, ok := m.require("componentArn", "the path of a component document, a managed component's name, or NAME/x.x.x"); ok {
		c.ComponentARN = f.componentReference()
	}
	if f, ok := m.at("parameters"); ok {
		seen := map[string]string{} // name → field
		for _, item := range f.list("a list of parameters, each with name and value", maxParameters) {
			p, ok := item.parameter()
			if !ok {
				c.incomplete = true
				continue
			}
			if first, repeated := seen[p.Name]; repeated {
				item.problem(fmt.Sprintf("the parameter %s is given twice, first as %s", p.Name, first), "remove one of them")
				continue
			}
			seen[p.Name] = item.path
			c.Parameters = append(c.Parameters, p)
		}
	}
	return c
}

// parameter reads {name, value, secret}. The service's value is a list with exactly one string; a single value is the same.
func (f field) parameter() (p ComponentParameter, ok bool) {
	p.field = f.path
	m := f.mapping("a mapping with name and value", parameterKeys)
	m.text("name", &p.Name)
	m.boolean("secret", &p.Secret)
	_, named := m.require("name", "")
	value, given := m.require("value", "")
	if !given {
		return p, false
	}
	if value.node.Kind == sequenceKind {
		items := value.list("a list with one string", maxParameters)
		if len(items) != 1 {
			if items != nil {
				value.problem(fmt.Sprintf("has %d values; a parameter takes exactly one", len(items)), "")
			}
			return p, false
		}
		value = items[0]
	}
	p.Value, ok = value.literal(4 * maxParameterValue)
	if ok && utf8.RuneCountInString(p.Value) > maxParameterValue {
		value.problem(fmt.Sprintf("is longer than %d characters", maxParameterValue), "")
		ok = false
	}
	return p, ok && named && p.Name != ""
}

func (f field) blockDeviceMapping() BlockDeviceMapping {
	var b BlockDeviceMapping
	m := f.mapping("a mapping with deviceName and ebs", mappingKeys)
	m.text("deviceName", &b.DeviceName)
	m.text("virtualName", &b.VirtualName)
	m.require("deviceName", "the root device of EC2's Debian images is /dev/xvda")
	if f, ok := m.at("noDevice"); ok && f.node.Value != "" { // the service's value is the empty string
		m.text("noDevice", &b.NoDevice)
	}
	if f, ok := m.at("ebs"); ok {
		b.EBS = f.ebs()
	}
	return b
}

func (f field) ebs() *EBS {
	var e EBS
	m := f.mapping("a mapping with volumeSize", ebsKeys)
	m.integer("volumeSize", 1, 16000, " GiB", &e.VolumeSize)
	m.integer("iops", 100, 64000, "", &e.IOPS)
	m.integer("throughput", 125, 1000, " MiB/s", &e.Throughput)
	if f, ok := m.at("volumeType"); ok {
		e.VolumeType, _ = word(f, volumeTypes)
	}
	for key, to := range map[string]**bool{"encrypted": &e.Encrypted, "deleteOnTermination": &e.DeleteOnTermination} {
		if f, ok := m.at(key); ok {
			if b, ok := f.boolean(); ok {
				*to = &b
			}
		}
	}
	m.text("kmsKeyId", &e.KMSKeyID)
	m.text("snapshotId", &e.SnapshotID)
	return &e
}

// checkRootDevice reports device names that are mapped twice, and a second name for the root device.
func (r *Recipe) checkRootDevice(f field) {
	seen, root := map[string]bool{}, ""
	for i, b := range r.BlockDeviceMappings {
		item := field{r: f.r, path: fmt.Sprintf("%s[%d].deviceName", f.path, i)}
		isRoot := b.Root()
		switch {
		case b.DeviceName == "":
		case seen[b.DeviceName]:
			item.problem(fmt.Sprintf("%s is mapped twice", b.DeviceName), "")
		case isRoot && root != "":
			item.problem(fmt.Sprintf("%s means the root device, and so does %s", b.DeviceName, root), "keep one of them")
		}
		seen[b.DeviceName] = true
		if isRoot && root == "" {
			root = b.DeviceName
		}
	}
}

func (f field) additionalInstanceConfiguration() AdditionalInstanceConfiguration {
	var a AdditionalInstanceConfiguration
	m := f.mapping("a mapping", additionalKeys)
	if f, ok := m.at("systemsManagerAgent"); ok {
		a.SystemsManagerAgent = &SystemsManagerAgent{}
		f.mapping("a mapping with uninstallAfterBuild", []string{"uninstallAfterBuild"}).
			boolean("uninstallAfterBuild", &a.SystemsManagerAgent.UninstallAfterBuild)
	}
	m.text("userDataOverride", &a.UserDataOverride)
	if f, ok := m.at("userDataOverride"); ok && a.UserDataOverride != "" {
		if _, err := base64.StdEncoding.DecodeString(a.UserDataOverride); err != nil {
			f.problem("is not base64", "encode the user data with base64 -w0")
		} else if len(a.UserDataOverride) > maxUserData {
			f.problem(fmt.Sprintf("is longer than %d characters", maxUserData), "")
		}
	}
	return a
}

func (f field) watermarks() []string {
	var names []string
	for _, item := range f.list("a list of 1 to 5 names", 5) {
		if s, ok := item.text(); ok {
			if n := utf8.RuneCountInString(s); n < 3 || n > 128 {
				item.problem(fmt.Sprintf("has %d characters; it must have 3 to 128", n), "")
			}
			names = append(names, s)
		}
	}
	return names
}

func (m mapping) infrastructureConfiguration(key string) InfrastructureConfiguration {
	c := InfrastructureConfiguration{Accelerator: AcceleratorAuto, TerminateInstanceOnFailure: true}
	f, ok := m.at(key)
	if !ok {
		return c
	}
	m = f.mapping("a mapping with vcpus, memory and accelerator", slices.Concat(infrastructureKeys, awsInfrastructureKeys))
	m.integer("vcpus", 1, maxVCPUs, "", &c.VCPUs)
	if f, ok := m.at("memory"); ok {
		c.MemoryMiB = f.memory()
	}
	if f, ok := m.at("accelerator"); ok {
		c.Accelerator, _ = word(f, Accelerators())
	}
	m.boolean("terminateInstanceOnFailure", &c.TerminateInstanceOnFailure)
	c.AWS = m.keep(awsInfrastructureKeys)
	return c
}

func (m mapping) imageTestsConfiguration(key string) ImageTestsConfiguration {
	c := ImageTestsConfiguration{ImageTestsEnabled: true, TimeoutMinutes: DefaultTestTimeoutMinutes}
	if f, ok := m.at(key); ok {
		m := f.mapping("a mapping with imageTestsEnabled and timeoutMinutes", testsKeys)
		m.boolean("imageTestsEnabled", &c.ImageTestsEnabled)
		m.integer("timeoutMinutes", 60, 1440, " minutes", &c.TimeoutMinutes)
	}
	return c
}

// position finds a field's place, or that of the nearest field that holds it.
func (r *Recipe) position(field string) position {
	for {
		if p, ok := r.positions[field]; ok || field == "" {
			return p
		}
		cut := max(strings.LastIndexByte(field, '.'), strings.LastIndexByte(field, '['))
		field = field[:max(cut, 0)]
	}
}
