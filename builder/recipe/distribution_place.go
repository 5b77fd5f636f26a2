package recipe

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/export/distribution"
)

// The keys of one distribution: the service's, those it has that mean nothing here, and Ingot's own.
var (
	regionKeys = []string{"amiDistributionConfiguration", "launchTemplateConfigurations", "ssmParameterConfigurations", "s3ExportConfiguration", "fastLaunchConfigurations",
		"licenseConfigurationArns"}
	keptRegionKeys = []string{"containerDistributionConfiguration"}
	placeKinds     = []string{"region", "folder", "s3", "http", "libvirtPool"}
	amiKeys        = []string{"name", "description", "targetAccountIds", "amiTags", "kmsKeyId", "launchPermission", "deprecateAfterDays", "deregistrationProtection"}
	permissionKeys = []string{"userIds", "userGroups", "organizationArns", "organizationalUnitArns"}
)

var (
	accountID      = regexp.MustCompile(`^[0-9]{12}$`)
	launchTemplate = regexp.MustCompile(`^lt-[a-z0-9_-]{8,}$`)
	parameterName  = regexp.MustCompile(`^[A-Za-z0-9_./-]{1,1000}$`)
	organization   = regexp.MustCompile(`^arn:aws[a-z-]*:organizations::[0-9]{12}:organization/o-[a-z0-9]{10,32}$`)
	unit           = regexp.MustCompile(`^arn:aws[a-z-]*:organizations::[0-9]{12}:ou/o-[a-z0-9]{10,32}/ou-[0-9a-z]{4,32}-[0-9a-z]{8,32}$`)
	license        = regexp.MustCompile(`^arn:aws[^:]*:license-manager:[^:]+:[0-9]{12}:license-configuration:lic-[a-z0-9_-]{32}$`)
	userGroup      = regexp.MustCompile(`^all$`)
	bucketName     = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	// What an AMI's name may have, variables put aside (ec2 RegisterImage, Name).
	amiName   = regexp.MustCompile(`^[A-Za-z0-9 ()\[\]./'@_-]*$`)
	variables = regexp.MustCompile(`\{\{\s*imagebuilder:(buildDate(:[A-Za-z .:/_-]+)?|buildVersion)\s*\}\}`)
)

// place reads one entry of distributions: a region or another place.
func (f field) place() distribution.Distribution {
	var d distribution.Distribution
	m := f.mapping("a mapping with region", slices.Concat(placeKinds, regionKeys, keptRegionKeys, []string{"formats"}))
	kind := ""
	for _, k := range placeKinds {
		if _, ok := m.at(k); ok && kind != "" {
			m.fields[k].problem(fmt.Sprintf("there is %s already", kind), "an entry is one place; make another one of it")
		} else if ok {
			kind = k
		}
	}
	if kind == "" {
		if f.node.Kind == mappingKind && len(m.meant) == 0 {
			f.problem("names no place", "it needs one of "+strings.Join(placeKinds, ", "))
		}
		return d
	}
	if kind != "region" {
		for _, key := range slices.Concat(regionKeys, keptRegionKeys) {
			if f, ok := m.at(key); ok {
				f.problem("belongs to a region", "move it to an entry with region, or remove it")
			}
		}
		if f, ok := m.at("formats"); ok {
			for _, item := range f.list("a list of formats", 16) {
				if format, ok := word(item, disk.Formats()); ok {
					d.Formats = append(d.Formats, string(format))
				}
			}
		}
	} else if f, ok := m.at("formats"); ok {
		f.problem("an AMI has no formats", "remove it")
	}
	switch kind {
	case "region":
		d.Region = m.fields["region"].pattern(regionName, "a region such as eu-west-1")
		m.region(&d)
	case "folder":
		m.text("folder", &d.Folder)
	case "s3":
		d.S3 = m.fields["s3"].bucket()
	case "http":
		d.HTTP = m.fields["http"].webFolder()
	case "libvirtPool":
		d.LibvirtPool = &distribution.LibvirtPool{}
		p := m.fields["libvirtPool"].mapping("a mapping with path", []string{"path", "name"})
		p.require("path", "the folder of the storage pool, such as /var/lib/libvirt/images")
		p.text("path", &d.LibvirtPool.Path)
		p.text("name", &d.LibvirtPool.Name)
	}
	return d
}

