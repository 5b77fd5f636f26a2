package preflight

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// kernelOptions reads the kernel's command line as the boot loader has it: R3, and R5 as far as it is there.
func kernelOptions() Check {
	return Check{
		ID: "D04", Title: "the kernel's command line has EC2's NVMe time-out, its console, and network names as they were (R3, R5)", Needs: NeedSystem,
		Looks:    "the default entry's options in grub.cfg, menu.lst or the loader's entries",
		Levels:   Levels{ImportImage: Warning, ImportSnapshot: Warning, EBSDirect: Warning},
		Prevents: "no message: the root file system goes read-only when a volume answers late, or the console stays empty",
		Fix:      "add to GRUB_CMDLINE_LINUX in /etc/default/grub, and run update-grub or grub2-mkconfig: " + strings.Join(wantedOptions, " "), Fixable: true,
		Component: readiness, Parameter: "KernelOptions",
		look: func(_ context.Context, t *Target) ([]Seen, error) {
			e := t.defaultEntry()
			if e == nil {
				return nil, errors.New("no entry of a boot loader could be read")
			}
			where := e.Config
			if e.ID != "" && strings.HasSuffix(where, "entries") {
				where += "/" + e.ID + ".conf"
			}
			options := strings.Fields(e.Options)
			var seen []Seen
			add := func(format string, v ...any) {
				seen = append(seen, Seen{Where: where, What: fmt.Sprintf(format, v...)})
			}
			// Amazon Linux has the longest time-out built in: EC2 User Guide, "I/O operation timeout".
			if value := lastOf(options, "nvme_core.io_timeout", "nvme.io_timeout"); t.Report.System.OS.ID != "amzn" {
				n, err := strconv.ParseUint(value, 10, 64)
				switch {
				case value == "":
					add("no nvme_core.io_timeout: the kernel gives a volume up after 30 s")
				case err != nil || n < 254: // the largest values of a parameter of one byte, before Linux 4.15
					add("nvme_core.io_timeout=%s: EC2 wants the largest value, 4294967295", value)
				}
			}
			if console := lastOf(options, "console"); !strings.HasPrefix(console, "ttyS0") {
				if console == "" {
					add("no console=ttyS0: what the system says when it starts is not in EC2's console output")
				} else {
					add("console=%s is the last one: what init says goes there, and not to EC2's console, which is ttyS0", console)
				}
			}
			if t.Report.System.Network.PredictableNames {
				add("no net.ifnames=0: interfaces get names such as ens5, and import-image knows eth0 only")
			}
			return seen, nil
		},
	}
}

// wantedOptions are what D04 wants, in the order in which they are added.
var wantedOptions = []string{"net.ifnames=0", "biosdevname=0", "nvme_core.io_timeout=4294967295", "console=tty0", "console=ttyS0,115200n8"}

// lastOf is the value of an option under any of its names, the last one, which counts.
func lastOf(options []string, names ...string) (value string) {
	for _, o := range options {
		for _, name := range names {
			if v, ok := strings.CutPrefix(o, name+"="); ok {
				value = v
			}
		}
	}
	return value
}
