package action

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/ingot-image/ingot/builder/component"
)

// maxKey is the length of the longest key of S3, in bytes (Amazon S3 User Guide, "Naming Amazon S3 objects").
const maxKey = 1024

// bucketGrammar is what buckets are called (Amazon S3 User Guide, "General purpose bucket naming rules"), with the capital letters and
// underscores of buckets from before March 2018.
var bucketGrammar = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]$`)

// parseS3 takes an address s3://BUCKET/KEY apart. The key may be empty.
func parseS3(address string) (component.S3Place, error) {
	rest, ok := strings.CutPrefix(address, "s3://")
	if !ok {
		return component.S3Place{}, errors.New("is no address of S3: it must start with s3://")
	}
	bucket, key, _ := strings.Cut(rest, "/")
	switch {
	case bucket == "":
		return component.S3Place{}, errors.New("names no bucket: an address of S3 is s3://BUCKET/KEY")
	case !bucketGrammar.MatchString(bucket):
		return component.S3Place{}, fmt.Errorf("has %q for a bucket, which cannot be a bucket's name", bucket)
	case len(key) > maxKey:
		return component.S3Place{}, fmt.Errorf("has a key of %d bytes; %d is the most", len(key), maxKey)
	case strings.ContainsRune(key, 0):
		return component.S3Place{}, errors.New("has a NUL in its key")
	}
	return component.S3Place{Bucket: bucket, Key: key}, nil
}

// s3Source is what S3Download reads: one object, or all whose keys start with a prefix that is empty or ends in a slash.
type s3Source struct {
	component.S3Place
	wildcard bool
}

func parseS3Source(address string) (s3Source, error) {
	place, err := parseS3(address)
	if err != nil {
		return s3Source{}, err
	}
	source := s3Source{S3Place: place}
	if prefix, ok := strings.CutSuffix(place.Key, "*"); ok && (prefix == "" || strings.HasSuffix(prefix, "/")) {
		source.Key, source.wildcard = prefix, true
	}
	switch {
	case strings.Contains(source.Key, "*"):
		return s3Source{}, errors.New("has a * that is not the whole last part: s3://BUCKET/PREFIX/* means all objects below a prefix")
	case !source.wildcard && source.Key == "":
		return s3Source{}, errors.New("names no object; end it with /* to mean all objects of the bucket")
	case !source.wildcard && strings.HasSuffix(source.Key, "/"):
		return s3Source{}, errors.New("ends in a slash, so it names no object; end it with /* to mean all objects below it")
	}
	return source, nil
}

var accountGrammar = regexp.MustCompile(`^[0-9]{12}$`)

func checkBucketOwner(owner string, report func(input, message, hint string)) {
	if owner != "" && !accountGrammar.MatchString(owner) {
		report("expectedBucketOwner", fmt.Sprintf("%q is no number of an account", owner), "one has 12 digits")
	}
}

// errNoS3 is the failure of S3 actions where the caller provided no [component.S3].
var errNoS3 = errors.New("S3 is not available here: whoever runs the document gave it neither credentials nor a stand-in")
