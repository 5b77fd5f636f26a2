package preflight

import (
	"cmp"
	"context"
	"errors"
	"regexp"
	"strings"
)

// setKernelOptions adds what D04 wants to what boot loaders read, and to what they are written from, so that an update keeps it.
func setKernelOptions(_ context.Context, w *workpiece, _ Finding) error {
	changed := false
	change := func(name string, edit func(text string) string) error {
		text, err := w.edits.text(name)
		if err != nil || text == "" {
			return err
		}
		if len(text) >= maxRead {
			return errors.New(name + " is too long")
		}
		if after := edit(text); after != text {
			changed = true
			return w.edits.write(name, after)
		}
		changed = true // by the finding before
		return nil
	}
	var errs []error
	for _, c := range w.target.Report.Boot.Configs {
		switch c.Kind {
		case "grub", "grub-legacy":
			errs = append(errs, change(c.Path, inLines(kernelLine)))
		case "syslinux":
			errs = append(errs, change(c.Path, inLines(appendLine)))
		case "bls", "systemd-boot":
			entries, err := w.target.matches(c.Path, "*.conf")
			errs = append(errs, err)
			for _, name := range entries {
				errs = append(errs, change(name, inLines(entryLine)))
			}
		}
	}
	found := changed
	errs = append(errs, change("/etc/default/grub", grubDefault), change("/etc/kernel/cmdline", withOptions))
	if !found {
		errs = append(errs, errors.New("no configuration of a boot loader that could be changed"))
	}
	return errors.Join(errs...)
}

// Lines with a kernel's command line: in GRUB's menus and SYSLINUX's, in loader entries, and in /etc/default/grub.
var (
	kernelLine  = regexp.MustCompile(`^([ \t]*(?:linux|linux16|linuxefi|kernel)[ \t]+\S+)(?:([ \t]+)(.*?))?(\s*)$`)
	appendLine  = regexp.MustCompile(`^([ \t]*(?i:append))(?:([ \t]+)(.*?))?(\s*)$`)
	entryLine   = regexp.MustCompile(`^(options)(?:([ \t]+)(.*?))?(\s*)$`)
	defaultLine = regexp.MustCompile(`(?m)^GRUB_CMDLINE_LINUX=(?:"([^"\n]*)"|'([^'\n]*)'|(\S*))[ \t]*$`)
)

// inLines adds the options to the lines of a kind.
func inLines(kind *regexp.Regexp) func(text string) string {
	return func(text string) string {
		var out strings.Builder
		for line := range strings.Lines(text) {
			if m := kind.FindStringSubmatch(line); m != nil {
				line = m[1] + cmp.Or(m[2], " ") + withOptions(m[3]) + m[4]
			}
			out.WriteString(line)
		}
		return out.String()
	}
}

// grubDefault adds the options to GRUB_CMDLINE_LINUX, which is in all entries: GRUB manual, section 6.1. It may be set again further down.
func grubDefault(text string) string {
	if !defaultLine.MatchString(text) { // it may be set in a way that only a shell understands
		return strings.TrimRight(text, "\n") + "\nGRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX " + withOptions("") + "\"\n"
	}
	return defaultLine.ReplaceAllStringFunc(text, func(line string) string {
		m := defaultLine.FindStringSubmatch(line)
		quote := `"`
		if m[2] != "" {
			quote = "'"
		}
		return "GRUB_CMDLINE_LINUX=" + quote + withOptions(m[1]+m[2]+m[3]) + quote
	})
}

// withOptions adds what is missing to a command line, and leaves the rest as it is, but for other values of what is added.
func withOptions(line string) string {
	words := strings.Fields(line)
	end := line[len(strings.TrimRight(line, " \t\n")):]
	var out []string
	for _, word := range words {
		name, value, _ := strings.Cut(word, "=")
		switch {
		case (name == "nvme_core.io_timeout" || name == "nvme.io_timeout") && len(value) < 3, name == "net.ifnames" && value != "0", name == "biosdevname" && value != "0":
		default:
			out = append(out, word)
		}
	}
	if lastOf(out, "nvme.io_timeout") == "" && lastOf(out, "nvme_core.io_timeout") == "" {
		out = append(out, "nvme_core.io_timeout=4294967295")
	}
	for _, option := range []string{"net.ifnames=0", "biosdevname=0"} {
		if name, _, _ := strings.Cut(option, "="); lastOf(out, name) == "" {
			out = append(out, option)
		}
	}
	if console := lastOf(out, "console"); !strings.HasPrefix(console, "ttyS0") {
		if console == "" {
			out = append(out, "console=tty0")
		}
		out = append(out, "console=ttyS0,115200n8")
	}
	return strings.Join(out, " ") + end
}
