package recipe

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strings"

	"github.com/ingot-image/ingot/builder/recipe/version"
)

// ParentKind says where a parent image comes from.
type ParentKind string

// The kinds of parent image.
const (
	ParentDebian  ParentKind = "debian" // made on the spot from a Debian suite
	ParentFile    ParentKind = "file"   // a local disk image
	ParentURL     ParentKind = "url"    // a disk image fetched over https, with its sha256
	ParentEarlier ParentKind = "image"  // an earlier image of the catalog
)

// ParentImage is the recipe's parentImage. Its kind follows from its spelling, the first rule that fits:
//
//	{url: https://…, sha256: HEX}        url
//	https://…#sha256=HEX                 url; the same in one string. Plain http is refused
//	ssm:…, ami-…, arn:…, prod-…          refused: they exist only in AWS
//	./a, ../a, /a, or a name that ends   file, relative to the recipe's folder
//	  in .raw .img .qcow2 .vmdk .vhd
//	NAME/x.x.x, NAME/1.0.3/2             image
//	debian-12, debian-bookworm           debian
//
// So an earlier image called debian-12 is debian-12/x.x.x, and a file called debian-12 is ./debian-12.
type ParentImage struct {
	Kind      ParentKind
	Suite     string    // debian: the suite's name, such as bookworm
	Path      string    // file: as written
	URL       string    // url: without the fragment
	SHA256    string    // url: 64 lower-case hexadecimal digits
	Reference Reference // image

	text string
}

// String gives the parent image in one line, as it could stand in a recipe; of an address without its query, which may be
// a secret.
func (p ParentImage) String() string { return p.text }

// imageExtensions are the file name extensions that make a name a file.
var imageExtensions = []string{".raw", ".img", ".qcow2", ".vmdk", ".vhd"}

// debianReleases maps the numbers of Debian's releases to the names of their suites. A suite that is not here is
// reached by its name.
var debianReleases = map[string]string{
	"10": "buster", "11": "bullseye", "12": "bookworm", "13": "trixie", "14": "forky",
}

var (
	suiteName  = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z][a-z0-9]*)*$`)
	urlScheme  = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*://`)
	sha256Hex  = regexp.MustCompile(`^[0-9a-f]{64}$`)
	onlyInAWS  = regexp.MustCompile(`^(ssm:|ami-|arn:|prod-)`)
	localPaths = regexp.MustCompile(`^(/|\.\.?/|\.\.?$)`)
)

const parentHint = "write a Debian suite (debian-12), the path of an image file (./base.qcow2), " +
	"https://…#sha256=HEX, or an earlier image (NAME/x.x.x)"

func (f field) parentImage() ParentImage {
	if f.node.Kind == mappingKind {
		m := f.mapping("a mapping with url and sha256", []string{"url", "sha256"})
		_, hasURL := m.require("url", "the https address of a disk image")
		_, hasSum := m.require("sha256", "the file's sha256 as 64 hexadecimal digits")
		var address, sum string
		m.text("url", &address)
		m.text("sha256", &sum)
		if !hasURL || !hasSum || address == "" || sum == "" {
			return ParentImage{}
		}
		urlField, _ := m.at("url")
		sumField, _ := m.at("sha256")
		return parentURL(urlField, sumField, address, sum)
	}
	s, ok := f.text()
	if !ok {
		return ParentImage{}
	}
	switch {
	case urlScheme.MatchString(s):
		address, fragment, _ := strings.Cut(s, "#")
		sum, ok := strings.CutPrefix(fragment, "sha256=")
		if !ok && strings.HasPrefix(strings.ToLower(s), "https:") {
			f.problem("the address has no sha256", "append #sha256= and the file's sha256 as 64 hexadecimal digits")
			return ParentImage{}
		}
		return parentURL(f, f, address, sum)
	case onlyInAWS.MatchString(s):
		f.problem(fmt.Sprintf("%q exists only in AWS", clip(s)), "on this machine, "+parentHint)
	case localPaths.MatchString(s), hasExtension(s, imageExtensions):
		return ParentImage{Kind: ParentFile, Path: s, text: s}
	case strings.Contains(s, "/"):
		ref, err := version.ParseReference(s)
		if err != nil {
			f.problem(err.Error(), "an earlier image is NAME/x.x.x; the path of a file begins with ./ or /")
			return ParentImage{}
		}
		return ParentImage{Kind: ParentEarlier, Reference: ref, text: ref.String()}
	case strings.HasPrefix(s, "debian-"):
		return f.debianSuite(s)
	default:
		hint := parentHint
		if near := didYouMean(s, []string{"debian-11", "debian-12", "debian-13"}); near != "" {
			hint = near
		}
		f.problem(fmt.Sprintf("%q is no parent image", clip(s)), hint)
	}
	return ParentImage{}
}

func (f field) debianSuite(s string) ParentImage {
	suite := strings.TrimPrefix(s, "debian-")
	if name, ok := debianReleases[suite]; ok {
		return ParentImage{Kind: ParentDebian, Suite: name, text: s}
	}
	if !suiteName.MatchString(suite) || len(suite) > 64 {
		f.problem(fmt.Sprintf("%q names no Debian suite that Ingot knows", clip(s)), "write its name, such as debian-bookworm, or a release's number, such as debian-12")
		return ParentImage{}
	}
	return ParentImage{Kind: ParentDebian, Suite: suite, text: s}
}

// parentURL checks an address and its sha256, each with the field its problems belong to.
func parentURL(urlField, sumField field, address, sum string) ParentImage {
	u, err := url.Parse(address)
	sum = strings.ToLower(sum)
	ok := true
	report := func(f field, message, hint string) {
		f.problem(message, hint)
		ok = false
	}
	switch {
	case err != nil:
		// the library's error repeats the address, which may hold a password
		report(urlField, "the address is not a valid URL", "")
	case u.Scheme == "http":
		report(urlField, "plain http is refused", "use https")
	case u.Scheme != "https":
		report(urlField, fmt.Sprintf("an address must begin with https://, not %s://", clip(u.Scheme)), "")
	case u.Host == "":
		report(urlField, "the address names no host", "")
	case u.User != nil:
		report(urlField, "the address holds a user name or password", "secrets do not belong in a recipe; fetch the file first and write its path")
	case u.Fragment != "":
		report(urlField, "the address has a fragment", "write only url without #…, or the whole as one string https://…#sha256=HEX")
	case !hasExtension(u.Path, imageExtensions):
		report(urlField, "the address does not tell the image's format", "its path must end in "+strings.Join(imageExtensions, ", "))
	}
	if ok && !sha256Hex.MatchString(sum) {
		report(sumField, "the sha256 is not 64 hexadecimal digits", "")
	}
	if !ok {
		return ParentImage{}
	}
	// The query is often a signature that lets its holder in.
	u.RawQuery = ""
	return ParentImage{Kind: ParentURL, URL: address, SHA256: sum, text: u.String() + "#sha256=" + sum}
}

// hasExtension reports whether a file name ends in one of the extensions, in any case.
func hasExtension(name string, extensions []string) bool {
	extension := strings.ToLower(path.Ext(name))
	for _, e := range extensions {
		if extension == e {
			return true
		}
	}
	return false
}
