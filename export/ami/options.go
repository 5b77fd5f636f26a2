package ami

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ingot-image/ingot/export/distribution"
)

// What Options' zero values mean.
const (
	DefaultPoll  = 15 * time.Second
	DefaultLimit = 6 * time.Hour // the service's for its DistributeImage step
	MaxCopies    = 50            // the service's
)

// appearLimit is how long an image that was just made may be unknown to EC2, and a permission that was just given without effect.
const appearLimit = 5 * time.Minute

// Options say what Distribute is to bring where.
type Options struct {
	SourceRegion string // where the image is
	ImageID      string
	// Sources are images with the same disk that ImageID has taken the place of: copies that were made of them are taken for copies of it.
	Sources []string
	// Distributions that name no region are other people's business.
	Distributions []distribution.Distribution
	Variables     Variables
	Tags          map[string]string // of all AMIs and their snapshots, besides the source's and amiTags
	Record        Record            // nil: none is kept
	Progress      func(Event)       // called from one goroutine at a time
	Poll          time.Duration     // between two looks at what is waited for
	Limit         time.Duration     // of one copy, and of one export
	Copies        int               // so many at a time at most
}

// Exported is where an AMI was written.
type Exported struct {
	TaskID string `json:"exportImageTaskId,omitempty"`
	Bucket string `json:"s3Bucket"`
	Key    string `json:"s3Key"`
}

// Event is something that a distribution does.
type Event struct {
	Region, AccountID, ImageID string
	Message                    string
	Percent                    int // -1 where AWS tells none
}

// Result is an AMI that there is now.
type Result struct {
	Region      string `json:"region"`
	AccountID   string `json:"accountId"`
	ImageID     string `json:"image"`
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	// Changed is what this run did for it, nothing if all was there already.
	Changed  []string  `json:"changed,omitempty"`
	Exported *Exported `json:"exported,omitempty"`
}

func (o Options) withDefaults() Options {
	o.Poll, o.Limit, o.Copies = cmp.Or(o.Poll, DefaultPoll), cmp.Or(o.Limit, DefaultLimit), cmp.Or(o.Copies, MaxCopies)
	if o.Record == nil {
		o.Record = forgetful{}
	}
	if o.Progress == nil {
		o.Progress = func(Event) {}
	}
	o.Distributions = slices.DeleteFunc(slices.Clone(o.Distributions), func(d distribution.Distribution) bool { return d.Region == "" })
	for i := range o.Distributions {
		if o.Distributions[i].AMI == nil {
			o.Distributions[i].AMI = &distribution.AMI{}
		}
	}
	return o
}

// Validate tells all that is wrong with the configuration without asking anybody, so that it is worth calling before a build. The error is joined of
// *distribution.Mistake.
func (o Options) Validate() error {
	o = o.withDefaults()
	var wrong []error
	seen := map[string]bool{}
	for _, d := range o.Distributions {
		mistake := func(field string, err error) {
			if err != nil {
				wrong = append(wrong, &distribution.Mistake{Region: d.Region, Field: field, Err: err})
			}
		}
		if seen[d.Region] {
			mistake("region", errors.New("the region is named twice"))
		}
		seen[d.Region] = true
		_, err := Name(d.AMI.Name, o.Variables)
		mistake("amiDistributionConfiguration.name", err)
		own, err := ExpandTags(d.AMI.AMITags, o.Variables)
		if err == nil {
			err = checkTags(own)
		}
		if all, _ := o.amiTags(d.AMI); err == nil && len(all) > maxTags {
			err = fmt.Errorf("with the image's own there are %d tags; a resource has at most %d", len(all), maxTags)
		}
		mistake("amiDistributionConfiguration.amiTags", err)
		if len([]rune(d.AMI.Description)) > maxDescription {
			mistake("amiDistributionConfiguration.description", fmt.Errorf("it has more than %d characters", maxDescription))
		}
		if public(d.AMI.LaunchPermission) && d.AMI.KMSKeyID != "" {
			mistake("amiDistributionConfiguration.launchPermission", errors.New("an encrypted AMI cannot be public; remove kmsKeyId or the user group all"))
		}
	}
	return errors.Join(wrong...)
}

// amiTags are the tags of a region's AMIs, but for those of the source.
func (o Options) amiTags(a *distribution.AMI) (map[string]string, error) {
	t := maps.Clone(o.Tags)
	if t == nil {
		t = map[string]string{}
	}
	own, err := ExpandTags(a.AMITags, o.Variables)
	maps.Copy(t, own)
	return t, err
}

// SourceName is the name to register an image under that will then be distributed: the one that it is to have in its region, so that it need not be copied
// there; or, where a copy is made there all the same because kmsKeyId names another key than the one that the image is encrypted with ("" for none), that
// with an addition.
func SourceName(region, key string, distributions []distribution.Distribution, v Variables) (string, error) {
	const addition = " source"
	for _, d := range distributions {
		if d.Region != region || d.AMI == nil {
			continue
		}
		name, err := Name(d.AMI.Name, v)
		if err == nil && d.AMI.KMSKeyID != "" && d.AMI.KMSKeyID != key {
			name = name[:min(len(name), maxName-len(addition))] + addition
		}
		return name, err
	}
	return Name("", v)
}
