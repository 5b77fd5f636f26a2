package action

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/ingot-image/ingot/builder/component"
)

// MSI is a package of Windows Installer and how to run it.
type MSI struct {
	// Path of the package: a path on the machine, s3://BUCKET/KEY, or a URL of HTTP or HTTPS.
	Path string `input:"path,required"`
	// Reboot says whether the machine reboots after a success: Allow, if msiexec asks for it; Force, in any case; Skip, never.
	Reboot string `input:"reboot" default:"Allow"`
	// LogOptions are the flags of the log, as after /L of msiexec: i w e a r u c m o p v x + ! and *.
	LogOptions string `input:"logOptions" default:"*VX"`
	// LogFile is where msiexec writes its log. Missing parent folders are made. Default: no log is kept.
	LogFile string `input:"logFile"`
	// Properties are public properties of the package and their values. REBOOT, REINSTALL and REINSTALLMODE are reserved.
	Properties map[string]string `input:"properties"`
	// IgnoreAuthenticodeSignatureErrors runs the package whatever is wrong with its signature.
	IgnoreAuthenticodeSignatureErrors bool `input:"ignoreAuthenticodeSignatureErrors" default:"false"`
	// AllowUnsignedInstaller runs the package if it has no signature. One that it has must be valid all the same.
	AllowUnsignedInstaller bool `input:"allowUnsignedInstaller" default:"false"`
}

var (
	msiLogOptions = regexp.MustCompile(`^(?i)[iwearucmopvx+!*]*$`)
	// Names are those of identifiers (Windows Installer, "Identifier" column type).
	msiProperty = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]{0,71}$`)
)

// CheckInputs implements [component.InputsChecker].
func (in *MSI) CheckInputs(report func(input, message, hint string)) {
	if !slices.Contains([]string{"Allow", "Force", "Skip"}, in.Reboot) {
		report("reboot", fmt.Sprintf("must be Allow, Force or Skip, not %q", in.Reboot), "")
	}
	if !msiLogOptions.MatchString(in.LogOptions) {
		report("logOptions", fmt.Sprintf("%q are no flags of msiexec's log", in.LogOptions), "flags are i w e a r u c m o p v x + ! *")
	}
	if strings.Contains(in.LogFile, `"`) {
		report("logFile", "has a quotation mark in it", "")
	}
	if scheme, _, ok := strings.Cut(in.Path, "://"); ok && !slices.Contains([]string{"s3", "http", "https"}, scheme) {
		report("path", fmt.Sprintf("has the scheme %q", scheme), "it must be a path, or begin with s3://, http:// or https://")
	} else if _, err := in.object(); scheme == "s3" && err != nil {
		report("path", err.Error(), "")
	}
	for _, name := range slices.Sorted(maps.Keys(in.Properties)) {
		switch {
		case slices.Contains([]string{"REBOOT", "REINSTALL", "REINSTALLMODE"}, strings.ToUpper(name)):
			report("properties", fmt.Sprintf("the property %s is reserved", name), "for reboots there is the input reboot")
		case !msiProperty.MatchString(name):
			report("properties", fmt.Sprintf("%q is no name of a property", name), "")
		}
	}
}

// shortPath is the path for messages, without what may be secret in a URL.
func (in MSI) shortPath() string {
	if u, err := url.Parse(in.Path); err == nil && u.Host != "" {
		return withoutSecrets(u)
	}
	return in.Path
}

// msiexec runs the package with a verb, /i or /x.
func (in MSI) msiexec(ctx context.Context, x *component.Execution, action, verb string, successes ...int) (component.Outcome, error) {
	if err := onlyOnWindows(action); err != nil {
		return component.Outcome{}, err
	}
	dir, err := os.MkdirTemp(x.Path(x.WorkingDirectory), "ingot-step-")
	if err != nil {
		return component.Outcome{}, fmt.Errorf("make a folder for the package: %w", err)
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil { // the installer's service may still read it
			x.Notice("left behind: " + err.Error())
		}
	}()
	file, err := in.fetch(ctx, x, filepath.Join(dir, "package.msi"))
	if err != nil {
		return component.Outcome{}, err
	}
	if err := in.verify(x, file); err != nil {
		return component.Outcome{}, err
	}
	log, kept := filepath.Join(dir, "install.log"), ""
	if in.LogFile != "" {
		log = x.Path(in.LogFile)
		kept = x.DocumentPath(log)
		if err := os.MkdirAll(filepath.Dir(log), 0o777); err != nil {
			return component.Outcome{}, fmt.Errorf("make the folder of the log: %w", spelled(err, x, in.LogFile))
		}
	}
	code, err := in.execute(ctx, x, in.commandLine(verb, file, log))
	outcome := component.Outcome{Outputs: map[string]string{
		"logFile": kept, "msiExitCode": strconv.Itoa(code), "stdout": x.CapturedStdout(),
	}}
	if exit, ok := errors.AsType[*component.ExitError](err); ok && slices.Contains(successes, exit.Code) {
		err = nil
	}
	if err != nil {
		if meaning := msiMeaning(code); meaning != "" {
			err = fmt.Errorf("%w (%s)", err, meaning)
		}
		if kept == "" {
			showLog(x, log)
		}
		return outcome, err
	}
	outcome.Reboot = in.reboot(x, code)
	return outcome, nil
}

