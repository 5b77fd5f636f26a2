// Package managed holds component documents that come with Ingot. They have the names and the purposes of the components that Amazon
// manages, so that recipes which use those work; what is in them is Ingot's own.
//
//	version, data, ok := managed.Lookup("update-linux")
package managed

import (
	"embed"
	"strings"
)

//go:embed documents/*.yml
var documents embed.FS

// version is that of all documents.
const version = "1.0.0"

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
