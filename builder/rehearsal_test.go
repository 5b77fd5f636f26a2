package builder

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/ingot-image/ingot/builder/imds"
	"github.com/ingot-image/ingot/builder/recipe"
	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/qemu"
)

// key is that of the key pair in these tests.
const rehearsalKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEtleQ== ingot-rehearsal"

func TestGuestReport(t *testing.T) {
	g := newGuestReport("ingot-01")
	console := "\x1bc\x1b[?7l\x1b[2JSeaBIOS (version 1.16.2)\r\nGRUB loading.\r\n"
	fmt.Fprint(g, console)
	if kernel, init, _ := g.said(); kernel || init {
		t.Error("a boot loader is no kernel")
	}
	fmt.Fprint(g, "[    0.000000] Linux version 6.1.0\r\n[\x1b[0;32m  OK  \x1b[0m] Reached target \x1b[0;1;39mbasic.target\x1b[0m.\r\n")
	if kernel, init, _ := g.said(); !kernel || !init {
		t.Errorf("kernel %v, init %v", kernel, init)
	}
	// In pieces, with the kernel between, and the second round whole.
	for _, piece := range []string{"\r\ningot-01:users= deb", "[   33.1] eth0: up\r\nian:ingot-01\r\n", "\r\ningot-01:users= debian:ingot-01\r\n",
		"\r\ningot-02:users= root:ingot-02\r\n", "\r\ningot-01:datasource=DataSourceEc2Local: DataSourceEc2Local:ingot-01\r\n"} {
		fmt.Fprint(g, piece)
	}
	if g.told() != nil {
		t.Error("told before it was done")
	}
	fmt.Fprint(g, "localhost login: [   62.370466] powernow_k8: Power state transitions not supported\r\n")
	<-g.prompt
	fmt.Fprint(g, "\r\ningot-01:done=yes:ingot-01\r\n")
	<-g.done
	if told := g.told(); told["users"] != " debian" || told["datasource"] != "DataSourceEc2Local: DataSourceEc2Local" {
		t.Errorf("told %q", told)
	}
	select {
	case <-g.ended:
		t.Error("cloud-init has not ended")
	default:
	}
	fmt.Fprint(g, "[   80.1] cloud-init[612]: Cloud-init v. 22.4.2 finished at Sun, 22 Nov 2026 20:57:36 +0000. Datasource DataSourceNone.  Up 80.01 seconds\r\n")
	<-g.ended
	if _, _, final := g.said(); final != "DataSourceNone" {
		t.Errorf("final %q", final)
	}
	lines := []string{"GRUB", "Linux", "Linux", "ingot-01:users= debian:ingot-01", "login:", "ingot-01:done=yes:ingot-01"}
	if got := g.others(lines, 2); !slices.Equal(got, []string{"Linux", "login:"}) {
		t.Errorf("the other lines are %q", got)
	}
	fmt.Fprint(g, strings.Repeat("x", 3*maxReportLine)) // bounded
	if len(g.partial) > maxReportLine {
		t.Errorf("a line of %d bytes", len(g.partial))
	}
}

func TestUserDataScript(t *testing.T) {
	script := string(userData("ingot-01", rehearsalKey))
	if strings.Contains(script, "@") || !strings.HasPrefix(script, "#!/bin/sh\n") || !strings.Contains(script, "\nkey=AAAAC3NzaC1lZDI1NTE5AAAAIEtleQ==\n") {
		t.Error(script)
	}
	if len(script) > 16<<10 {
		t.Errorf("EC2 takes 16 KiB of user data, not %d", len(script))
	}
}

func TestVolumeSize(t *testing.T) {
	for size, want := range map[int64]int64{1: 3 << 30, 4 << 30: 6 << 30, 4<<30 + 1: 7 << 30, 100 << 30: 125 << 30} {
		if got := volumeSize(size); got != want {
			t.Errorf("volumeSize(%d) = %d, want %d", size, got, want)
		}
	}
}

