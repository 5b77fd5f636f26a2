// Package distribution holds a distribution configuration: where an image goes once it is built, tested and checked. Its names are those of
// EC2 Image Builder's API (CreateDistributionConfiguration) and of the EC2 actions behind it; what only Ingot has says so. Reading it from a file, with
// the place of every mistake, is the recipe package's business; carrying it out is package export's.
package distribution

import (
	"encoding/json"
	"slices"
)

// Configuration is a whole distribution configuration.
type Configuration struct {
	Name        string            `json:"name,omitempty"`
	Description string            `json:"description,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"` // of the configuration; they are kept
	// Distributions in the file's order. A region is named at most once.
	Distributions []Distribution `json:"distributions"`
	// Import and Registration are Ingot's own: how the image gets to AWS, and as what it is registered there.
	Import       Import       `json:"import"`
	Registration Registration `json:"registration"`
	// Policy is a file with what an image must be to be distributed at all, "" for none. It is Ingot's own.
	Policy string `json:"distributionPolicy,omitempty"`
	// Origin is where it was read from, nil for nowhere.
	Origin *Origin `json:"-"`
}

// Regions are the names of the regions among the distributions, in order.
func (c *Configuration) Regions() []string {
	var regions []string
	if c != nil {
		for _, d := range c.Distributions {
			if d.Region != "" {
				regions = append(regions, d.Region)
			}
		}
	}
	return regions
}

// Empty tells whether the image goes nowhere.
func (c *Configuration) Empty() bool { return c == nil || len(c.Distributions) == 0 }

// Distribution is one place that the image goes to: exactly one of Region, Folder, S3, HTTP and LibvirtPool is given. The service knows regions only.
type Distribution struct {
	Region string `json:"region,omitempty"`

	AMI             *AMI             `json:"amiDistributionConfiguration,omitempty"`
	LaunchTemplates []LaunchTemplate `json:"launchTemplateConfigurations,omitempty"` // at most 5
	SSMParameters   []SSMParameter   `json:"ssmParameterConfigurations,omitempty"`   // at most 10
	S3Export        *S3Export        `json:"s3ExportConfiguration,omitempty"`
	FastLaunches    []FastLaunch     `json:"fastLaunchConfigurations,omitempty"` // one for an account

	Folder      string       `json:"folder,omitempty"`      // a folder of this machine
	S3          *S3          `json:"s3,omitempty"`          // a bucket of any maker
	HTTP        *HTTP        `json:"http,omitempty"`        // PUT to a URL
	LibvirtPool *LibvirtPool `json:"libvirtPool,omitempty"` // the folder of a storage pool
	// Formats that go to a place other than a region; empty: all that the image has.
	Formats []string `json:"formats,omitempty"`
	// LicenseConfigurationARNs are License Manager's, of the region.
	LicenseConfigurationARNs []string `json:"licenseConfigurationArns,omitempty"`
	// Kept holds the keys of the service that Ingot does not carry out (containerDistributionConfiguration), as JSON values, so that a recipe moves to AWS and back.
	Kept map[string]json.RawMessage `json:"kept,omitempty"`
}

// AMI is the service's AmiDistributionConfiguration with what EC2 can do besides.
type AMI struct {
	// Name of the AMI, 3 to 128 characters, with {{ imagebuilder:buildDate }}, {{ imagebuilder:buildDate:FORMAT }} and {{ imagebuilder:buildVersion }};
	// empty: the image's name with the build's date.
	Name             string            `json:"name,omitempty"`
	Description      string            `json:"description,omitempty"`
	TargetAccountIDs []string          `json:"targetAccountIds,omitempty"` // accounts that get a copy of their own
	AMITags          map[string]string `json:"amiTags,omitempty"`          // values with the same variables
	KMSKeyID         string            `json:"kmsKeyId,omitempty"`         // the copy is encrypted with it
	LaunchPermission *LaunchPermission `json:"launchPermission,omitempty"`
	// DeprecateAfterDays and DeregistrationProtection are Ingot's own (EnableImageDeprecation, EnableImageDeregistrationProtection).
	DeprecateAfterDays       int    `json:"deprecateAfterDays,omitempty"`       // 1 to 3650; 0: never
	DeregistrationProtection string `json:"deregistrationProtection,omitempty"` // "", "enabled", "enabled-with-cooldown"
}

// LaunchPermission is the service's LaunchPermissionConfiguration: who may launch the AMI besides its owner.
type LaunchPermission struct {
	UserIDs                []string `json:"userIds,omitempty"`
	UserGroups             []string `json:"userGroups,omitempty"` // "all" makes it public
	OrganizationARNs       []string `json:"organizationArns,omitempty"`
	OrganizationalUnitARNs []string `json:"organizationalUnitArns,omitempty"`
}

// Shared tells whether anybody but the owner may launch the AMI.
func (p *LaunchPermission) Shared() bool {
	return p != nil && len(p.UserIDs)+len(p.UserGroups)+len(p.OrganizationARNs)+len(p.OrganizationalUnitARNs) > 0
}

// Public tells whether everybody may launch the AMI.
func (p *LaunchPermission) Public() bool { return p != nil && slices.Contains(p.UserGroups, "all") }

// LaunchTemplate is the service's LaunchTemplateConfiguration: it gets a new version with the AMI.
type LaunchTemplate struct {
	LaunchTemplateID  string `json:"launchTemplateId"`
	AccountID         string `json:"accountId,omitempty"`
	SetDefaultVersion bool   `json:"setDefaultVersion,omitempty"`
}