// commandLine is what follows the program. Msiexec wants the values of properties in quotes, not the whole argument, and a quotation mark
// in them twice ("Command-Line Options" of Windows Installer). It must not reboot by itself: the engine does.
func (in MSI) commandLine(verb, file, log string) string {
	options := in.LogOptions
	if options == "" {
		options = "*VX"
	}
	line := fmt.Sprintf(`%s "%s" /qn /norestart /L%s "%s" REBOOT=ReallySuppress`, verb, file, options, log)
	for _, name := range slices.Sorted(maps.Keys(in.Properties)) {
		line += fmt.Sprintf(` %s="%s"`, name, strings.ReplaceAll(in.Properties[name], `"`, `""`))
	}
	return line
}

func (in MSI) execute(ctx context.Context, x *component.Execution, line string) (int, error) {
	program, err := x.LookPath("msiexec.exe")
	if err != nil {
		return 0, err
	}
	err = x.Commands.Run(ctx, component.Command{
		Path: program, CommandLine: line, Dir: x.Path(x.WorkingDirectory), Env: x.Environ, Stdout: x.Stdout, Stderr: x.Stderr, Notice: x.Notice,
	})
	if exit, ok := errors.AsType[*component.ExitError](err); ok {
		return exit.Code, err
	}
	return 0, err
}

// reboot is the reboot after msiexec has succeeded.
func (in MSI) reboot(x *component.Execution, code int) *component.RebootRequest {
	wanted := code == 1641 || code == 3010
	switch {
	case in.Reboot == "Force", in.Reboot == "Allow" && wanted:
		return &component.RebootRequest{}
	case wanted:
		x.Notice(fmt.Sprintf("msiexec asks for a reboot (exit status %d); it is skipped", code))
	}
	return nil
}

// fetch returns where the package is on the machine, after it has downloaded it if need be.
func (in MSI) fetch(ctx context.Context, x *component.Execution, to string) (string, error) {
	scheme, _, remote := strings.Cut(in.Path, "://")
	switch {
	case scheme == "s3":
		place, err := in.object()
		if err != nil {
			return "", fmt.Errorf("path %w", err)
		}
		if x.S3 == nil {
			return "", errNoS3
		}
		return to, replaceFile(to, true, func(w *os.File) error { return x.S3.Get(ctx, place, w) })
	case remote:
		download := WebDownload{Source: in.Path, Destination: x.DocumentPath(to), Overwrite: true}
		_, err := download.Run(ctx, x)
		return to, err
	}
	path := x.Path(in.Path)
	return path, spelled(mustBeFile(path), x, in.Path)
}

// object is the package's place in S3.
func (in MSI) object() (component.S3Place, error) {
	source, err := parseS3Source(in.Path)
	if err == nil && source.wildcard {
		err = errors.New("names several objects where one is needed")
	}
	return source.S3Place, err
}

// verify checks the signature of the package.
func (in MSI) verify(x *component.Execution, file string) error {
	err := verifyAuthenticode(file)
	switch {
	case err == nil:
		return nil
	case in.IgnoreAuthenticodeSignatureErrors:
		x.Notice(fmt.Sprintf("ignored by ignoreAuthenticodeSignatureErrors: %v", err))
		return nil
	case errors.Is(err, errNotSigned) && in.AllowUnsignedInstaller:
		x.Notice("the package is not signed, which allowUnsignedInstaller allows")
		return nil
	case errors.Is(err, errNotSigned):
		return fmt.Errorf("%w; allowUnsignedInstaller would allow it", err)
	}
	return err
}

var errNotSigned = errors.New("the package has no Authenticode signature")

// maxShownLog is how much of a log is shown, in bytes.
const maxShownLog = 16 << 10

// showLog prints the end of a log that is not kept. Msiexec writes it in UTF-16.
func showLog(x *component.Execution, path string) {
	file, err := os.Open(path)
	if err != nil {
		return // msiexec did not come so far
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return
	}
	data := make([]byte, min(info.Size(), maxShownLog))
	n, _ := file.ReadAt(data, (info.Size()-int64(len(data)))&^1)
	text := decodeLog(data[:n])
	if info.Size() > maxShownLog {
		_, text, _ = strings.Cut(text, "\n")
	}
	io.WriteString(x.Stderr, text)
}

// decodeLog reads UTF-16 of little endian, or UTF-8 if there are no zero bytes as Latin letters have in UTF-16.
func decodeLog(data []byte) string {
	if !slices.Contains(data, 0) {
		return string(data)
	}
	var units []uint16
	for i := 0; i+1 < len(data); i += 2 {
		units = append(units, uint16(data[i])|uint16(data[i+1])<<8)
	}
	return strings.TrimPrefix(string(utf16.Decode(units)), "\uFEFF")
}
