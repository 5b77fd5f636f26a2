package action

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMSIExitCodes puts a stand-in in msiexec's place. Packages of the test have no signature.
func TestMSIExitCodes(t *testing.T) {
	for _, test := range []struct {
		code            int
		reboot          string
		install, remove string // what comes of it
	}{
		{0, "Allow", "done", "done"}, {0, "Skip", "done", "done"}, {0, "Force", "reboot", "reboot"},
		{1614, "Allow", "done", "done"}, {1641, "Allow", "reboot", "reboot"}, {3010, "Allow", "reboot", "reboot"},
		{3010, "Skip", "done", "done"}, {1641, "Skip", "done", "done"}, {3010, "Force", "reboot", "reboot"},
		{1605, "Allow", "exit status 1605", "done"}, {1605, "Force", "exit status 1605", "reboot"},
		{1603, "Allow", "exit status 1603", "exit status 1603"}, {1603, "Force", "exit status 1603", "exit status 1603"},
	} {
		r := &commandRecorder{code: test.code}
		x := fakeMachine(t, r, "msiexec.exe")
		if err := os.WriteFile(filepath.Join(x.WorkingDirectory, "a.msi"), []byte("no package"), 0o600); err != nil {
			t.Fatal(err)
		}
		in := MSI{Path: "a.msi", Reboot: test.reboot, LogFile: `logs\new\a.log`, AllowUnsignedInstaller: true, IgnoreAuthenticodeSignatureErrors: true}
		for verb, want := range map[string]string{"/i": test.install, "/x": test.remove} {
			outcome, err := InstallMSI{in}.Run(t.Context(), x)
			if verb == "/x" {
				outcome, err = UninstallMSI{in}.Run(t.Context(), x)
			}
			got := "done"
			switch {
			case err != nil:
				got = err.Error()
			case outcome.Reboot != nil && !outcome.Reboot.Rerun:
				got = "reboot"
			}
			if !strings.Contains(got, want) {
				t.Errorf("%s with exit status %d and reboot %s: %s, want %s", verb, test.code, test.reboot, got, want)
			}
			log := filepath.Join(x.WorkingDirectory, "logs", "new", "a.log")
			if outcome.Outputs["msiExitCode"] != fmt.Sprint(test.code) || outcome.Outputs["logFile"] != log {
				t.Errorf("outputs %v", outcome.Outputs)
			}
			c := r.commands[len(r.commands)-1]
			if want := fmt.Sprintf(`%s "%s\a.msi" /qn /norestart /L "%s" REBOOT=ReallySuppress`, verb, x.WorkingDirectory, log); strings.Replace(c.CommandLine, "/L*VX", "/L", 1) != want {
				t.Errorf("got  %s\nwant %s", c.CommandLine, want)
			}
		}
	}
	if got := msiMeaning(1605); got == "" || strings.HasSuffix(got, ".") {
		t.Errorf("1605 means %q", got)
	}
}

func TestMSIWithoutSignature(t *testing.T) {
	r := &commandRecorder{}
	x := fakeMachine(t, r, "msiexec.exe")
	if err := os.WriteFile(filepath.Join(x.WorkingDirectory, "a.msi"), []byte("no package"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := InstallMSI{MSI{Path: "a.msi"}}.Run(t.Context(), x)
	if !errors.Is(err, errNotSigned) || !strings.Contains(err.Error(), "allowUnsignedInstaller") || len(r.commands) > 0 {
		t.Errorf("error %v, commands %v", err, r.commands)
	}
}
