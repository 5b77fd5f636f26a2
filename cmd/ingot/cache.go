package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/ingot-image/ingot/builder/config"
	"github.com/ingot-image/ingot/builder/layer"
)

func newCache() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "List the saved layers that builds go on from, remove or verify them",
		Long: `Cache lists the layers: states of guests that builds have saved, after each component and within long ones,
so that the next build goes on from the last one that still fits. A layer stands on the one above it in the list.

SAVES is the time that a build is spared which goes on from the layer: the boot, and all steps so far. SIZE is what it
takes on the disk, of which MEMORY is what can be removed without losing the layer: it then boots from its disk.

The layers keep a budget (cache.maxSize in config.yaml under $INGOT_HOME; default: a tenth of the free disk, at least
10 GiB). What was used least recently goes first; what a build uses just now stays.`,
		Example: `  ingot cache
  ingot cache --json
  ingot cache prune --older-than 7d
  ingot cache verify`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			store, err := openCache()
			if err != nil {
				return err
			}
			list := cacheList{Layers: []layer.Info{}}
			if store != nil {
				if list.Layers, err = store.List(); err == nil {
					list.Usage, err = store.Usage()
				}
			}
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), list)
			}
			return list.print(cmd.OutOrStdout(), time.Now())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.AddCommand(newCachePrune(), newCacheVerify())
	return cmd
}

// openCache opens the store of layers, nil if there never was one: to look makes no files.
func openCache() (*layer.Store, error) {
	b, err := newBuilder()
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(b.Home, "layers")); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return b.Layers()
}

