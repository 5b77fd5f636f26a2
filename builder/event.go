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
	// Warning has a Detail that a person should read.
	Warning EventType = "warning"
	// ComponentEvent carries an event of the component engine.
	ComponentEvent EventType = "component"
	// BuildEnded is the last one. It has Manifest, Failure or Problems.
	BuildEnded EventType = "buildEnded"
)

// Event is something that happened in a build. With --json each is one line.
type Event struct {
	Time       time.Time        `json:"time"`
	Type       EventType        `json:"type"`
	Image      string           `json:"image,omitempty"`  // NAME/VERSION/BUILD
	Folder     string           `json:"folder,omitempty"` // with BuildStarted: where the files will be
	Stage      string           `json:"stage,omitempty"`
	Test       string           `json:"test,omitempty"`
	Status     string           `json:"status,omitempty"`
	Detail     string           `json:"detail,omitempty"`
	Done       int64            `json:"done,omitempty"`
	Total      int64            `json:"total,omitempty"`
	DurationMS int64            `json:"durationMs,omitempty"`
	Cached     bool             `json:"cached,omitempty"`
	Component  *component.Event `json:"component,omitempty"`
	Failure    *Failure         `json:"failure,omitempty"`
	Manifest   *Manifest        `json:"manifest,omitempty"`
	// Problems are the mistakes of the recipe and its components.
	Problems component.Problems `json:"problems,omitempty"`
}