func (m mapping) region(d *distribution.Distribution) {
	if f, ok := m.at("amiDistributionConfiguration"); ok {
		d.AMI = f.ami()
	}
	if f, ok := m.at("launchTemplateConfigurations"); ok {
		for _, item := range f.list("a list of launch templates", maxLaunchTemplates) {
			var t distribution.LaunchTemplate
			m := item.mapping("a mapping with launchTemplateId", []string{"launchTemplateId", "accountId", "setDefaultVersion"})
			if f, ok := m.require("launchTemplateId", ""); ok {
				t.LaunchTemplateID = f.pattern(launchTemplate, "the id of a launch template, lt-…")
			}
			if f, ok := m.at("accountId"); ok {
				t.AccountID = f.account()
			}
			m.boolean("setDefaultVersion", &t.SetDefaultVersion)
			d.LaunchTemplates = append(d.LaunchTemplates, t)
		}
	}
	if f, ok := m.at("ssmParameterConfigurations"); ok {
		for _, item := range f.list("a list of parameters", maxSSMParameters) {
			p := distribution.SSMParameter{DataType: "aws:ec2:image"}
			m := item.mapping("a mapping with parameterName", []string{"parameterName", "amiAccountId", "dataType"})
			if f, ok := m.require("parameterName", "such as /golden/web"); ok {
				p.ParameterName = f.pattern(parameterName, "the name of a parameter: letters, digits and _ . / -")
			}
			if f, ok := m.at("amiAccountId"); ok {
				p.AMIAccountID = f.account()
			}
			if f, ok := m.at("dataType"); ok {
				p.DataType, _ = word(f, []string{"aws:ec2:image", "text"})
			}
			d.SSMParameters = append(d.SSMParameters, p)
		}
	}
	if f, ok := m.at("s3ExportConfiguration"); ok {
		e := &distribution.S3Export{}
		m := f.mapping("a mapping with roleName, diskImageFormat and s3Bucket", []string{"roleName", "diskImageFormat", "s3Bucket", "s3Prefix"})
		m.require("roleName", "the role that VM Import/Export takes on, usually vmimport")
		m.text("roleName", &e.RoleName)
		if f, ok := m.require("diskImageFormat", "VMDK, RAW or VHD"); ok {
			e.DiskImageFormat, _ = word(f, []string{"VMDK", "RAW", "VHD"})
		}
		if f, ok := m.require("s3Bucket", "a bucket of the region"); ok {
			e.S3Bucket = f.pattern(bucketName, "the name of a bucket")
		}
		m.text("s3Prefix", &e.S3Prefix)
		d.S3Export = e
	}
	if f, ok := m.at("fastLaunchConfigurations"); ok {
		accounts := map[string]bool{}
		for _, item := range f.list("a list of fast launches", maxAccounts) {
			l := item.fastLaunch()
			if accounts[l.AccountID] {
				item.problem("there is one for this account already", "put both into one entry")
			}
			accounts[l.AccountID] = true
			d.FastLaunches = append(d.FastLaunches, l)
		}
	}
	if f, ok := m.at("licenseConfigurationArns"); ok {
		d.LicenseConfigurationARNs = f.patterns(license, "the ARN of a license configuration", maxLicenses)
		for _, arn := range d.LicenseConfigurationARNs {
			if d.Region != "" && !strings.Contains(arn, ":"+d.Region+":") {
				f.problem(clip(arn)+" is of another region", "name one of "+d.Region)
			}
		}
	}
	d.Kept = m.keep(keptRegionKeys)
}

// fastLaunch reads the service's FastLaunchConfiguration. The numbers' bounds are EC2's (EnableFastLaunch) and the service's.
func (f field) fastLaunch() distribution.FastLaunch {
	var l distribution.FastLaunch
	m := f.mapping("a mapping with enabled", []string{"enabled", "accountId", "launchTemplate", "maxParallelLaunches", "snapshotConfiguration"})
	m.require("enabled", "true or false")
	m.boolean("enabled", &l.Enabled)
	if f, ok := m.at("accountId"); ok {
		l.AccountID = f.account()
	}
	m.integer("maxParallelLaunches", 6, 10000, " launches", &l.MaxParallelLaunches)
	if f, ok := m.at("snapshotConfiguration"); ok {
		f.mapping("a mapping with targetResourceCount", []string{"targetResourceCount"}).integer("targetResourceCount", 1, 10000, " snapshots", &l.TargetResourceCount)
	}
	if f, ok := m.at("launchTemplate"); ok {
		t := &distribution.FastLaunchTemplate{}
		m := f.mapping("a mapping with launchTemplateId or launchTemplateName", []string{"launchTemplateId", "launchTemplateName", "launchTemplateVersion"})
		if f, ok := m.at("launchTemplateId"); ok {
			t.LaunchTemplateID = f.pattern(launchTemplate, "the id of a launch template, lt-…")
		}
		m.text("launchTemplateName", &t.LaunchTemplateName)
		if f, ok := m.at("launchTemplateVersion"); ok {
			t.LaunchTemplateVersion, _ = f.literal(32)
		}
		_, id := m.at("launchTemplateId")
		if _, name := m.at("launchTemplateName"); id == name {
			f.problem("needs launchTemplateId or launchTemplateName, one of them", "")
		}
		l.LaunchTemplate = t
	}
	return l
}

