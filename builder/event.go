package builder

import (
	"time"

	"github.com/ingot-image/ingot/builder/component"
)

// The stages of a build, in their order.
const (
	StageResolve    = "resolve"
	StageBase       = "base"
	StageBoot       = "boot"
	StageApply      = "apply"
	StageFinalise   = "finalise"
	StageFlatten    = "flatten"
	StageTest       = "test"
	StageDistribute = "distribute"
)

// EventType tells what an Event is about.
type EventType string

const (
	// BuildStarted has the image's name, version and build number in Image.
	BuildStarted EventType = "buildStarted"
	StageStarted EventType = "stageStarted"
	// StageEnded has DurationMS and Cached; a stage that failed has Failure.
	StageEnded EventType = "stageEnded"
	// Progress has Done and Total, in bytes or steps, or only a Detail.
	Progress EventType = "progress"
	// TestStarted and TestEnded bracket one test VM, named in Test.
	TestStarted EventType = "testStarted"
	TestEnded   EventType = "testEnded"
	// ImageReused says that the image of exactly these inputs is there already, in Image and Folder.
	ImageReused EventType = "imageReused"
	// LayerUsed tells in Layer where the build goes on from, instead of booting and running what is in it.
	LayerUsed EventType = "layerUsed"
	// LayerSaved tells of a layer that was saved; DurationMS is how long the guest stood still for it.
	LayerSaved EventType = "layerSaved"
	// Warning has a Detail that a person should read.
	Warning EventType = "warning"
	// ComponentEvent carries an event of the component engine.
	ComponentEvent EventType = "component"
	// BuildEnded is the last one. It has Manifest, Failure or Problems.
	BuildEnded EventType = "buildEnded"
)

// UnitBytes is Event.Unit of what is counted in bytes.
const UnitBytes = "bytes"

// Event is something that happened in a build. With --json each is one line.
type Event struct {
	Time       time.Time        `json:"time"`
	Type       EventType        `json:"type"`
	Image      string           `json:"image,omitempty"`  // NAME/VERSION/BUILD
	Folder     string           `json:"folder,omitempty"` // with BuildStarted: where the files will be
	Stage      string           `json:"stage,omitempty"`
	Test       string           `json:"test,omitempty"`
	Place      string           `json:"place,omitempty"` // of a distribution: a region, or a place on premises
	Status     string           `json:"status,omitempty"`
	Detail     string           `json:"detail,omitempty"`
	Done       int64            `json:"done,omitempty"`
	Total      int64            `json:"total,omitempty"`
	Unit       string           `json:"unit,omitempty"` // of Done and Total: bytes, or nothing
	DurationMS int64            `json:"durationMs,omitempty"`
	Cached     bool             `json:"cached,omitempty"`
	Component  *component.Event `json:"component,omitempty"`
	Failure    *Failure         `json:"failure,omitempty"`
	Manifest   *Manifest        `json:"manifest,omitempty"`
	Layer      *LayerEvent      `json:"layer,omitempty"`
	// Problems are the mistakes of the recipe and its components.
	Problems component.Problems `json:"problems,omitempty"`
}

// LayerEvent is about a saved state of the guest.
type LayerEvent struct {
	ID string `json:"id"`
	// Components are those that are wholly in it, by name, in their order; Component and Step name what it ends with, empty for a layer
	// that is nothing but the booted base.
	Components []string `json:"components"`
	Component  string   `json:"component,omitempty"`
	Step       string   `json:"step,omitempty"`
	// SavesMS is what the boot and the steps in it took when they ran.
	SavesMS int64 `json:"savesMs"`
	// Memory tells that the guest goes on where it was; else it boots from the layer's disk, for the reason in Why.
	Memory bool   `json:"memory"`
	Why    string `json:"why,omitempty"`
	// SizeBytes is what the layer alone takes on the disk.
	SizeBytes int64 `json:"sizeBytes,omitempty"`
}