func newCachePrune() *cobra.Command {
	var o layer.PruneOptions
	var olderThan, toSize string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Remove layers, those that were used least recently first",
		Long: `Prune removes layers. Without a flag it removes what is beyond the budget, and what killed builds have left behind,
which builds do, too. A layer that others stand on loses its memory first, and goes when those have gone.
What a build uses now is not removed, nor are disks that a kept VM stands on.`,
		Example: `  ingot cache prune
  ingot cache prune --older-than 7d
  ingot cache prune --to-size 5GiB
  ingot cache prune --all`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.All && (olderThan != "" || toSize != "") {
				return usageError{errors.New("--all removes everything; leave the other flags out")}
			}
			var err error
			if olderThan != "" {
				if o.OlderThan, err = parseAge(olderThan); err != nil {
					return usageError{fmt.Errorf("--older-than: %w", err)}
				}
			}
			if toSize != "" {
				if o.ToSize, err = config.ParseSize(toSize); err == nil && o.ToSize == 0 {
					err = errors.New("to remove everything, give --all")
				}
				if err != nil {
					return usageError{fmt.Errorf("--to-size: %w", err)}
				}
			}
			store, err := openCache()
			if err != nil {
				return err
			}
			var freed layer.Freed
			if store != nil {
				if freed, err = store.Prune(cmd.Context(), o); err != nil {
					return err
				}
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), freed)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), describeFreed(freed))
			return err
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&o.All, "all", false, "remove all layers, and what is remembered of finished images")
	flags.StringVar(&olderThan, "older-than", "", "remove what no build went on from for so long, such as 12h or 7d")
	flags.StringVar(&toSize, "to-size", "", "remove as much as needed to take no more than this, such as 5GiB")
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RegisterFlagCompletionFunc("older-than", cobra.FixedCompletions([]cobra.Completion{"1d", "7d", "30d"}, cobra.ShellCompDirectiveNoFileComp))
	cmd.RegisterFlagCompletionFunc("to-size", cobra.FixedCompletions([]cobra.Completion{"1GiB", "5GiB", "10GiB", "20GiB"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func describeFreed(f layer.Freed) string {
	var what []string
	if f.Layers > 0 {
		what = append(what, counted(f.Layers, "layer"))
	}
	if f.Memories > 0 {
		what = append(what, "the memory of "+counted(f.Memories, "layer"))
	}
	switch {
	case len(what) > 0:
		return fmt.Sprintf("removed %s, %s", strings.Join(what, " and "), size(f.Bytes))
	case f.Bytes > 0:
		return fmt.Sprintf("removed leftovers, %s", size(f.Bytes))
	}
	return "nothing to remove"
}

func newCacheVerify() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Read every file of every layer and compare it with its hash",
		Long: `Verify reads all layers and drops what is damaged, with all layers that stand on it. Where only a memory is
damaged, the layer stays and boots from its disk. Builds verify what they use in the same way, but do not
read again what they have read since the machine was started.

Exit status: 0 all is as it was saved; 1 something was damaged and was dropped; 2 a mistake in the flags.`,
		Example: `  ingot cache verify
  ingot cache verify --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			store, err := openCache()
			if err != nil {
				return err
			}
			found := []layer.Damage{}
			var layers []layer.Info
			if store != nil {
				if layers, err = store.List(); err != nil {
					return err
				}
				damages, err := store.VerifyAll(cmd.Context(), verifyProgress())
				if err != nil {
					return err
				}
				found = append(found, damages...)
			}
			out := cmd.OutOrStdout()
			if asJSON {
				err = printJSON(out, struct {
					Layers  int            `json:"layers"`
					Damages []layer.Damage `json:"damages"`
				}{len(layers), found})
			} else {
				for _, d := range found {
					fmt.Fprintln(out, printable(d.String()))
				}
				_, err = fmt.Fprintf(out, "%s verified, %s found\n", counted(len(layers), "layer"), counted(len(found), "damage"))
			}
			if err == nil && len(found) > 0 {
				return exitStatus(exitFailed)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// verifyProgress shows how far the reading is, on a terminal.
func verifyProgress() func(done, total int64) {
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return nil
	}
	var last time.Time
	return func(done, total int64) {
		if done < total && time.Since(last) < 100*time.Millisecond {
			return
		}
		last = time.Now()
		text := fmt.Sprintf("reading %s of %s", size(done), size(total))
		if done == total {
			text = ""
		}
		fmt.Fprintf(os.Stderr, "\r\033[K%s", text)
	}
}

// cacheList is what ingot cache prints as JSON.
type cacheList struct {
	layer.Usage
	Layers []layer.Info `json:"layers"` // each after the one that it stands on
}

func (c cacheList) print(w io.Writer, now time.Time) error {
	if len(c.Layers) == 0 {
		_, err := fmt.Fprintln(w, "no layer is saved; builds save them")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "LAYER\tID\tSAVES\tSIZE\tMEMORY\tAGE\tUSED\t")
	lead := c.leads()
	for i, l := range c.Layers {
		name := strings.Join(nonEmpty(l.Component, l.Step), " › ")
		if name == "" {
			name = strings.Join(nonEmpty(l.Base, "(booted)"), " ")
		}
		memory := "-"
		if l.MemoryBytes > 0 {
			memory = size(l.MemoryBytes)
			if l.MemoryCompressed {
				memory += " zstd"
			}
		}
		var notes []string
		if l.InUse {
			notes = append(notes, "in use")
		}
		if l.Pinned {
			notes = append(notes, "a kept VM stands on it")
		}
		fmt.Fprintf(t, "%s%s\t%s\t%s\t%s\t%s\t%s\t%s ago\t%s\n", lead[i], printable(name), l.ID, elapsed(ms(l.SavesMS)), size(l.SizeBytes), memory,
			ago(now.Sub(l.Created)), ago(now.Sub(l.LastUsed)), strings.Join(notes, ", "))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%s, %s of at most %s\n", counted(len(c.Layers), "layer"), size(c.SizeBytes), size(c.MaxBytes))
	return err
}

// leads draws the tree, one lead a line. What stands alone on a layer is drawn below it without a further indent: most layers do.
func (c cacheList) leads() []string {
	children := map[string][]int{}
	for i, l := range c.Layers {
		children[l.ParentID] = append(children[l.ParentID], i)
	}
	leads := make([]string, len(c.Layers))
	var draw func(parent, indent string)
	draw = func(parent, indent string) {
		on := children[parent]
		for n, i := range on {
			first, below := indent, indent
			switch {
			case parent == "":
				below = indent + "  "
			case len(on) > 1 && n == len(on)-1:
				first, below = indent+"└─ ", indent+"   "
			case len(on) > 1:
				first, below = indent+"├─ ", indent+"│  "
			}
			leads[i] = first
			draw(c.Layers[i].ID, below)
		}
	}
	draw("", "")
	return leads
}

// ago is an age as people say it: 5m, 3h, 12d.
func ago(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", max(0, int(d.Seconds())))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// parseAge reads a duration, also one in days: 90m, 12h, 7d.
func parseAge(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if days, found := strings.CutSuffix(text, "d"); found {
		var n int
		if n, err = strconv.Atoi(days); err == nil && n <= 36500 {
			d = time.Duration(n) * 24 * time.Hour
		}
	}
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%q is no age, such as 90m, 12h or 7d", text)
	}
	return d, nil
}
