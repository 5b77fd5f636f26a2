package preflight

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// correctFstab writes UUIDs in the place of device names, and nofail on what may be missing: fstab(5). Other lines stay as they are, to the byte.
func correctFstab(_ context.Context, w *workpiece, f Finding) error {
	for _, m := range w.target.Report.System.Fstab {
		if f.Where != fmt.Sprintf("/etc/fstab:%d", m.Line) {
			continue
		}
		text, err := w.edits.text("/etc/fstab")
		if err != nil {
			return err
		}
		all := strings.SplitAfter(text, "\n")
		if m.Line > len(all) {
			return errors.New("the line is not there")
		}
		line := all[m.Line-1]
		fields := strings.Fields(line)
		switch {
		case m.ByName && m.Device != "":
			uuid := ""
			for _, v := range w.target.Report.FileSystems {
				if v.Device == m.Device {
					uuid = v.UUID
				}
			}
			if uuid == "" || strings.ContainsAny(uuid, " \t\n\\") {
				return errors.New(m.Device + " has no UUID")
			}
			line = withField(line, 0, "UUID="+uuid)
		case len(fields) == 3:
			line = strings.TrimRight(line, "\n") + " nofail\n"
		case len(fields) > 3:
			line = withField(line, 3, fields[3]+",nofail")
		default:
			return errors.New("the line has no type")
		}
		all[m.Line-1] = line
		return w.edits.write("/etc/fstab", strings.Join(all, ""))
	}
	return errors.New("the line is not there")
}

var fstabField = regexp.MustCompile(`[^ \t\n]+`)

// withField gives a line of fstab with another word in the place of its n-th, from 0, which is there.
func withField(line string, n int, word string) string {
	at := fstabField.FindAllStringIndex(line, n+1)[n]
	return line[:at[0]] + word + line[at[1]:]
}

// removeNetworkRules removes udev's rules for interfaces of another machine.
func removeNetworkRules(_ context.Context, w *workpiece, f Finding) error {
	if !persistentRules(f.Where) {
		return errors.New("what else the network needs is not known offline")
	}
	return w.edits.remove(f.Where)
}

// forgetIdentity does what a build does at its end (builder/finalise.sh), as far as the finding is about it.
func forgetIdentity(_ context.Context, w *workpiece, f Finding) error {
	e := w.edits
	switch f.Where {
	case "/etc/machine-id":
		return e.write(f.Where, "")
	case dbusID, randomSeed:
		return e.remove(f.Where)
	case "/etc/ssh":
		keys, err := w.target.matches(f.Where, "ssh_host_*_key*")
		errs := []error{err}
		for _, name := range keys {
			errs = append(errs, e.remove(name))
		}
		return errors.Join(errs...)
	case "/var/lib/cloud/seed":
		return e.emptyOnce(f.Where, "/var/lib/cloud")
	case "/var/lib/cloud":
		return e.emptyOnce(f.Where, f.Where)
	case "/var/log":
		return e.clearLogs(f.Where)
	}
	return nil
}

// emptyOnce empties a folder, if it is not in one that has been emptied.
func (e *edits) emptyOnce(name, whole string) error {
	if slices.Contains(e.emptied, whole) {
		return nil
	}
	e.emptied = append(e.emptied, name)
	return e.empty(name)
}

// clearLogs empties logs, and removes journals and what was rotated away: some services do not make a log that is not there.
func (e *edits) clearLogs(folder string) error {
	entries, err := e.w.target.Root.ReadDir(folder[1:])
	errs := []error{err}
	for _, entry := range entries {
		name := folder + "/" + entry.Name()
		switch info, err := entry.Info(); {
		case err != nil:
			errs = append(errs, err)
		case entry.IsDir() && name == "/var/log/journal":
			errs = append(errs, e.empty(name))
		case entry.IsDir() && strings.Count(name, "/") < 8:
			errs = append(errs, e.clearLogs(name))
		case !entry.Type().IsRegular() || info.Size() == 0:
		case rotated(entry.Name()):
			errs = append(errs, e.remove(name))
		default:
			errs = append(errs, e.write(name, ""))
		}
	}
	return errors.Join(errs...)
}

// rotated tells whether a log is an older one by its name.
func rotated(name string) bool {
	return slices.ContainsFunc([]string{".gz", ".xz", ".zst", ".old", ".1", ".2", ".3", ".4", ".5", ".6", ".7", ".8", ".9"}, func(end string) bool { return strings.HasSuffix(name, end) })
}
