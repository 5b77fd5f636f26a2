package ec2sim

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// amiImage is an AMI: what moto keeps of one, its tags excepted, is next to nothing.
type amiImage struct {
	place
	id, name, description string
	state                 string // pending, available, failed
	stateReason           string
	architecture          string
	bootMode              string
	tpm, imds             string
	uefiData              string
	virtualization        string
	rootDevice            string
	platform              string // windows, or empty
	usageOperation        string
	ena                   bool
	devices               []device
	created               time.Time
	hidden                time.Time // DescribeImages does not know it before this
	deprecation           time.Time // zero: never
	protection            string    // disabled, enabled, enabled-with-cooldown
	permissions           []permission
	source                string // the image that it is a copy of
	sourceRegion          string
	licenses              []string    // ARNs of license configurations
	fast                  *fastLaunch // nil: it has none
}

// device is a block device mapping.
type device struct {
	name, virtual string
	none          bool
	snapshot      string
	sizeGiB       int64
	kind          string
	iops          int64
	throughput    int64
	keep          bool // DeleteOnTermination is false
	encrypted     bool
	kmsKey        string
}

// permission is one member of launchPermission: kind is its element's name.
type permission struct{ kind, value string }

// launchable tells whether an account may use an image. What organizations there are nobody knows here.
func (i *amiImage) launchable(account string) bool {
	return i.account == account || slices.Contains(i.permissions, permission{"userId", account}) || i.public()
}

func (i *amiImage) public() bool { return slices.Contains(i.permissions, permission{"group", "all"}) }

// image finds one that the account of the call may change.
func (s *Server) image(c *call, id string) (*amiImage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch i := s.images[id]; {
	case !strings.HasPrefix(id, "ami-"):
		return nil, refuse("InvalidAMIID.Malformed", `Invalid id: "%s" (expecting "ami-...")`, id)
	case i == nil || i.region != c.Region || time.Now().Before(i.hidden):
		return nil, unknownImage(id)
	case i.account != c.Account && i.launchable(c.Account):
		return nil, refuse("AuthFailure", "Not authorized for image:%s", id)
	case i.account != c.Account:
		return nil, unknownImage(id)
	default:
		return i, nil
	}
}

func unknownImage(id string) *fault {
	return refuse("InvalidAMIID.NotFound", "The image id '[%s]' does not exist", id)
}

func (s *Server) describeImages(c *call) ([]element, error) {
	tags, err := s.tagged(c.place())
	if err != nil {
		return nil, err
	}
	ids, owners, users := c.form.list("ImageId"), c.form.list("Owner"), c.form.list("ExecutableBy")
	s.mu.Lock()
	defer s.mu.Unlock()
	var known []*amiImage
	for _, i := range s.images {
		if i.region == c.Region && i.launchable(c.Account) && !time.Now().Before(i.hidden) {
			known = append(known, i)
		}
	}
	for _, id := range ids {
		if !slices.ContainsFunc(known, func(i *amiImage) bool { return i.id == id }) {
			return nil, unknownImage(id)
		}
	}
	slices.SortFunc(known, func(a, b *amiImage) int { return cmp.Or(a.created.Compare(b.created), cmp.Compare(a.id, b.id)) })
	var items [][]element
	for _, i := range known {
		var own map[string]string
		if i.account == c.Account {
			own = tags[i.id]
		}
		item := i.item(own)
		fits, err := filter(c.form.subs("Filter"), item, imageFilters)
		if err != nil {
			return nil, err
		}
		deprecated := i.account != c.Account && !i.deprecation.IsZero() && i.deprecation.Before(time.Now()) && !c.form.flag("IncludeDeprecated")
		if fits && !deprecated && (len(ids) == 0 || slices.Contains(ids, i.id)) && ownedBy(owners, i.account, c.Account) && executableBy(i, users, c.Account) {
			items = append(items, item)
		}
	}
	return page(c, "imagesSet", items)
}

// executableBy tells whether one of the users has a permission of its own.
func executableBy(i *amiImage, users []string, self string) bool {
	return len(users) == 0 || slices.ContainsFunc(users, func(user string) bool {
		if user == "self" {
			user = self
		}
		return user == "all" && i.public() || slices.Contains(i.permissions, permission{"userId", user})
	})
}

func (i *amiImage) item(tags map[string]string) []element {
	owner, platform := i.account, "Linux/UNIX"
	if i.platform == "windows" {
		platform = "Windows"
	}
	item := []element{text("imageId", i.id), text("imageLocation", owner+"/"+i.name), text("imageState", i.state), text("imageOwnerId", owner),
		text("creationDate", stamp(i.created)), flag("isPublic", i.public()), text("architecture", i.architecture), text("imageType", "machine"),
		text("platform", i.platform), text("platformDetails", platform), text("usageOperation", cmp.Or(i.usageOperation, "RunInstances")),
		text("name", i.name), text("description", i.description), text("rootDeviceType", "ebs"), text("rootDeviceName", i.rootDevice),
		list("blockDeviceMapping", items(i.devices, device.item)...), text("virtualizationType", i.virtualization), text("hypervisor", "xen"),
		flag("enaSupport", i.ena), text("bootMode", i.bootMode), text("tpmSupport", i.tpm), text("imdsSupport", i.imds),
		text("sourceImageId", i.source), text("sourceImageRegion", i.sourceRegion), text("deregistrationProtection", i.protection), tagSet(tags)}
	if i.stateReason != "" {
		item = append(item, el("stateReason", text("code", "Client.InternalError"), text("message", i.stateReason)))
	}
	if !i.deprecation.IsZero() {
		item = append(item, text("deprecationTime", stamp(i.deprecation)))
	}
	return item
}

func items[T any](list []T, item func(T) []element) (elements [][]element) {
	for _, member := range list {
		elements = append(elements, item(member))
	}
	return elements
}

func (d device) item() []element {
	switch {
	case d.none:
		return []element{text("deviceName", d.name), list("noDevice")}
	case d.virtual != "":
		return []element{text("deviceName", d.name), text("virtualName", d.virtual)}
	}
	ebs := el("ebs", flag("deleteOnTermination", !d.keep), text("snapshotId", d.snapshot), number("volumeSize", d.sizeGiB), text("volumeType", d.kind),
		flag("encrypted", d.encrypted), text("kmsKeyId", d.kmsKey))
	if d.iops > 0 {
		ebs.children = append(ebs.children, number("iops", d.iops))
	}
	if d.throughput > 0 {
		ebs.children = append(ebs.children, number("throughput", d.throughput))
	}
	return []element{text("deviceName", d.name), ebs}
}

func (s *Server) deregisterImage(c *call) ([]element, error) {
	i, err := s.image(c, c.form.get("ImageId"))
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	protected := i.protection != "disabled"
	if !protected {
		delete(s.images, i.id)
	}
	s.mu.Unlock()
	if protected {
		return nil, refuse("OperationNotPermitted", "The image %s is protected from deregistration", i.id)
	}
	if c.form.flag("DeleteAssociatedSnapshots") {
		for _, d := range i.devices {
			s.blocks(i.place).Delete(d.snapshot)
		}
	}
	return []element{flag("return", true)}, nil
}
