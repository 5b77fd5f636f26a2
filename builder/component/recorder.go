package component

import "fmt"

// Recorder builds the [ExecutionDetail] of a run out of its events, also of a run that was resumed after reboots: then it is told the
// events of all parts. The zero value is ready.
type Recorder struct {
	detail ExecutionDetail
	depth  int // of the documents whose events count; deeper ones are part of their step's detail
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
			p.Steps = append(p.Steps, *e.Detail)
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
	name := e.Component
	if name == e.Path {
		name = "" // the document has none
	}
	r.detail.Status = ""
	r.detail.Documents = append(r.detail.Documents, DocumentDetail{
		Name: name, FilePath: e.Path, Description: e.Description, StartTime: e.Time, Phases: []PhaseDetail{},
	})
}

func (r *Recorder) documentEnded(e Event) {
	d := r.document()
	if d == nil {
		return
	}
	d.Status, d.EndTime, r.detail.EndTime = e.Status, e.Time, e.Time
	if e.Status == StatusFailed && r.detail.FailureMessage == "" {
		r.detail.FailureMessage = fmt.Sprintf("Document %s failed!", e.Path)
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
