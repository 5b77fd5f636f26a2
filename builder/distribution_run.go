package builder

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/ingot-image/ingot/builder/catalog"
	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/export"
	"github.com/ingot-image/ingot/export/account"
	"github.com/ingot-image/ingot/export/ami"
	"github.com/ingot-image/ingot/export/distribution"
	"github.com/ingot-image/ingot/export/record"
)

// distributor is one distribution under way.
type distributor struct {
	builder *Builder
	options DistributeOptions
	image   *outgoing
	work    *workspace
	tell    func(Event)

	config    sdk.Config // of the account, in the region of the import
	accountID string
	become    registered
}

// registered is what the image's AMI will be.
type registered struct{ architecture, bootMode string }

func (d *distributor) run(ctx context.Context) (*Distributed, error) {
	var telling sync.Mutex // all places tell at once, and listeners hear one event at a time
	tell := d.tell
	d.tell = func(e Event) {
		telling.Lock()
		defer telling.Unlock()
		tell(e)
	}
	var formats []string
	for _, f := range d.image.files {
		formats = append(formats, string(f.Format))
	}
	if err := deliverable(d.options.Configuration, formats); err != nil {
		return nil, err
	}
	if m := d.image.manifest; m != nil {
		d.options.Configuration = encryptedAsRoot(d.options.Configuration, m.BlockDeviceMappings)
	}
	if err := d.permit(ctx); err != nil {
		return nil, err
	}
	regions := d.options.Configuration.Regions()
	if len(regions) > 0 { // before all of an image is read
		if _, err := account.Load(ctx, account.Options{Region: regions[0]}); err != nil {
			return nil, err
		}
	}
	if err := d.verify(ctx); err != nil {
		return nil, err
	}
	if len(regions) > 0 {
		if err := d.check(ctx); err != nil {
			return nil, err
		}
	}
	return d.distribute(ctx)
}

// verify makes sure that the files are still those that were tested, and computes the digest of somebody's file.
func (d *distributor) verify(ctx context.Context) error {
	for i := range d.image.files {
		f := &d.image.files[i]
		step := "read "
		if f.SHA256 != "" {
			step = "verify "
		}
		var err error
		if f.Seen == (export.Seen{}) {
			if f.Seen, err = export.See(f.Path); err != nil {
				return err
			}
		}
		sum, size, err := disk.DigestProgress(ctx, f.Path, func(done, total int64) {
			d.tell(Event{Type: Progress, Detail: step + filepath.Base(f.Path), Done: done, Total: total, Unit: UnitBytes})
		})
		switch {
		case err != nil:
			return err
		case f.SHA256 == "":
			f.SHA256, f.Size = sum, size
		case sum != f.SHA256:
			return fmt.Errorf("%s is not what was built and tested: its SHA-256 is %s, the manifest's %s", f.Path, sum, f.SHA256)
		}
	}
	return nil
}

// distribute brings the image to all places at once. The failure of one keeps no other from being served.
func (d *distributor) distribute(ctx context.Context) (*Distributed, error) {
	book, err := record.Open(d.folder(d.image.String() + "/" + strings.TrimSuffix(d.image.files[0].SHA256[:16]+"-"+d.accountID, "-")))
	if errors.Is(err, record.ErrBusy) {
		return nil, fmt.Errorf("another process distributes %s; wait for its end, the same command then does what is missing", d.image)
	}
	if err != nil {
		return nil, err
	}
	defer book.Close()
	deliveries, err := d.deliveries(ctx, book)
	if err != nil {
		return nil, err
	}
	done := &Distributed{Image: d.image.String(), AMIs: []catalog.AMI{}}
	var all sync.WaitGroup
	var regions error
	if len(d.options.Configuration.Regions()) > 0 {
		all.Go(func() { done.AMIs, regions = d.amis(ctx, book) })
	}
	delivered, failed := make([]*export.Delivered, len(deliveries)), make([]error, len(deliveries))
	for i, deliver := range deliveries {
		all.Go(func() { delivered[i], failed[i] = deliver(ctx) })
	}
	all.Wait()
	for _, p := range delivered {
		if p != nil {
			done.Places = append(done.Places, *p)
			for _, w := range p.Warnings {
				d.tell(Event{Type: Warning, Detail: w})
			}
		}
	}
	err = errors.Join(append(failed, regions)...)
	if ctx.Err() != nil && err != nil {
		// What goes on at AWS meanwhile, and how to come back to it.
		d.tell(Event{Type: Warning, Detail: err.Error()})
		return done, context.Cause(ctx)
	}
	return done, d.failure(err)
}

// failure makes the failure of the stage of what went wrong at some of the places.
func (d *distributor) failure(err error) error {
	if err == nil {
		return nil
	}
	f := asFailure(StageDistribute, err)
	var regions *ami.DistributionError
	if errors.As(err, &regions) {
		f.DistributionFailure = regions
	}
	if f.Hint == "" {
		f.Hint = "the same again does what is missing"
	}
	return f
}

