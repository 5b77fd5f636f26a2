package builder

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/ingot-image/ingot/qemu"
)

// checks judges what was seen. Each is judged by itself, as far as what was seen allows.
func (o *observation) checks() []Check {
	return []Check{o.console(), o.cloudInit(), o.publicKey(), o.userData(), o.grown()}
}

func pass(name, format string, args ...any) Check {
	return Check{Name: name, Passed: true, Seen: fmt.Sprintf(format, args...)}
}

func fail(name, fix, format string, args ...any) Check {
	return Check{Name: name, Seen: fmt.Sprintf(format, args...), Fix: fix}
}

func (o *observation) console() Check {
	const fix = "put console=tty0 console=ttyS0,115200n8 on the kernel's command line, ttyS0 last"
	switch {
	case o.kernel && o.init:
		return pass(CheckConsole, "the kernel and what it starts write to ttyS0")
	case o.kernel:
		return pass(CheckConsole, "the kernel writes to ttyS0; what it starts does not, for another console is last on its command line")
	case o.init && o.told["consoles"] != "" && !strings.Contains(o.told["consoles"], "ttyS0"):
		return fail(CheckConsole, fix, "a login or a service writes to ttyS0, but the kernel's consoles are %s: EC2's console output shows nothing of the boot", o.told["consoles"])
	case o.init:
		return pass(CheckConsole, "what the kernel starts writes to ttyS0")
	}
	return fail(CheckConsole, o.hint(fix), "nothing but the firmware and the boot loader wrote to ttyS0%s", o.because())
}

// because says why the guest did not come up, if it did not.
func (o *observation) because() string {
	var wait *qemu.WaitError
	switch {
	case o.failure == nil:
		return ""
	case errors.As(o.failure, &wait) && wait.Reason != qemu.WaitLimit:
		return ": " + wait.Cause
	}
	return ": " + o.failure.Error()
}

// died tells whether the guest did not come up, rather than not in time.
func (o *observation) died() bool {
	var wait *qemu.WaitError
	return errors.Is(o.failure, errNoLoader) || errors.As(o.failure, &wait) && wait.Reason != qemu.WaitLimit
}

// hint is the advice for a guest that did not come up, or else the one given.
func (o *observation) hint(otherwise string) string {
	var wait *qemu.WaitError
	switch {
	case errors.As(o.failure, &wait) && wait.Hint != "":
		return wait.Hint
	case errors.Is(o.failure, errNoLoader):
		return "install a boot loader for it, or choose the other boot mode"
	}
	return otherwise
}

// datasource is what cloud-init took its data from, by the best witness there is.
func (o *observation) datasource() (name, witness string) {
	if name := datasourceName.FindString(o.told["datasource"]); name != "" {
		return name, "/var/lib/cloud/instance/datasource"
	}
	if o.left != nil && o.left.datasource != "" {
		return o.left.datasource, "/var/lib/cloud"
	}
	return o.final, "cloud-init's last line on the console"
}

const fixDatasource = "let datasource_list in /etc/cloud/cloud.cfg.d hold Ec2, or remove it so that ds-identify finds the source by itself"

func (o *observation) cloudInit() Check {
	name, witness := o.datasource()
	if strings.HasPrefix(name, "DataSourceEc2") {
		return pass(CheckCloudInit, "cloud-init used %s, with %s of the metadata service", name, counted(len(o.requests), "request"))
	}
	if name != "" {
		seen := fmt.Sprintf("cloud-init chose another data source, %s (%s)", name, witness)
		if o.left != nil && o.left.list != "" {
			seen += "; datasource_list is " + o.left.list
		}
		return fail(CheckCloudInit, fixDatasource, "%s", seen)
	}
	if o.died() || o.failure != nil && !o.init {
		return fail(CheckCloudInit, o.hint(""), "the instance did not come up%s", o.because())
	}
	asked := "nothing in the guest asked the metadata service"
	if n := len(o.requests); n > 0 {
		asked = fmt.Sprintf("the metadata service got %s, the last for %s by %q", counted(n, "request"), o.requests[n-1].Path, o.requests[n-1].UserAgent)
	}
	switch l := o.left; {
	case l != nil && !l.installed:
		return fail(CheckCloudInit, "install cloud-init", "cloud-init is not installed; %s", asked)
	case l != nil && l.disabled:
		return fail(CheckCloudInit, "remove /etc/cloud/cloud-init.disabled", "cloud-init is disabled by /etc/cloud/cloud-init.disabled; %s", asked)
	case l != nil && l.list != "":
		return fail(CheckCloudInit, fixDatasource, "cloud-init found no data source; datasource_list is %s; %s", l.list, asked)
	}
	return fail(CheckCloudInit, o.hint("enable cloud-init's units, and see that neither ds-identify nor cloud-init=disabled on the kernel's command line keeps them off"),
		"cloud-init left no trace of a run; %s%s", asked, o.because())
}

