// Package managed holds component documents that come with Ingot. They have the names and the purposes of the components that Amazon
// manages, so that recipes which use those work; what is in them is Ingot's own. ec2-readiness-linux is one that Amazon does not have: it mends what package
// preflight finds in an image.
//
//	version, data, ok := managed.Lookup("update-linux")
//
// [List] tells what there is:
//
//	for _, c := range managed.List() {
//		fmt.Println(c.Name, c.Version, c.Platform, c.Description)
//	}
package managed

import (
	"embed"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

//go:embed documents/*.yml
var documents embed.FS

// Component is a document that comes with Ingot.
type Component struct {
	// Name is that in ARNs, such as update-linux.
	Name string
	// Version is the semantic version, such as 1.0.0.
	Version string
	// Platform is [Linux] or [Windows].
	Platform string
	// Description is the document's own: what it does, in one line.
	Description string
	// Tested is whether Ingot's tests run the document in a virtual machine. The others, which need servers of a vendor or Windows, are
	// only validated.
	Tested bool
}

// Platforms of a [Component], as the service writes them (CreateComponent, platform).
const (
	Linux   = "Linux"
	Windows = "Windows"
)

// version is that of all documents.
const version = "1.0.0"

// List returns all components, sorted by name.
func List() []Component {
	names := Names()
	list := make([]Component, len(names))
	for i, name := range names {
		_, data, _ := Lookup(name)
		var document struct {
			Description string `yaml:"description"`
		}
		if err := yaml.Unmarshal(data, &document); err != nil {
			panic(fmt.Sprintf("%s: %v", name, err)) // the document is part of the program
		}
		list[i] = Component{
			Name:        name,
			Version:     version,
			Platform:    platform(name),
			Description: strings.Join(strings.Fields(document.Description), " "),
			Tested:      slices.Contains(tested(), name),
		}
	}
	return list
}

// Names returns the names of the documents, sorted.
func Names() []string {
	entries, err := documents.ReadDir("documents")
	if err != nil {
		panic(err) // the folder is part of the program
	}
	names := make([]string, len(entries))
	for i, entry := range entries {
		names[i] = strings.TrimSuffix(entry.Name(), ".yml")
	}
	slices.Sort(names)
	return names
}

// Lookup returns the version of a document, such as "1.0.0", and the document itself.
func Lookup(name string) (documentVersion string, data []byte, ok bool) {
	data, err := documents.ReadFile("documents/" + name + ".yml")
	if err != nil {
		return "", nil, false
	}
	return version, data, true
}

// platform follows the names: those of Windows say so.
func platform(name string) string {
	if strings.HasSuffix(name, "-windows") {
		return Windows
	}
	return Linux
}

// tested are the components that TestManagedComponents of the command ingot runs in a virtual machine.
func tested() []string {
	return []string{
		"apt-repository-test-linux",
		"chrony-time-configuration-test",
		"ebs-volume-usage-test-linux",
		"hello-world-linux",
		"python-3-linux",
		"reboot-linux",
		"reboot-test-linux",
		"simple-boot-test-linux",
		"update-linux",
		"validate-ssh-host-key-generation-linux",
		"validate-ssh-public-key-linux",
	}
}