func TestRehearsalVolumes(t *testing.T) {
	volume := func(device string, gib int, snapshot string) recipe.BlockDeviceMapping {
		return recipe.BlockDeviceMapping{DeviceName: device, EBS: &recipe.EBS{VolumeSize: gib, SnapshotID: snapshot}}
	}
	got := rehearsalVolumes([]recipe.BlockDeviceMapping{
		volume("/dev/xvda", 8, ""), volume("/dev/sdf", 3, ""), volume("/dev/sdg", 5, "snap-1"), {DeviceName: "/dev/sdh", VirtualName: "ephemeral0"}, {DeviceName: "/dev/sdi"},
		volume("/dev/sdj", 16384, ""),
	})
	if want := []RehearsalVolume{{"/dev/sdf", 3}, {"/dev/sdj", 16384}}; !slices.Equal(got, want) {
		t.Fatalf("%+v, want %+v", got, want)
	}
	if root := volumeSerial(0); root != "vol0123456789abcdef0" {
		t.Errorf("the root volume is %s", root)
	}
	r := &rehearsal{options: RehearsalOptions{Volumes: got}, work: &workspace{dir: t.TempDir()}}
	disks, err := r.volumes(t.Context(), qemu.BIOS)
	if err != nil {
		t.Fatal(err)
	}
	for i, size := range []int64{3 << 30, 16384 << 30} {
		info, err := disk.Probe(disks[i].Path)
		if err != nil || info.VirtualSize != size || disks[i].BootIndex != 0 || disks[i].Serial == volumeSerial(0) || len(disks[i].Serial) != len("vol0123456789abcdef0") {
			t.Errorf("%+v: %+v, %v", disks[i], info, err)
		}
	}
}

func TestLeftDisk(t *testing.T) {
	root := fstest.MapFS{
		"etc/cloud/cloud.cfg":               {Data: []byte("users: [default]\n# datasource_list: [Ec2]\n")},
		"etc/cloud/cloud.cfg.d/90_dpkg.cfg": {Data: []byte("datasource_list: [ NoCloud, None ]\n")},
		"etc/cloud/cloud.cfg.d/README":      {Data: []byte("datasource_list: [GCE]\n")},
		"etc/passwd":                        {Data: []byte("root:x:0:0::/root:/bin/sh\nbroken\ndebian:x:1000:1000::/home/debian:/bin/sh\n")},
		"root/.ssh/authorized_keys":         {Data: []byte(`no-pty,command="echo" ` + rehearsalKey + "\n")},
		"home/debian/.ssh/authorized_keys":  {Data: []byte("# keys\n" + rehearsalKey + "\n")},
		"var/lib/cloud/data/result.json":    {Data: []byte(`{"v1": {"datasource": "DataSourceNoCloud [seed=/dev/vdb]", "errors": []}}`)},
		"var/lib/cloud/instance/datasource": {Data: []byte("DataSourceNone: DataSourceNone\n")},
	}
	l := &leftDisk{}
	l.read(root, rehearsalKey)
	if l.datasource != "DataSourceNoCloud" || l.list != "[ NoCloud, None ] in /etc/cloud/cloud.cfg.d/90_dpkg.cfg" || !l.installed || l.disabled || strings.Join(l.users, " ") != "debian" {
		t.Errorf("%+v", l)
	}
	l = &leftDisk{}
	l.read(fstest.MapFS{"etc/cloud/cloud-init.disabled": {}}, rehearsalKey)
	if l.datasource != "" || l.installed || !l.disabled || l.users != nil {
		t.Errorf("%+v", l)
	}
}