func (o *observation) publicKey() Check {
	const fix = "let cloud-init's modules users-groups and ssh run, with a default user in /etc/cloud/cloud.cfg"
	if l := o.login; l != nil {
		if l.err == nil {
			return pass(CheckPublicKey, "%s was let in by SSH with it", l.user)
		}
		return fail(CheckPublicKey, fix+"; see that sshd takes keys", "nobody was let in by SSH with it: %v", l.err)
	}
	var users []string
	if o.told != nil {
		users = strings.Fields(o.told["users"])
	} else if o.left != nil {
		users = o.left.users
	}
	if len(users) > 0 {
		return pass(CheckPublicKey, "it is in the authorized_keys of %s; no sshd was listening to try it", strings.Join(users, ", "))
	}
	return o.dependent(CheckPublicKey, fix, "it is in no account's authorized_keys")
}

func (o *observation) userData() Check {
	if o.told != nil {
		return pass(CheckUserData, "the script ran, as user id %s", o.told["user"])
	}
	return o.dependent(CheckUserData, "let cloud-init's module scripts-user run, which is the last of its stages", "the script did not tell that it ran")
}

// dependent is a failed check of what only cloud-init's Ec2 source brings: there is nothing to mend but that if it was not used.
func (o *observation) dependent(name, fix, seen string) Check {
	if o.died() {
		return fail(name, "mend "+CheckCloudInit+" first", "%s, for the instance did not come up", seen)
	}
	if c := o.cloudInit(); !c.Passed {
		return fail(name, "mend "+CheckCloudInit+" first", "%s, for cloud-init did not take it from the metadata service", seen)
	}
	return fail(name, o.hint(fix), "%s%s", seen, o.because())
}

func (o *observation) grown() Check {
	const fix = "install growpart (cloud-guest-utils or cloud-utils-growpart), let cloud-init's modules growpart and resizefs run, and have the root partition last on the disk"
	var after int64
	device := "the root file system"
	if kib, err := strconv.ParseInt(o.told["rootkib"], 10, 64); err == nil && kib > 0 {
		after = kib << 10
		device += " on " + o.told["device"]
	} else if o.left != nil {
		after = o.left.root
	}
	if after == 0 {
		seen := "how large the root file system became is not known" + o.because()
		if o.leftErr != nil {
			seen += "; " + o.leftErr.Error()
		}
		return fail(CheckGrown, o.hint("see the other checks"), "%s", seen)
	}
	// The volume is larger by so much that half of it cannot be what the file system takes for itself.
	before := o.root
	if before == 0 {
		before = o.size
	}
	if added := o.volume - o.size; after > before+added/2 {
		return pass(CheckGrown, "%s grew from %s to %s, on a volume of %s", device, gib(before), gib(after), gib(o.volume))
	}
	if o.died() {
		return fail(CheckGrown, "mend "+CheckCloudInit+" first", "%s has %s as before, for the instance did not come up", device, gib(after))
	}
	return fail(CheckGrown, fix, "%s has %s as before, although the volume has %s", device, gib(after), gib(o.volume))
}

func gib(bytes int64) string { return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30)) }

func counted(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}
