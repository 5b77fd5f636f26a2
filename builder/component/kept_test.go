package component

import (
	"strings"
	"testing"
)

func TestKept(t *testing.T) {
	var kept []string
	take := Kept(10, func(e Event) { kept = append(kept, string(e.Type)+":"+e.Stream+":"+e.Text) })
	for range 2 {
		take(Event{Type: StepStarted})
		for range 4 {
			take(Event{Type: Output, Stream: StreamStdout, Text: "1234\n"})
		}
		take(Event{Type: Output, Stream: StreamNotice, Text: "n"})
		take(Event{Type: StepEnded})
	}
	one := "stepStarted:: output:stdout:1234\n output:stdout:1234\n output:notice:the step has printed more than 0 KiB; the rest is not kept\n output:notice:n stepEnded::"
	if got := strings.Join(kept, " "); got != one+" "+one {
		t.Errorf("kept %q", got)
	}
}