func (f field) ami() *distribution.AMI {
	a := &distribution.AMI{}
	m := f.mapping("a mapping with name", amiKeys)
	if f, ok := m.at("name"); ok {
		if s, ok := f.text(); ok {
			a.Name = s
			f.checkAMIName(s)
		}
	}
	m.text("description", &a.Description)
	if f, ok := m.at("description"); ok && utf8.RuneCountInString(a.Description) > 255 {
		f.problem("is longer than 255 characters", "")
	}
	if f, ok := m.at("targetAccountIds"); ok {
		a.TargetAccountIDs = f.accounts()
	}
	if f, ok := m.at("amiTags"); ok {
		a.AMITags = f.tags()
		for key := range a.AMITags {
			if strings.HasPrefix(strings.ToLower(key), "aws:") {
				f.problem(fmt.Sprintf("the tag %s begins with aws:, which is AWS's own", clip(key)), "name it otherwise")
			}
		}
	}
	m.text("kmsKeyId", &a.KMSKeyID)
	if f, ok := m.at("launchPermission"); ok {
		p := &distribution.LaunchPermission{}
		m := f.mapping("a mapping with userIds", permissionKeys)
		if f, ok := m.at("userIds"); ok {
			p.UserIDs = f.accounts()
		}
		if f, ok := m.at("userGroups"); ok {
			p.UserGroups = f.patterns(userGroup, `"all", the only group there is`, 1)
		}
		if f, ok := m.at("organizationArns"); ok {
			p.OrganizationARNs = f.patterns(organization, "the ARN of an organization", 25)
		}
		if f, ok := m.at("organizationalUnitArns"); ok {
			p.OrganizationalUnitARNs = f.patterns(unit, "the ARN of an organizational unit", 25)
		}
		if len(p.UserGroups) > 0 && a.KMSKeyID != "" {
			f.problem("an encrypted AMI cannot be public", "remove userGroups or kmsKeyId")
		}
		a.LaunchPermission = p
	}
	m.integer("deprecateAfterDays", 1, 3650, " days", &a.DeprecateAfterDays)
	if f, ok := m.at("deregistrationProtection"); ok {
		a.DeregistrationProtection, _ = word(f, []string{"enabled", "enabled-with-cooldown"})
	}
	return a
}

// checkAMIName reports what EC2 would refuse, whatever the variables come to.
func (f field) checkAMIName(name string) {
	rest := variables.ReplaceAllString(name, "")
	switch {
	case strings.Contains(rest, "{{"):
		f.problem(fmt.Sprintf("%q has a variable that there is not", clip(name)), "there are {{ imagebuilder:buildDate }}, {{ imagebuilder:buildDate:yyyyMMddHHmmss }} and {{ imagebuilder:buildVersion }}")
	case !amiName.MatchString(rest):
		f.problem(fmt.Sprintf("%q has characters that an AMI's name may not have", clip(name)), "letters, digits, spaces and ( ) [ ] . / - ' @ _ are allowed")
	case len(rest) > 128 || rest == name && len(name) < 3:
		f.problem(fmt.Sprintf("has %d characters; an AMI's name has 3 to 128", len(rest)), "")
	}
}

func (f field) accounts() []string {
	var all []string
	for _, item := range f.list("a list of account ids", maxAccounts) {
		id := item.account()
		if id != "" && slices.Contains(all, id) {
			item.problem(id+" is given twice", "remove one of them")
		} else if id != "" {
			all = append(all, id)
		}
	}
	return all
}

// account gives an account's id, written in quotes or, as people do, without: that YAML takes for a number, which loses leading zeros.
func (f field) account() string {
	s, ok := f.literal(32)
	if !ok {
		return ""
	}
	if !accountID.MatchString(s) {
		f.problem(fmt.Sprintf("%q is not an account's id, which has 12 digits", clip(s)), "put it in quotes if it begins with a zero")
		return ""
	}
	return s
}

func (f field) bucket() *distribution.S3 {
	s := &distribution.S3{}
	m := f.mapping("a mapping with bucket", []string{"bucket", "prefix", "region", "endpoint", "profile"})
	if f, ok := m.require("bucket", ""); ok {
		s.Bucket = f.pattern(bucketName, "the name of a bucket")
	}
	for key, to := range map[string]*string{"prefix": &s.Prefix, "region": &s.Region, "profile": &s.Profile} {
		m.text(key, to)
	}
	if f, ok := m.at("endpoint"); ok {
		s.Endpoint = f.url()
	}
	return s
}

func (f field) webFolder() *distribution.HTTP {
	h := &distribution.HTTP{}
	m := f.mapping("a mapping with url", []string{"url", "headerEnv"})
	if f, ok := m.require("url", "the URL of a folder that takes PUT"); ok {
		h.URL = f.url()
	}
	if f, ok := m.at("headerEnv"); ok {
		h.HeaderEnv = f.tags()
	}
	return h
}

// url gives an http or https URL without a password in it.
func (f field) url() string {
	s, ok := f.text()
	if !ok {
		return ""
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		f.problem("is not an http or https URL", "")
		return ""
	case u.User != nil:
		f.problem("has a user name or password in it", "secrets do not belong in this file; see headerEnv")
		return ""
	}
	return s
}