// TestRehearsalChecks judges what a boot may show. good is a boot that passes; each case changes it.
func TestRehearsalChecks(t *testing.T) {
	good := func() *observation {
		return &observation{
			kernel: true, init: true, final: "DataSourceEc2Local", requests: make([]imds.Request, 50), login: &login{user: "debian"},
			told: map[string]string{"datasource": "DataSourceEc2Local: DataSourceEc2Local", "users": " debian", "ssh": "yes", "rootkib": "5900000", "device": "/dev/nvme0n1p1", "user": "0", "done": "yes"},
			size: 4 << 30, volume: 6 << 30, root: 4 << 30,
		}
	}
	panicked := &qemu.WaitError{Name: "the instance to ask for its metadata", Reason: qemu.WaitFatal, Cause: "the guest's kernel panicked: VFS", Hint: "check root="}
	late := &qemu.WaitError{Name: "the user data to run", Reason: qemu.WaitLimit, Cause: "it did not happen within 3m0s", Hint: "cloud-init runs it last"}
	silent := func(o *observation) { o.told, o.login, o.final, o.requests = nil, nil, "", nil }
	for _, c := range []struct {
		name   string
		change func(*observation)
		failed string            // the names of the checks that fail
		seen   map[string]string // parts of what they say
	}{
		{"good", func(*observation) {}, "", map[string]string{CheckPublicKey: "debian was let in by SSH", CheckGrown: "/dev/nvme0n1p1 grew from 4.0 GiB to 5.6 GiB, on a volume of 6.0 GiB"}},
		{"no sshd", func(o *observation) { o.login = nil }, "", map[string]string{CheckPublicKey: "authorized_keys of debian"}},
		{"sshd refuses", func(o *observation) { o.login = &login{err: errors.New("debian: ssh: unable to authenticate")} }, "public-key", map[string]string{CheckPublicKey: "unable to authenticate"}},
		{"no account has the key", func(o *observation) { o.login, o.told["users"] = nil, "" }, "public-key", map[string]string{CheckPublicKey: "no account's authorized_keys"}},
		{"not grown", func(o *observation) { o.told["rootkib"] = "4100000" }, "root-grown", map[string]string{CheckGrown: "3.9 GiB as before, although the volume has 6.0 GiB"}},
		{"no console", func(o *observation) { o.kernel, o.init = false, false }, "console", map[string]string{CheckConsole: "nothing but the firmware"}},
		{"a login only", func(o *observation) { o.kernel, o.told["consoles"] = false, "tty0" }, "console", map[string]string{CheckConsole: "the kernel's consoles are tty0"}},
		{"a silent kernel", func(o *observation) { o.kernel, o.told["consoles"] = false, "tty0 ttyS0" }, "", map[string]string{CheckConsole: "what the kernel starts writes to ttyS0"}},
		{"kernel only", func(o *observation) { o.init = false }, "", map[string]string{CheckConsole: "another console is last"}},
		{"another source", func(o *observation) {
			silent(o)
			o.final = "DataSourceNone"
			o.left = &leftDisk{datasource: "DataSourceNoCloud", list: "[NoCloud] in /etc/cloud/cloud.cfg.d/9.cfg", installed: true, root: 6 << 30}
		}, "cloud-init-ec2 public-key user-data", map[string]string{
			CheckCloudInit: "chose another data source, DataSourceNoCloud (/var/lib/cloud); datasource_list is [NoCloud] in /etc/cloud/cloud.cfg.d/9.cfg",
			CheckUserData:  "for cloud-init did not take it from the metadata service", CheckGrown: "grew from 4.0 GiB to 6.0 GiB"}},
		{"another source by the console alone", func(o *observation) {
			silent(o)
			o.final, o.leftErr = "DataSourceNone", errors.New("no XFS here")
		}, "cloud-init-ec2 public-key user-data root-grown", map[string]string{CheckCloudInit: "DataSourceNone (cloud-init's last line on the console)", CheckGrown: "no XFS here"}},
		{"no cloud-init", func(o *observation) { silent(o); o.left = &leftDisk{root: 4 << 30} }, "cloud-init-ec2 public-key user-data root-grown",
			map[string]string{CheckCloudInit: "not installed; nothing in the guest asked"}},
		{"disabled", func(o *observation) { silent(o); o.left = &leftDisk{installed: true, disabled: true, root: 4 << 30} },
			"cloud-init-ec2 public-key user-data root-grown", map[string]string{CheckCloudInit: "cloud-init.disabled"}},
		{"panic", func(o *observation) {
			silent(o)
			o.init, o.failure, o.left = false, panicked, &leftDisk{root: 4 << 30}
		}, "cloud-init-ec2 public-key user-data root-grown", map[string]string{CheckCloudInit: "did not come up: the guest's kernel panicked: VFS"}},
		{"no root device", func(o *observation) { // the initramfs has started programs
			silent(o)
			o.failure, o.left = panicked, &leftDisk{installed: true, root: 4 << 30}
		}, "cloud-init-ec2 public-key user-data root-grown", map[string]string{CheckCloudInit: "the instance did not come up: the guest's kernel panicked", CheckUserData: "for the instance did not come up",
			CheckGrown: "4.0 GiB as before, for the instance did not come up"}},
		{"no boot device", func(o *observation) {
			silent(o)
			o.kernel, o.init, o.failure = false, false, &qemu.WaitError{Reason: qemu.WaitFatal, Cause: "the BIOS found nothing to boot"}
		}, "console cloud-init-ec2 public-key user-data root-grown", map[string]string{CheckConsole: "the BIOS found nothing to boot", CheckGrown: "not known: the BIOS found nothing"}},
		{"no loader", func(o *observation) { *o = observation{failure: errNoLoader} }, "console cloud-init-ec2 public-key user-data root-grown",
			map[string]string{CheckCloudInit: "did not come up: the disk has nothing that this firmware could start"}},
		{"Ec2, but the script did not run", func(o *observation) {
			o.told, o.login, o.failure = nil, nil, late
			o.left = &leftDisk{datasource: "DataSourceEc2Local", installed: true, users: []string{"debian"}, root: 6 << 30}
		}, "user-data", map[string]string{CheckUserData: "waiting for the user data to run: it did not happen within 3m0s", CheckPublicKey: "authorized_keys of debian"}},
	} {
		o := good()
		c.change(o)
		var failed []string
		for _, check := range o.checks() {
			if !check.Passed {
				failed = append(failed, check.Name)
				if check.Fix == "" && c.name != "no boot device" {
					t.Errorf("%s: %s has no fix", c.name, check.Name)
				}
			}
			if want := c.seen[check.Name]; !strings.Contains(check.Seen, want) {
				t.Errorf("%s: %s: %q does not hold %q", c.name, check.Name, check.Seen, want)
			}
		}
		if got := strings.Join(failed, " "); got != c.failed {
			t.Errorf("%s: failed are %q, want %q", c.name, got, c.failed)
		}
	}
}

