package component

import "fmt"

// Kept is for those who keep events: it gives a function that passes every event on to keep, but of the output of an attempt of a step no
// more than limit bytes (0 is [DefaultOutputLimit]) and then a notice. What is only looked at as it comes needs no such bound.
//
//	runner.OutputLimit = -1
//	log := component.Kept(0, folder.Event)
//	runner.Events = func(e component.Event) { log(e); show(e) }
func Kept(limit int64, keep func(Event)) func(Event) {
	if limit == 0 {
		limit = DefaultOutputLimit
	}
	var kept int64
	var cut bool
	return func(e Event) {
		switch {
		case e.Type == StepStarted:
			kept, cut = 0, false
		case e.Type == Output && e.Stream != StreamNotice:
			if cut {
				return
			}
			if kept += int64(len(e.Text)); kept > limit {
				cut = true
				e.Stream, e.Text = StreamNotice, fmt.Sprintf("the step has printed more than %s; the rest is not kept\n", size(limit))
			}
		}
		keep(e)
	}
}
