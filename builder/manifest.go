package builder

import (
	"encoding/json"
	"time"

	"github.com/ingot-image/ingot/builder/recipe"
	"github.com/ingot-image/ingot/builder/recipe/version"
)

// Manifest says what an image is, where it came from and how it was tested. It lies beside the image's files as
// NAME-VERSION-BUILD.json and is in the catalog.
type Manifest struct {
	Name        string    `json:"name"`
	Version     string    `json:"version"` // "1.0.3/2": semantic version and build
	DateCreated time.Time `json:"dateCreated"`
	OS          string    `json:"os"` // the guest's PRETTY_NAME
	Inputs      []Input   `json:"inputs"`
	Outputs     []Output  `json:"outputs"`
	Tests       []Test    `json:"tests"`
	Stages      []Stage   `json:"stages"`
	Accelerator string    `json:"accelerator"`
	QEMUVersion string    `json:"qemuVersion"`
	Packages    []Package `json:"packages"`
	// ParentImageDate is when the base that the image was made from came to be.
	ParentImageDate time.Time `json:"parentImageDate,omitzero"`
	// BlockDeviceMappings and AMITags are the recipe's, for when the image becomes an AMI.
	BlockDeviceMappings []recipe.BlockDeviceMapping `json:"blockDeviceMappings,omitempty"`
	AMITags             map[string]string           `json:"amiTags,omitempty"`
}

// Input is something the image was made from.
type Input struct {
	Name    string          `json:"name"`
	Version version.Version `json:"version,omitzero"` // of a component that has one
	Digest  string          `json:"digest"`           // "sha256:HEX"
}

// Output is one file of the image.
type Output struct {
	Format    string `json:"format"` // one of disk.Formats
	Path      string `json:"path"`   // relative to the manifest
	SHA256    string `json:"sha256"` // HEX
	SizeBytes int64  `json:"sizeBytes"`
}

// The results a test can have.
const (
	TestPassed = "PASSED"
	TestFailed = "FAILED"
)

// Test is one boot of the finished image and what the components' test phases said in it.
type Test struct {
	Name       string   `json:"name"`
	Firmware   string   `json:"firmware"` // bios, uefi, or direct: the kernel without firmware and boot loader
	Disk       string   `json:"disk"`     // virtio, nvme
	Format     string   `json:"format"`   // which of the image's files was booted
	Status     string   `json:"status"`
	DurationMS int64    `json:"durationMs"`
	Failure    *Failure `json:"failure,omitempty"`
}

// Stage is one stage of the build.
type Stage struct {
	Name       string `json:"name"`
	DurationMS int64  `json:"durationMs"`
	Cached     bool   `json:"cached"`
}

// Package is a package installed in the image.
type Package struct {
	Name         string `json:"name"`
	Version      string `json:"version"`
	Architecture string `json:"architecture"`
}

// JSON is the manifest as it is written to its file.
func (m *Manifest) JSON() ([]byte, error) {
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(data, '\n'), nil
}
