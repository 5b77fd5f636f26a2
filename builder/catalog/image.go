package catalog

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/ingot-image/ingot/builder/recipe/version"
)

// Status is an image's status, Image Builder's ImageStatus.
type Status string

// The statuses, in the order an image goes through them. The last three of the service (DEPRECATED, DELETED, DISABLED)
// belong to life cycle policies.
const (
	Pending      Status = "PENDING" // reserved, nothing done yet
	Creating     Status = "CREATING"
	Building     Status = "BUILDING"
	Testing      Status = "TESTING"
	Distributing Status = "DISTRIBUTING"
	Integrating  Status = "INTEGRATING"
	Available    Status = "AVAILABLE"
	Cancelled    Status = "CANCELLED"
	Failed       Status = "FAILED"
)

// Finished reports whether the status does not change any more.
func (s Status) Finished() bool {
	return !slices.Contains([]Status{Pending, Creating, Building, Testing, Distributing, Integrating}, s)
}

// Image is one build of an image. Get gives all of it.
type Image struct {
	Name    string          `json:"name"`
	Version version.Version `json:"version"` // with its build number, "1.0.3/2"
	Status  Status          `json:"status"`
	Reason  string          `json:"reason,omitempty"` // why, in one line, if FAILED or CANCELLED
	// Failure is the failure's details as the builder gave them (the service's failureContext), if FAILED.
	Failure      json.RawMessage `json:"failure,omitempty"`
	DateCreated  time.Time       `json:"dateCreated"`
	DateFinished time.Time       `json:"dateFinished,omitzero"`
	Record
	// AMIs that were made of the image, as SetAMIs was told.
	AMIs []AMI `json:"amis,omitempty"`
}

// AMI is an Amazon Machine Image (the service's Ami).
type AMI struct {
	Region      string `json:"region"`
	AccountID   string `json:"accountId"`
	Image       string `json:"image"` // "ami-…"
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	State       string `json:"state"` // EC2's, "available" as a rule
}

// Record holds the facts about a build that are there when it is over.
type Record struct {
	Accelerator string   `json:"accelerator,omitempty"`
	QEMUVersion string   `json:"qemuVersion,omitempty"`
	PlanDigest  string   `json:"planDigest,omitempty"` // "sha256:…"
	Inputs      []Input  `json:"inputs,omitempty"`
	Outputs     []Output `json:"outputs,omitempty"`
	Tests       []Test   `json:"tests,omitempty"`
	Stages      []Stage  `json:"stages,omitempty"`
	// Manifest is the whole manifest, NAME-VERSION-BUILD.json. It must be valid JSON or empty.
	Manifest json.RawMessage `json:"manifest,omitempty"`
}

// Input is something the image was made from.
type Input struct {
	Name   string `json:"name"`
	Digest string `json:"digest"` // "sha256:…"
}

// Output is a file of the image.
type Output struct {
	Format    string `json:"format"`
	Path      string `json:"path"`
	SHA256    string `json:"sha256"`
	SizeBytes int64  `json:"sizeBytes"`
}

// Test is one test of the finished image.
type Test struct {
	Name       string `json:"name"`
	Firmware   string `json:"firmware"`
	Disk       string `json:"disk"`
	Status     string `json:"status"`
	DurationMS int64  `json:"durationMs"`
}

// Stage is one stage of the build.
type Stage struct {
	Name       string `json:"name"`
	DurationMS int64  `json:"durationMs"`
	Cached     bool   `json:"cached"`
}
