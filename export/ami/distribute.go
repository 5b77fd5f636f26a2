package ami

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ingot-image/ingot/export/distribution"
)

// attempts is how often the SDK sends a request that is throttled, or fails on the server or on the way.
const attempts = 8

// site is a region of an account.
type site struct {
	region, account string
	own             bool // the account is the user's own
	config          sdk.Config
	ec2             *ec2.Client
}

// key is a key of the record for this site.
func (s site) key(name string) string { return "ami/" + s.region + "/" + s.account + "/" + name }

// job is a distribution under way.
type job struct {
	Options
	clients Clients
	waiting waiting
	source  types.Image
	slots   chan struct{} // of copies

	mu       sync.Mutex
	results  []*Result
	failures []RegionFailure
}

// Distribute brings an AMI to all regions and accounts of its distributions, at the same time, and gives it there what the distributions say. What is there
// already is left as it is. The results are the AMIs that there are now, in the order of the distributions; the error is a *DistributionError if some
// regions failed, and says otherwise why nothing was begun.
func Distribute(ctx context.Context, clients Clients, o Options) ([]Result, error) {
	o = o.withDefaults()
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("distribute %s: %w", o.ImageID, err)
	}
	j := &job{Options: o, clients: clients, waiting: waiting{poll: o.Poll, limit: o.Limit, appear: min(appearLimit, o.Limit)},
		slots: make(chan struct{}, o.Copies)}
	at, err := j.site(ctx, o.SourceRegion, "")
	if err != nil {
		return nil, fmt.Errorf("distribute %s: %w", o.ImageID, err)
	}
	source, err := j.waiting.available(ctx, at.ec2, o.ImageID, func(percent int) { j.tell(at, o.ImageID, percent, "waiting until it is available") })
	if err != nil {
		return nil, fmt.Errorf("distribute %s: %w", o.ImageID, err)
	}
	j.source = *source
	var regions sync.WaitGroup
	for _, d := range o.Distributions {
		regions.Go(func() { j.region(ctx, d) })
	}
	regions.Wait()
	return j.sorted(), distributionError(j.failures, len(o.Distributions))
}

// sorted gives results and failures the order of the distributions, the own account's first in each.
func (j *job) sorted() []Result {
	order := map[string]int{}
	for i, d := range j.Distributions {
		order[d.Region+"/"+j.owner()] = i * 1000
		for n, a := range d.AMI.TargetAccountIDs {
			order[d.Region+"/"+a] = i*1000 + n + 1
		}
	}
	slices.SortStableFunc(j.failures, func(a, b RegionFailure) int { return order[a.Region+"/"+a.AccountID] - order[b.Region+"/"+b.AccountID] })
	slices.SortStableFunc(j.results, func(a, b *Result) int { return order[a.Region+"/"+a.AccountID] - order[b.Region+"/"+b.AccountID] })
	var results []Result
	for _, r := range j.results {
		results = append(results, *r)
	}
	return results
}

// inherited are the tags of the source that its copies get too: not those that it has for its own region, from an earlier run.
func (j *job) inherited() (map[string]string, error) {
	t := userTags(j.source.Tags)
	for _, d := range j.Distributions {
		if d.Region != j.SourceRegion {
			continue
		}
		own, err := ExpandTags(d.AMI.AMITags, j.Variables)
		if err != nil {
			return nil, err
		}
		maps.DeleteFunc(t, func(key, value string) bool {
			v, is := own[key]
			return is && v == value
		})
	}
	return t, nil
}

// owner is the user's own account.
func (j *job) owner() string { return sdk.ToString(j.source.OwnerId) }

// site is a region of an account; an empty one is the user's own.
func (j *job) site(ctx context.Context, region, account string) (site, error) {
	s := site{region: region, account: account, own: account == "" || account == j.owner()}
	if s.own {
		s.account, account = j.owner(), ""
	}
	var err error
	if s.config, err = j.clients.Config(ctx, region, account); err != nil {
		return s, err
	}
	s.ec2 = ec2.NewFromConfig(s.config, func(o *ec2.Options) { o.RetryMaxAttempts = attempts })
	return s, nil
}

