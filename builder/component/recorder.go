package component

import "fmt"

// Recorder builds the [ExecutionDetail] of a run out of its events, also of a run that was resumed after reboots: then it is told the
// events of all parts. The zero value is ready.
type Recorder struct {
	detail ExecutionDetail
	depth  int  // of the documents whose events count; deeper ones are part of their step's detail
	left   *int // how much may still be kept, in bytes; nil means maxRecorded
}

// Bounds of details, in bytes. What is over loses its inputs, outputs and nested documents; when even the rest has no room, it is left out.
const (
	maxRecorded      = 64 << 20 // of a run
	maxNestedDetails = 4 << 20  // of the documents inside of one step
	stepDetailSize   = 512      // of a step without those
)

// spend takes the size of a detail from what is left.
func (r *Recorder) spend(bytes int) bool {
	if r.left == nil {
		left := maxRecorded
		r.left = &left
	}
	if *r.left < bytes {
		return false
	}
	*r.left -= bytes
	return true
}

func (d *StepDetail) size() int {
	total := len(d.Inputs) + len(d.Outputs)
	for _, e := range d.DetailedOutput {
		total += stepDetailSize
		for _, document := range e.Documents {
			for _, phase := range document.Phases {
				for _, step := range phase.Steps {
					total += stepDetailSize + step.size()
				}
			}
		}
	}
	return total
}

func (r *Recorder) step(p *PhaseDetail, detail StepDetail) {
	if !r.spend(stepDetailSize) {
		return
	}
	if !r.spend(detail.size()) {
		detail.Inputs, detail.Outputs, detail.DetailedOutput = "[]", "[]", nil
	}
	p.Steps = append(p.Steps, detail)
}

// Event takes the next event of the run.
func (r *Recorder) Event(e Event) {
	if e.Depth != r.depth {
		return
	}
	switch e.Type {
	case DocumentStarted:
		r.documentStarted(e)
	case PhaseStarted:
		if d := r.document(); d != nil {
			d.Phases = append(d.Phases, PhaseDetail{Name: e.Phase, StartTime: e.Time, Steps: []StepDetail{}})
		}
	case StepEnded:
		if p := r.phase(); p != nil && e.Detail != nil {
			r.step(p, *e.Detail)
			if e.Status == StatusFailed && p.FailureMessage == "" {
				p.FailureMessage = fmt.Sprintf("Step %s failed!", e.Step)
			}
		}
	case PhaseEnded:
		if p := r.phase(); p != nil {
			p.Status, p.EndTime = e.Status, e.Time
			if d := r.document(); e.Status == StatusFailed && d.FailureMessage == "" {
				d.FailureMessage = fmt.Sprintf("Phase %s failed!", e.Phase)
			}
		}
	case DocumentEnded:
		r.documentEnded(e)
	}
}

func (r *Recorder) documentStarted(e Event) {
	if len(r.detail.Documents) == 0 {
		r.detail.ExecutionID, r.detail.StartTime = e.ExecutionID, e.Time
	}
	r.detail.Status = ""
	r.detail.Documents = append(r.detail.Documents, DocumentDetail{
		Name: e.Name, FilePath: e.Path, Description: e.Description, StartTime: e.Time, Phases: []PhaseDetail{},
	})
}

func (r *Recorder) documentEnded(e Event) {
	d := r.document()
	if d == nil {
		return
	}
	d.Status, d.EndTime, r.detail.EndTime = e.Status, e.Time, e.Time
	if e.Status == StatusFailed && r.detail.FailureMessage == "" {
		r.detail.FailureMessage = fmt.Sprintf("Document %s failed!", d.FilePath)
	}
	r.detail.Status = StatusSuccess
	if r.detail.FailureMessage != "" {
		r.detail.Status = StatusFailed
	}
}

// document returns the document that runs, phase its phase.
func (r *Recorder) document() *DocumentDetail {
	if len(r.detail.Documents) == 0 {
		return nil
	}
	return &r.detail.Documents[len(r.detail.Documents)-1]
}

func (r *Recorder) phase() *PhaseDetail {
	d := r.document()
	if d == nil || len(d.Phases) == 0 {
		return nil
	}
	return &d.Phases[len(d.Phases)-1]
}

// Detail returns what is known so far. While a document runs, its status and that of the run are empty.
func (r *Recorder) Detail() ExecutionDetail {
	detail := r.detail
	if detail.Documents == nil {
		detail.Status, detail.Documents = StatusSuccess, []DocumentDetail{}
	}
	return detail
}
