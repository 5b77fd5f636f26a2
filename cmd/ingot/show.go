package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"

	"github.com/spf13/cobra"

	"github.com/ingot-image/ingot/builder"
)

// show is how a build is shown.
type show struct {
	verbose, asJSON bool
	timings         bool // in files
	watch           bool
}

func (s *show) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVarP(&s.verbose, "verbose", "v", false, "show what the guest's commands print")
	flags.BoolVar(&s.asJSON, "json", false, "print one event a line, as JSON")
	flags.BoolVar(&s.timings, "timings", false, "write where the time went, as NAME-VERSION-BUILD.timings.json and as a trace, .trace.json")
	flags.BoolVar(&s.watch, "watch", false, "build again whenever an input changes, until Ctrl-C")
}

// build builds once.
func (s *show) build(ctx context.Context, cmd *cobra.Command, b *builder.Builder, o builder.Options) error {
	var t timing
	var err error
	if s.asJSON {
		events := json.NewEncoder(cmd.OutOrStdout())
		b.Events = func(e builder.Event) { t.event(e); events.Encode(e) }
		_, err = b.Build(ctx, o)
	} else {
		p := newProgress(os.Stderr, s.verbose)
		b.Events = func(e builder.Event) { t.event(e); p.event(e) }
		var m *builder.Manifest
		m, err = b.Build(ctx, o)
		p.close()
		if context.Cause(ctx) == errInputsChanged {
			return err // the next build tells
		}
		t.print(os.Stderr)
		if err == nil {
			err = printFinished(cmd, m, p.output)
		}
	}
	if s.timings {
		err = errors.Join(err, t.write())
	}
	return err
}
