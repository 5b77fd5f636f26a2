package recipe

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"

	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/recipe/version"
)

// Plan is what a build of a recipe does, with every input pinned: wildcards resolved, defaults filled in, documents
// read and their digests taken. It is plain data: it prints as JSON (ingot plan --json), compares with reflect.DeepEqual
// or by Digest, and nothing in it changes when files change later.
//
// The values of parameters are in it in plain text, but of secret ones only the names are in its JSON and its Digest.
type Plan struct {
	Name        string `json:"name"` // as written in the recipe; see ResourceName
	Description string `json:"description,omitempty"`
	// SemanticVersion is the recipe's, perhaps with x.
	SemanticVersion Pattern `json:"semanticVersion"`
	// Version is what a build started now would get. Only the catalog assigns it for good, when the build starts.
	Version Version `json:"version"`

	ParentImage PlannedParentImage `json:"parentImage"`
	// Components in the order they run. Never null in JSON.
	Components []PlannedComponent `json:"components"`

	// VolumeSize is the root volume's size in GiB, 0 for that of the parent image. It is in BlockDeviceMappings too,
	// among what is kept for AWS.
	VolumeSize                      int                             `json:"volumeSize,omitempty"`
	BlockDeviceMappings             []BlockDeviceMapping            `json:"blockDeviceMappings,omitempty"`
	WorkingDirectory                string                          `json:"workingDirectory"`
	AdditionalInstanceConfiguration AdditionalInstanceConfiguration `json:"additionalInstanceConfiguration,omitzero"`
	AMITags                         map[string]string               `json:"amiTags,omitempty"`
	AMIWatermarks                   []string                        `json:"amiWatermarks,omitempty"`
	Tags                            map[string]string               `json:"tags,omitempty"`

	Infrastructure InfrastructureConfiguration `json:"infrastructureConfiguration"`
	Tests          ImageTestsConfiguration     `json:"imageTestsConfiguration"`
	Distribution   Distribution                `json:"distribution"`
}

// PlannedComponent is a component document as it will run.
type PlannedComponent struct {
	// Name is the component's resource name: the managed or local component's, or the file's without its extension.
	Name string `json:"name"`
	// Version is that of a managed or local component; the zero version for a file named by its path.
	Version Version `json:"version,omitzero"`
	// Path is the document's file, or managed:NAME/VERSION.
	Path string `json:"path"`
	// Digest is that of Content, "sha256:" and 64 hexadecimal digits.
	Digest string `json:"digest"`
	// Phases are the names of the document's phases, in its order.
	Phases []string `json:"phases"`
	// Parameters are the values the recipe gives, but for secret ones; the document's defaults are not among them.
	Parameters map[string]string `json:"parameters,omitempty"`
	// SecretParameters are the names of the parameters whose values the recipe marks secret, in its order.
	SecretParameters []string `json:"secretParameters,omitempty"`
	// Content is the document itself, exactly as read.
	Content []byte `json:"-"`

	secrets map[string]string // the values of SecretParameters
}

// give adds the value of a parameter.
func (c *PlannedComponent) give(p ComponentParameter) {
	to := &c.Parameters
	if p.Secret {
		to = &c.secrets
		c.SecretParameters = append(c.SecretParameters, p.Name)
	}
	if *to == nil {
		*to = map[string]string{}
	}
	(*to)[p.Name] = p.Value
}

// values are those of all parameters.
func (c *PlannedComponent) values() map[string]string {
	if len(c.secrets) == 0 {
		return c.Parameters
	}
	all := maps.Clone(c.secrets)
	maps.Copy(all, c.Parameters)
	return all
}

// PlannedParentImage is the parent image, as exactly as it can be told before the base is made or fetched.
type PlannedParentImage struct {
	Kind ParentKind `json:"kind"`
	// Name is the parent image as in the recipe, but an earlier image with its version resolved: web-server/1.0.3/2.
	Name    string  `json:"name"`
	Suite   string  `json:"suite,omitempty"`     // debian
	Version Version `json:"version,omitzero"`    // image
	Path    string  `json:"path,omitempty"`      // file, image: the disk image's file
	URL     string  `json:"-"`                   // url; its query may be a secret, so that plans name the parent by Name only
	Digest  string  `json:"digest,omitempty"`    // "sha256:…"; empty where it is not known yet, as for a base not yet made
	Size    int64   `json:"sizeBytes,omitempty"` // the disk's virtual size in bytes, 0 if unknown
}

// Input is one pinned input of a plan.
type Input struct {
	Name   string `json:"name"`
	Digest string `json:"digest"`
}

// ResourceName is the name in file names and in the catalog: lower case, - for spaces.
func (p *Plan) ResourceName() string { return version.ResourceName(p.Name) }

// Inputs lists the parent image and the component documents with their digests.
func (p *Plan) Inputs() []Input {
	inputs := []Input{{Name: p.ParentImage.Name, Digest: p.ParentImage.Digest}}
	for _, c := range p.Components {
		inputs = append(inputs, Input{Name: c.Path, Digest: c.Digest})
	}
	return inputs
}

// Documents gives the components as package component runs them, those that have at least one of the phases.
func (p *Plan) Documents(phases ...string) []component.RunDocument {
	documents := []component.RunDocument{}
	for _, c := range p.Components {
		if slices.ContainsFunc(c.Phases, func(phase string) bool { return slices.Contains(phases, phase) }) {
			documents = append(documents, component.RunDocument{
				Name: c.Name, Path: c.Path, Content: c.Content, Parameters: c.values(), SecretParameters: c.SecretParameters,
			})
		}
	}
	return documents
}

// Digest identifies what the plan does, as "sha256:" and 64 hexadecimal digits: two plans with the same digest have the
// same inputs, by content, and do the same with them. What only says where things are or what the result is called
// (paths, the output folder, the version that comes next) is left out, and so are the values of secret parameters: from the
// digest of a short one it could be found by trying.
func (p *Plan) Digest() string {
	c := *p
	c.Version = Version{}
	c.Distribution.Folder, c.Distribution.Configuration = "", nil
	c.ParentImage.Path = ""
	if c.ParentImage.Kind == ParentFile {
		c.ParentImage.Name = ""
	}
	c.Components = slices.Clone(p.Components)
	for i := range c.Components {
		c.Components[i].Path = ""
	}
	data, err := json.Marshal(&c)
	if err != nil {
		panic(err) // strings, numbers and JSON values only; those were checked when they were read
	}
	return digest(data)
}

// digest is the sha256 of data in the form used everywhere: "sha256:" and 64 hexadecimal digits.
func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}