func (j *job) tell(s site, image string, percent int, format string, arguments ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.Progress(Event{Region: s.region, AccountID: s.account, ImageID: image, Percent: percent, Message: fmt.Sprintf(format, arguments...)})
}

// fail notes a failure; no error is none.
func (j *job) fail(ctx context.Context, s site, step string, err error) {
	if err == nil {
		return
	}
	f := failure(ctx, s, step, err)
	j.tell(s, "", -1, "failed: %s", f.ErrorMessage)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.failures = append(j.failures, f)
}

// made is an AMI of a site with what was done for it.
type made struct {
	site
	image  types.Image
	result *Result
}

// changed notes that something was done for the AMI.
func (j *job) changed(m *made, format string, arguments ...any) {
	text := fmt.Sprintf(format, arguments...)
	j.mu.Lock()
	m.result.Changed = append(m.result.Changed, text)
	j.mu.Unlock()
	j.tell(m.site, sdk.ToString(m.image.ImageId), -1, "%s", text)
}

// region does all for one region: the own account's AMI first, since the other accounts copy that one, then theirs, then what names AMIs.
func (j *job) region(ctx context.Context, d distribution.Distribution) {
	at, err := j.site(ctx, d.Region, "")
	if err != nil {
		j.fail(ctx, at, "", err)
		return
	}
	own, err := j.image(ctx, at, d, nil)
	if err != nil {
		j.fail(ctx, at, "", err)
		return
	}
	var (
		there  = map[string]*made{own.account: own}
		mu     sync.Mutex
		others sync.WaitGroup
	)
	for _, account := range d.AMI.TargetAccountIDs {
		if account == own.account {
			continue
		}
		others.Go(func() {
			at, err := j.site(ctx, d.Region, account)
			if err == nil {
				var m *made
				if m, err = j.image(ctx, at, d, own); err == nil {
					mu.Lock()
					there[account] = m
					mu.Unlock()
				}
			}
			j.fail(ctx, at, "", err)
		})
	}
	others.Wait()
	j.licenses(ctx, d, there)
	j.launchTemplates(ctx, d, own, there)
	j.parameters(ctx, d, own, there)
	j.fastLaunches(ctx, d, own, there)
	j.export(ctx, d, own)
}

// image makes sure that a site has its AMI, with all that belongs to the AMI itself. Other accounts copy the one of the own account.
func (j *job) image(ctx context.Context, at site, d distribution.Distribution, own *made) (*made, error) {
	name, err := Name(d.AMI.Name, j.Variables)
	if err != nil {
		return nil, err
	}
	want, err := j.amiTags(d.AMI)
	if err != nil {
		return nil, err
	}
	inherited, err := j.inherited()
	if err != nil {
		return nil, err
	}
	m := &made{site: at, result: &Result{Region: at.region, AccountID: at.account, Name: name}}
	c := copying{name: name, description: d.AMI.Description, key: d.AMI.KMSKeyID, permission: d.AMI.LaunchPermission, tags: want, inherited: inherited,
		source: j.source, region: j.SourceRegion, sources: append(slices.Clone(j.Sources), j.ImageID)}
	if own != nil {
		c.source, c.region, c.lender = own.image, own.region, own
		c.inherited, c.sources = userTags(own.image.Tags), []string{sdk.ToString(own.image.ImageId)}
	}
	stays, err := j.stays(ctx, at, c)
	if err != nil {
		return nil, err
	}
	if stays {
		m.image = c.source
	} else if err := j.copy(ctx, m, c); err != nil {
		return nil, err
	}
	m.result.ImageID, m.result.Name, m.result.Description = sdk.ToString(m.image.ImageId), sdk.ToString(m.image.Name), sdk.ToString(m.image.Description)
	j.mu.Lock()
	j.results = append(j.results, m.result)
	j.mu.Unlock()
	return m, j.attributes(ctx, m, d.AMI, c.tagsWithSource())
}
