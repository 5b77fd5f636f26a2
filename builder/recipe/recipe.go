package recipe

import (
	"encoding/json"
	"slices"

	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/recipe/version"
	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/export/distribution"
)

// Version, Pattern and Reference are the types of package version, under the names recipes are spoken of with.
type (
	Version   = version.Version
	Pattern   = version.Pattern
	Reference = version.Reference
)

// Recipe is a recipe file as it was read: the image recipe's own keys (CreateImageRecipe, by the service's names) and
// the three local parts. Defaults are filled in; nothing is resolved yet.
type Recipe struct {
	// File is the file's name as given to Parse; relative paths in the recipe are relative to its folder.
	File string

	Name            string
	Description     string
	SemanticVersion Pattern // exact or with x; never with a build number
	ParentImage     ParentImage
	// Components in the order they run, at most MaxComponents.
	Components                      []ComponentConfiguration
	BlockDeviceMappings             []BlockDeviceMapping
	WorkingDirectory                string // absolute path in the guest, default /tmp
	AdditionalInstanceConfiguration AdditionalInstanceConfiguration
	AMITags                         map[string]string
	AMIWatermarks                   []string
	Tags                            map[string]string

	InfrastructureConfiguration InfrastructureConfiguration
	ImageTestsConfiguration     ImageTestsConfiguration
	Distribution                Distribution

	positions map[string]position // of fields, such as "components[1].componentArn"
	problems  component.Problems
}

// position is where a field stands in the file, both from 1.
type position struct{ line, column int }

// MaxComponents is how many components a recipe may have (the service's quota).
const MaxComponents = 20

// ComponentConfiguration is one entry of components.
type ComponentConfiguration struct {
	ComponentARN ComponentReference
	Parameters   []ComponentParameter

	incomplete bool // some parameters could not be read
}

// ComponentParameter is a parameter's value for one component. The service writes the value as a list with exactly
// one string; a plain string means the same.
type ComponentParameter struct {
	Name  string
	Value string
	// Secret keeps the value out of plans, logs and everything else that is kept of a build. It is Ingot's own key.
	Secret bool

	field string
}

// BlockDeviceMapping is one disk of the instance (the service's InstanceBlockDeviceMapping). Only the root device's
// volume size has a meaning in a build; other volumes are there, and empty, when the image is rehearsed. The rest is kept for AWS.
type BlockDeviceMapping struct {
	DeviceName  string `json:"deviceName,omitempty"`
	VirtualName string `json:"virtualName,omitempty"`
	NoDevice    string `json:"noDevice,omitempty"`
	EBS         *EBS   `json:"ebs,omitempty"`
}

// EBS is the service's EbsInstanceBlockDeviceSpecification.
type EBS struct {
	VolumeSize          int    `json:"volumeSize,omitempty"` // GiB, 1 to 16000
	VolumeType          string `json:"volumeType,omitempty"`
	IOPS                int    `json:"iops,omitempty"`       // 100 to 64000
	Throughput          int    `json:"throughput,omitempty"` // MiB/s, 125 to 1000
	Encrypted           *bool  `json:"encrypted,omitempty"`
	DeleteOnTermination *bool  `json:"deleteOnTermination,omitempty"`
	KMSKeyID            string `json:"kmsKeyId,omitempty"`
	SnapshotID          string `json:"snapshotId,omitempty"`
}

// rootDevices are the names that mean the disk the system starts from: those of EC2's images, and those the same
// disk has in a local VM.
var rootDevices = []string{"/dev/xvda", "/dev/sda1", "/dev/sda", "/dev/vda", "/dev/nvme0n1"}

// Root tells whether it is the disk that the system starts from.
func (b BlockDeviceMapping) Root() bool { return slices.Contains(rootDevices, b.DeviceName) }

// AdditionalInstanceConfiguration is the service's structure of that name, kept for AWS.
type AdditionalInstanceConfiguration struct {
	SystemsManagerAgent *SystemsManagerAgent `json:"systemsManagerAgent,omitempty"`
	UserDataOverride    string               `json:"userDataOverride,omitempty"` // base64
}

// SystemsManagerAgent says whether the SSM agent is removed from the image.
type SystemsManagerAgent struct {
	UninstallAfterBuild bool `json:"uninstallAfterBuild"`
}

// InfrastructureConfiguration is the machine that builds and tests. The first fields are Ingot's own and describe the
// local VM; terminateInstanceOnFailure is the service's and has a meaning here too.
type InfrastructureConfiguration struct {
	VCPUs       int         `json:"vcpus"`       // 1 to 64; default DefaultVCPUs, or fewer if the machine cannot run as many at once
	MemoryMiB   int         `json:"memory"`      // MiB; default DefaultMemoryMiB
	Accelerator Accelerator `json:"accelerator"` // default auto
	// TerminateInstanceOnFailure false keeps the VM of a failed build. Default true.
	TerminateInstanceOnFailure bool `json:"terminateInstanceOnFailure"`
	// AWS holds the service's other keys as JSON values, by key. They have no meaning on this machine and are kept, so
	// that a recipe moves to AWS and back.
	AWS map[string]json.RawMessage `json:"aws,omitempty"`
}

// Accelerator is what QEMU runs the guest's code with.
type Accelerator string

// The accelerators a recipe can ask for.
const (
	AcceleratorAuto Accelerator = "auto" // KVM where it works, else TCG
	AcceleratorKVM  Accelerator = "kvm"
	AcceleratorTCG  Accelerator = "tcg"
)

// Accelerators lists every Accelerator, the default first.
func Accelerators() []Accelerator {
	return []Accelerator{AcceleratorAuto, AcceleratorKVM, AcceleratorTCG}
}

// The defaults of infrastructureConfiguration and imageTestsConfiguration. 2 GiB is what the smallest usual instance
// types have; a Debian guest needs a quarter of it, package managers and compilers in components need the rest.
const (
	DefaultVCPUs              = 2
	DefaultMemoryMiB          = 2048
	DefaultTestTimeoutMinutes = 720
	DefaultWorkingDirectory   = "/tmp"
)

// ImageTestsConfiguration says whether and for how long the finished image is tested. TimeoutMinutes bounds the whole
// test stage.
type ImageTestsConfiguration struct {
	ImageTestsEnabled bool `json:"imageTestsEnabled"` // default true
	TimeoutMinutes    int  `json:"timeoutMinutes"`    // 60 to 1440; default 720, the service's
}

// Distribution says which files come out, and where.
type Distribution struct {
	// Formats without repetition, in the recipe's order. Default raw.
	Formats []Format `json:"formats"`
	// Options of the formats that some were given for.
	Options map[Format]disk.Options `json:"options,omitempty"`
	// Folder is the output folder, "" if the recipe names none. In a Recipe it is as written; in a Plan it is joined to
	// the recipe's folder.
	Folder string `json:"folder,omitempty"`
	// Configuration says where the image goes beside that folder, nil if nowhere: the service's distribution configuration.
	Configuration *distribution.Configuration `json:"configuration,omitempty"`
}

// Format is a disk image format that an image can be written in: one of disk.Formats.
type Format = disk.Format

// Problem makes a problem of a field of the recipe with its line and column, for mistakes that only show later, such
// as a parent image that turns out to be damaged. A field that is not in the file gets the position of the nearest
// one that holds it.
func (r *Recipe) Problem(field, message, hint string) component.Problem {
	p := r.position(field)
	return component.Problem{File: r.File, Line: p.line, Column: p.column, Field: field, Message: message, Hint: hint}
}