// SSMParameter is the service's SsmParameterConfiguration: its value becomes the AMI's id.
type SSMParameter struct {
	ParameterName string `json:"parameterName"`
	AMIAccountID  string `json:"amiAccountId,omitempty"` // whose AMI's id it is; empty: that of the account itself
	DataType      string `json:"dataType,omitempty"`     // text, aws:ec2:image (default)
}

// S3Export is the service's S3ExportConfiguration: ExportImage writes the AMI's disk into a bucket of the region.
type S3Export struct {
	RoleName        string `json:"roleName"`
	DiskImageFormat string `json:"diskImageFormat"` // VMDK, RAW, VHD
	S3Bucket        string `json:"s3Bucket"`
	S3Prefix        string `json:"s3Prefix,omitempty"`
}

// FastLaunch is the service's FastLaunchConfiguration, for Windows: EC2 prepares snapshots of instances that have run through their first start.
type FastLaunch struct {
	Enabled        bool                `json:"enabled"`
	AccountID      string              `json:"accountId,omitempty"` // whose AMI; empty: that of the account itself
	LaunchTemplate *FastLaunchTemplate `json:"launchTemplate,omitempty"`
	// MaxParallelLaunches is how many instances prepare snapshots at a time, at least 6; 0: 6.
	MaxParallelLaunches int `json:"maxParallelLaunches,omitempty"`
	// TargetResourceCount is the service's snapshotConfiguration.targetResourceCount: how many snapshots are kept; 0: 5.
	TargetResourceCount int `json:"targetResourceCount,omitempty"`
}

// FastLaunchTemplate is the service's FastLaunchLaunchTemplateSpecification: what those instances are launched by. Its id or its name is given.
type FastLaunchTemplate struct {
	LaunchTemplateID      string `json:"launchTemplateId,omitempty"`
	LaunchTemplateName    string `json:"launchTemplateName,omitempty"`
	LaunchTemplateVersion string `json:"launchTemplateVersion,omitempty"` // default $Default
}

// S3 is a bucket of any maker. Its endpoint, if it is not Amazon's, comes from the SDK's settings or from Endpoint; credentials always come from
// the SDK's settings.
type S3 struct {
	Bucket   string `json:"bucket"`
	Prefix   string `json:"prefix,omitempty"`
	Region   string `json:"region,omitempty"`
	Endpoint string `json:"endpoint,omitempty"` // URL
	Profile  string `json:"profile,omitempty"`  // of the shared configuration
}

// HTTP is a folder of a web server that takes PUT.
type HTTP struct {
	URL string `json:"url"` // of the folder
	// HeaderEnv names environment variables by the header that each one's value is sent as, so that no secret is in the file.
	HeaderEnv map[string]string `json:"headerEnv,omitempty"`
}

// LibvirtPool is a storage pool of type dir: its folder gets the qcow2 or raw file, and libvirt is told if virsh is there.
type LibvirtPool struct {
	Path string `json:"path"`
	Name string `json:"name,omitempty"` // the pool's, to refresh it
}

// The ways an image gets to AWS.
const (
	ImportSnapshot = "import-snapshot" // upload to S3, ImportSnapshot, RegisterImage: the default
	EBSDirect      = "ebs-direct"      // StartSnapshot, PutSnapshotBlock, CompleteSnapshot, RegisterImage
	ImportImage    = "import-image"    // upload to S3, ImportImage
)

// Paths lists them, the default first.
func Paths() []string { return []string{ImportSnapshot, EBSDirect, ImportImage} }

// Import says how the image gets to AWS.
type Import struct {
	Path     string `json:"path,omitempty"`     // one of Paths; empty: ImportSnapshot. Files that name a licence and no path are read as ImportImage
	Region   string `json:"region,omitempty"`   // where it is imported; empty: the first distribution's
	Bucket   string `json:"bucket,omitempty"`   // for ImportSnapshot and ImportImage, in that region
	Prefix   string `json:"prefix,omitempty"`   // of the temporary objects' keys; default "ingot/"
	RoleName string `json:"roleName,omitempty"` // default vmimport
	KMSKeyID string `json:"kmsKeyId,omitempty"` // the snapshot is encrypted with it
	Encrypt  bool   `json:"encrypted,omitempty"`
	// WriteZeros is EBSDirect's: blocks of zeros are written too, where the snapshot is not encrypted. Into one that is they always are.
	WriteZeros bool `json:"writeZeros,omitempty"`
	// LicenseType, UsageOperation and Platform are ImportImage's.
	LicenseType    string `json:"licenseType,omitempty"` // AWS, BYOL
	UsageOperation string `json:"usageOperation,omitempty"`
	Platform       string `json:"platform,omitempty"` // Linux, Windows
}

// Registration is what RegisterImage is told (ec2 RegisterImage).
type Registration struct {
	Architecture   string `json:"architecture,omitempty"`   // x86_64, arm64; empty: the disk's
	BootMode       string `json:"bootMode,omitempty"`       // legacy-bios, uefi, uefi-preferred; empty: what the disk can
	RootDeviceName string `json:"rootDeviceName,omitempty"` // default /dev/xvda
	ENASupport     *bool  `json:"enaSupport,omitempty"`     // default true
	IMDSSupport    string `json:"imdsSupport,omitempty"`    // v2.0 (default), or "none"
	TPMSupport     string `json:"tpmSupport,omitempty"`     // v2.0; needs uefi
	UEFIData       string `json:"uefiData,omitempty"`       // path of a file with base64, relative to the configuration's
}