// amis makes the AMIs, and records in the catalog those that there are.
func (d *distributor) amis(ctx context.Context, book *record.Book) ([]catalog.AMI, error) {
	results, err := export.Distribute(ctx, d.exported(), d.options.Configuration, export.Options{
		Config: d.config, AccountID: d.accountID, Book: book,
		Parents: func() (*record.Book, error) { return openSoon(ctx, d.folder("parents")) },
		Temp:    func(name string) (string, error) { return d.work.path(name), nil },
		TempDir: d.work.dir,
		Event: func(e export.Event) {
			if e.Warning != nil {
				d.tell(Event{Type: Warning, Place: e.Region, Detail: e.Warning.Error()})
				return
			}
			told := Event{Type: Progress, Place: e.Region, Detail: e.Doing, Done: e.Done, Total: e.Total}
			if e.Bytes {
				told.Unit = UnitBytes
			}
			d.tell(told)
		},
	})
	var amis []catalog.AMI
	for _, r := range results {
		amis = append(amis, catalog.AMI{Region: r.Region, AccountID: r.AccountID, Image: r.ImageID, Name: r.Name, Description: r.Description, State: "available"})
	}
	if d.image.manifest != nil && len(amis) > 0 {
		err = errors.Join(err, d.record(context.WithoutCancel(ctx), amis))
	}
	return amis, err
}

// openSoon opens a record that others hold for moments only.
func openSoon(ctx context.Context, dir string) (*record.Book, error) {
	for start := time.Now(); ; {
		book, err := record.Open(dir)
		if !errors.Is(err, record.ErrBusy) || time.Since(start) > 30*time.Second {
			return book, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// folder is where the record of an image's distribution is.
func (d *distributor) folder(name string) string {
	return filepath.Join(d.builder.Home, "distributions", filepath.FromSlash(name))
}

// record adds to the catalog's AMIs of the image.
func (d *distributor) record(ctx context.Context, amis []catalog.AMI) error {
	images, err := catalog.Open(ctx, d.builder.CatalogPath())
	if err != nil {
		return err
	}
	defer images.Close()
	known, err := images.Get(ctx, d.image.String())
	if err != nil {
		return err
	}
	all := map[string]catalog.AMI{} // by region, account and id
	for _, a := range slices.Concat(known.AMIs, amis) {
		all[a.Region+" "+a.AccountID+" "+a.Image] = a
	}
	var list []catalog.AMI
	for _, key := range slices.Sorted(maps.Keys(all)) {
		list = append(list, all[key])
	}
	return images.SetAMIs(ctx, d.image.name, d.image.version, list)
}

// exported is the image as package export takes it.
func (d *distributor) exported() *export.Image {
	image := &export.Image{
		Name: d.image.name, Version: d.image.version.String(), Build: strconv.Itoa(int(d.image.version.Build)), Date: d.image.date, Files: d.image.files,
		Architecture: d.become.architecture, BootMode: d.become.bootMode, Tags: d.tags(),
	}
	if m := d.image.manifest; m != nil {
		image.BlockDevices = blockDevices(m.BlockDeviceMappings)
	}
	return image
}

// tags are those of every AMI: the recipe's, who made it, and the service's CreatedBy.
func (d *distributor) tags() map[string]string {
	tags := map[string]string{}
	if m := d.image.manifest; m != nil {
		maps.Copy(tags, m.AMITags)
	}
	tags["CreatedBy"] = "Ingot"
	tags["ingot:image"] = d.image.String()
	if d.untested() != "" {
		tags["ingot:untested"] = "true"
	}
	return tags
}

// deliveries are what brings the image's files to the places that are no regions. What a place lacks is found out now, before anything is sent anywhere.
func (d *distributor) deliveries(ctx context.Context, book *record.Book) (all []func(context.Context) (*export.Delivered, error), err error) {
	for _, p := range d.options.Configuration.Distributions {
		if p.Region != "" {
			continue
		}
		place, err := export.NewPlace(ctx, p, export.PlaceOptions{Record: book})
		if err != nil {
			return nil, err
		}
		delivery := export.Delivery{Name: d.image.name, Version: d.image.version.String(), Manifest: d.image.data, ManifestName: d.image.fileName(".json")}
		for _, f := range d.image.files {
			if len(p.Formats) == 0 || slices.Contains(p.Formats, string(f.Format)) {
				delivery.Files = append(delivery.Files, export.File{Path: f.Path, Name: d.image.fileName(f.Format.Extension()), SHA256: f.SHA256, Size: f.Size})
			}
		}
		all = append(all, func(ctx context.Context) (*export.Delivered, error) {
			return place.Deliver(ctx, delivery, func(done, total int64) {
				d.tell(Event{Type: Progress, Place: destinationName(p), Detail: "deliver", Done: done, Total: total, Unit: UnitBytes})
			})
		})
	}
	return all, nil
}

// destinationName is a place on premises as people know it.
func destinationName(p distribution.Distribution) string {
	switch {
	case p.S3 != nil:
		return "s3://" + p.S3.Bucket
	case p.HTTP != nil:
		return p.HTTP.URL
	case p.LibvirtPool != nil:
		return p.LibvirtPool.Path
	}
	return p.Folder
}

// fileName is as the builder names an image's files.
func (o *outgoing) fileName(extension string) string {
	return fmt.Sprintf("%s-%s-%d%s", o.name, o.version.WithoutBuild(), o.version.Build, extension)
}
