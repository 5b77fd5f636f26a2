package main

import (
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ingot-image/ingot/builder"
)

// cacheFlags say which layers of earlier builds a build may go on from.
type cacheFlags struct {
	maxAge  time.Duration
	noCache []string
	noSave  bool
}

// defaultMaxAge is how old a layer may be: what was fetched from the network is at most from yesterday.
const defaultMaxAge = 24 * time.Hour

func (f *cacheFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.DurationVar(&f.maxAge, "max-age", defaultMaxAge, "use no layer in which a component ran longer ago; 0 is no bound")
	flags.StringSliceVar(&f.noCache, "no-cache", nil, "use no layers; with =COMPONENT, run that component and all after it")
	flags.Lookup("no-cache").NoOptDefVal = builder.AllComponents
	flags.BoolVar(&f.noSave, "no-save", false, "save no layers")
}

// apply puts the flags into a build's options.
func (f *cacheFlags) apply(o *builder.Options) error {
	if f.maxAge < 0 {
		return usageError{errors.New("--max-age: must not be negative")}
	}
	o.MaxAge, o.NoSave = f.maxAge, f.noSave
	for _, name := range f.noCache {
		if name = strings.TrimSpace(name); name == "" {
			return usageError{errors.New("--no-cache=: name a component, or give no =")}
		}
		o.NoCache = append(o.NoCache, name)
	}
	return nil
}