func TestRegisteredFirmware(t *testing.T) {
	both, uefi := bootModes{bios: true, uefi: true}, bootModes{uefi: true}
	for _, c := range []struct {
		mode  string
		modes bootModes
		want  string
	}{
		{"", both, "[uefi bios]"}, {"", uefi, "[uefi]"}, {"legacy-bios", both, "[bios]"}, {"uefi", both, "[uefi]"},
		{"uefi-preferred", both, "[uefi bios]"}, {"uefi-preferred", uefi, "[uefi]"}, {"legacy-bios", uefi, "[bios]"}, {"", bootModes{}, "[bios]"},
	} {
		if got := fmt.Sprint(registeredFirmware(c.mode, c.modes)); got != c.want {
			t.Errorf("%q of %+v: %s, want %s", c.mode, c.modes, got, c.want)
		}
	}
}

func TestRehearsalFailure(t *testing.T) {
	boot := &Boot{Checks: []Check{{Name: "console", Passed: true}, {Name: "cloud-init-ec2", Seen: "cloud-init chose another data source", Fix: "mend it"}}, Console: []string{"login:"}}
	var f *Failure
	if err := rehearsalFailure("rehearsal-bios", boot); !errors.As(err, &f) {
		t.Fatal(err)
	}
	if want := "test (rehearsal-bios): the image does not come up as it must on EC2, 1 check failed: cloud-init-ec2: cloud-init chose another data source"; f.Error() != want || f.Hint != "cloud-init-ec2: mend it" || len(f.Console) != 1 {
		t.Errorf("%v, hint %q", f, f.Hint)
	}
	boot.Checks = boot.Checks[:1]
	if err := rehearsalFailure("rehearsal-bios", boot); err != nil {
		t.Error(err)
	}
}
