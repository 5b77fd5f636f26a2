package builder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ingot-image/ingot/builder/catalog"
	"github.com/ingot-image/ingot/builder/policy"
	"github.com/ingot-image/ingot/builder/recipe"
	"github.com/ingot-image/ingot/disk/inspect"
	"github.com/ingot-image/ingot/export"
	"github.com/ingot-image/ingot/export/account"
	"github.com/ingot-image/ingot/export/distribution"
	"github.com/ingot-image/ingot/export/preflight"
	"github.com/ingot-image/ingot/export/vmimport"
)

// untested says why the image is not one that was tested, "" if it is.
func (d *distributor) untested() string {
	switch {
	case d.image.manifest == nil:
		return "it was not built here, so that nothing is known of its tests"
	case d.image.status != catalog.Available:
		return fmt.Sprintf("its status is %s", d.image.status)
	case len(d.image.manifest.Tests) == 0:
		return "it was built without tests"
	case d.image.manifest.Tests[0].Firmware == firmwareDirect:
		return "it was put to a quick test only"
	}
	for _, t := range d.image.manifest.Tests {
		if t.Status != TestPassed {
			return fmt.Sprintf("its test %s is %s", t.Name, t.Status)
		}
	}
	return ""
}

// permit lets only those images out that were tested and are as the policy wants them.
func (d *distributor) permit(ctx context.Context) error {
	if why := d.untested(); why != "" && !d.options.AllowUntested {
		return &Failure{Stage: StageDistribute, ErrorMessage: fmt.Sprintf("%s is not distributed: %s", d.image, why),
			Hint: "--allow-untested distributes it all the same, and says so in the AMI's tags", err: errUntested}
	}
	for _, file := range []string{d.options.Configuration.Policy, d.options.Policy} {
		if file == "" {
			continue
		}
		if err := d.obey(ctx, file); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// obey lets only those images out that a policy allows to go where this one is to go.
func (d *distributor) obey(ctx context.Context, file string) error {
	p, err := recipe.ReadPolicy(ctx, file)
	if err != nil {
		return err
	}
	c := d.options.Configuration
	if len(p.AllowedAccounts) > 0 && len(c.Regions()) > 0 {
		// The user's own account is judged as well, which AWS alone knows.
		if err := d.identify(ctx); err != nil {
			return err
		}
	}
	var told []string
	for _, v := range p.Judge(d.image.facts(), destinations(c, d.accountID)) {
		told = append(told, v.String())
	}
	if len(told) > 0 {
		return &Failure{Stage: StageDistribute, ErrorMessage: fmt.Sprintf("%s is not distributed, %s forbids it:\n  %s", d.image, file, strings.Join(told, "\n  ")),
			Hint: "change the image or where it goes, or have the policy changed", err: errForbidden}
	}
	return nil
}

// facts are what a policy judges an image by: nothing but the date is known of somebody's file.
func (o *outgoing) facts() policy.Facts {
	f := policy.Facts{Now: time.Now()}
	m := o.manifest
	if m == nil {
		return f
	}
	f.ParentDate, f.Packages = m.ParentImageDate, []string{}
	for _, in := range m.Inputs[1:] {
		f.Components = append(f.Components, policy.Component{Name: in.Name, Version: in.Version})
	}
	for _, t := range m.Tests {
		f.Tests = append(f.Tests, policy.Test{Name: t.Name, Passed: t.Status == TestPassed})
	}
	for _, p := range m.Packages {
		f.Packages = append(f.Packages, p.Name)
	}
	return f
}

// destinations are the regions and accounts of a configuration; own is the user's account. Who else may launch an AMI, everybody or an organization, stands in the
// place of an account, and is none that a policy allows.
func destinations(c *distribution.Configuration, own string) []policy.Destination {
	var all []policy.Destination
	for _, d := range c.Distributions {
		if d.Region == "" {
			continue
		}
		all = append(all, policy.Destination{Region: d.Region, AccountID: own})
		if d.AMI == nil {
			continue
		}
		accounts := d.AMI.TargetAccountIDs
		if p := d.AMI.LaunchPermission; p != nil {
			accounts = slices.Concat(accounts, p.UserIDs, p.UserGroups, p.OrganizationARNs, p.OrganizationalUnitARNs)
		}
		for _, account := range accounts {
			all = append(all, policy.Destination{Region: d.Region, AccountID: account})
		}
	}
	return all
}

var (
	errUntested  = errors.New("untested")
	errForbidden = errors.New("forbidden by the policy")
)

// check looks at the image offline, and then at the account: what would fail in forty minutes fails now.
func (d *distributor) check(ctx context.Context) error {
	c := d.options.Configuration
	shared := slices.ContainsFunc(c.Distributions, func(p distribution.Distribution) bool {
		return p.AMI != nil && (p.AMI.LaunchPermission.Shared() || len(p.AMI.TargetAccountIDs) > 0)
	})
	request := preflight.Request{Path: preflight.Path(c.Import.Path), Architecture: c.Registration.Architecture, BootMode: c.Registration.BootMode, Shared: shared, Converted: true}
	d.tell(Event{Type: Progress, Detail: "check the image"})
	target, err := preflight.Open(ctx, d.image.files[0].Path, request, preflight.Options{
		Inspect: inspect.Options{Mount: d.builder.Mount}, TempDir: d.work.dir,
	})
	if err != nil {
		return err
	}
	defer target.Close()
	report, err := preflight.Run(ctx, target)
	if err != nil {
		return err
	}
	if err := d.judge(report.Findings, "the image would not come up on EC2", "ingot check "+d.options.Image+" tells all of it"); err != nil {
		return err
	}
	if d.become, err = become(c, target); err != nil {
		return err
	}
	if err := validate(c, d.exported()); err != nil {
		return err
	}
	return d.checkAccount(ctx)
}

// become decides what the AMI is registered as.
func become(c *distribution.Configuration, t *preflight.Target) (registered, error) {
	r := registered{architecture: c.Registration.Architecture, bootMode: c.Registration.BootMode}
	if t.Report == nil {
		return r, fmt.Errorf("the disk cannot be read: %w", errors.Join(t.DiskErr, t.ReportErr))
	}
	if r.architecture == "" {
		r.architecture = "x86_64"
		if s := t.Report.System; s != nil && (s.Architecture == "aarch64" || s.Architecture == "arm64") {
			r.architecture = "arm64"
		}
	}
	if r.bootMode == "" {
		r.bootMode = bootMode(t.Report.Boot.Firmware, c.Import.Path)
	}
	if r.architecture == "arm64" {
		r.bootMode = "uefi"
	}
	return r, nil
}

// bootMode is the most that a disk can: both modes where the import knows that.
func bootMode(firmware []string, path string) string {
	bios := slices.Contains(firmware, inspect.BIOS)
	uefi := slices.Contains(firmware, inspect.UEFI) || slices.Contains(firmware, inspect.UEFISecureBoot)
	switch {
	case uefi && !bios:
		return "uefi"
	case uefi && path != distribution.ImportImage:
		return "uefi-preferred"
	}
	return "legacy-bios"
}

// judge tells of the findings that failed, and fails for those that are fatal.
func (d *distributor) judge(findings []preflight.Finding, message, hint string) error {
	var fatal, unknown []string
	for _, f := range findings {
		if f.Status == preflight.Unknown && !slices.Contains(d.options.Ignore, f.ID) {
			unknown = append(unknown, f.ID)
		}
		if f.Status != preflight.Failed {
			continue
		}
		text := strings.TrimSpace(fmt.Sprintf("%s %s: %s", f.ID, f.Where, f.Seen))
		if f.Level == preflight.Fatal && !slices.Contains(d.options.Ignore, f.ID) {
			if f.Fix != "" {
				text += "; " + f.Fix
			}
			fatal = append(fatal, text)
			continue
		}
		d.tell(Event{Type: Warning, Detail: text})
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		d.tell(Event{Type: Warning, Detail: "could not be told: " + strings.Join(slices.Compact(unknown), ", ") + "; ingot check, or ingot doctor --aws, says why"})
	}
	if len(fatal) == 0 {
		return nil
	}
	return &Failure{Stage: StageDistribute, ErrorMessage: message + ":\n  " + strings.Join(fatal, "\n  "), Hint: hint, err: errUnfit}
}

var errUnfit = errors.New("the preflight failed")

// identify finds out which account the image is imported into.
func (d *distributor) identify(ctx context.Context) error {
	if d.accountID != "" {
		return nil
	}
	var err error
	if d.config, err = account.Load(ctx, account.Options{Region: d.home()}); err != nil {
		return err
	}
	who, err := account.WhoAmI(ctx, d.config)
	d.accountID = who.AccountID
	return err
}

// home is the region of the import.
func (d *distributor) home() string {
	c := d.options.Configuration
	return cmp.Or(c.Import.Region, c.Regions()[0])
}

// checkAccount looks at the account that the image goes to.
func (d *distributor) checkAccount(ctx context.Context) error {
	c, region := d.options.Configuration, d.home()
	d.tell(Event{Type: Progress, Detail: "check the account"})
	if err := d.identify(ctx); err != nil {
		return err
	}
	names, err := export.Names(d.exported(), c)
	if err != nil {
		return err
	}
	var public []string
	var keys []vmimport.CopyKey
	for _, p := range c.Distributions {
		if p.Region == "" || p.AMI == nil {
			continue
		}
		if p.AMI.LaunchPermission.Public() {
			public = append(public, p.Region)
		}
		if p.AMI.KMSKeyID != "" {
			keys = append(keys, vmimport.CopyKey{Region: p.Region, KMSKeyID: p.AMI.KMSKeyID, Shared: p.AMI.LaunchPermission.Shared()})
		}
	}
	findings, err := vmimport.Examine(ctx, d.config, vmimport.Needs{
		Path: preflight.Path(c.Import.Path), Region: region, Bucket: c.Import.Bucket, Prefix: c.Import.Prefix, RoleName: c.Import.RoleName, KMSKeyID: c.Import.KMSKeyID,
		AMINames: names, Image: d.image.String(), PublicIn: public, CopyKeys: keys,
	})
	if err != nil {
		return err
	}
	return d.judge(findings, "the account "+d.accountID+" is not ready", "ingot doctor --aws tells all of it, ingot aws setup makes the bucket and the role")
}
