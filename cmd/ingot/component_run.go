package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/component/logs"
)

// runFlags are the flags of component run; a config file sets those that are not on the command line.
type runFlags struct {
	config, documents, phases string
	parameters, secrets       []string
	executionID, logDirectory string
	stateDirectory            string
	trace                     bool
	cloud                     cloudFlags
	upload                    uploadFlags
	cloudWatch                cloudWatchFlags
	vm                        vmFlags
}

func newComponentRun() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run -d FILE[,FILE]",
		Short: "Run component documents, in a throwaway VM or on this machine",
		Long: `Run runs component documents as awstoe run does: the same flags, the same JSON on the standard output,
the same exit statuses and log folder. What happens is told on the standard error meanwhile.

Without --vm the documents run on THIS machine, as you: what they install, change and delete is
installed, changed and deleted here. With --vm BASE they run as root in a throwaway VM, and nothing
of this machine is touched; the log folder comes back.

A document is a file, s3://BUCKET/KEY, or the name or ARN of a managed component. When a document
asks for a reboot of this machine, run saves where it stands and exits with status 194 (3010 on
Windows) without rebooting; the same command with the same --execution-id goes on after the reboot.

Exit status: 0 done, 1 a document failed or is not valid, 2 a mistake in the flags or the config file
(nothing was run), 194 or 3010 a reboot is wanted, 130 interrupted.`,
		Example: `  ingot component run -d hello.yml --vm debian-12
  ingot component run -d hello.yml,test.yml --phases build,validate --parameters Greeting=hi,Target=/tmp/x
  ingot component run --config run.json --log-directory logs`,
		Args:    cobra.NoArgs,
		Version: version,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.run(cmd)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.config, "config", "c", "", "JSON file that says what to run, instead of --documents and --parameters")
	flags.StringVarP(&f.documents, "documents", "d", "", "documents to run one after the other, separated by commas")
	flags.StringVarP(&f.phases, "phases", "p", "", "phases to run, separated by commas (default: all)")
	flags.StringArrayVar(&f.parameters, "parameters", nil, "NAME=VALUE[,NAME=VALUE], values for the documents' parameters; may be repeated")
	flags.StringSliceVar(&f.secrets, "secret-parameters", nil, "names of parameters whose values must be in no log")
	flags.StringVarP(&f.executionID, "execution-id", "i", "", "name of this run (default: a new UUID)")
	flags.StringVarP(&f.logDirectory, "log-directory", "l", ".", "folder in which the log folder is made")
	flags.StringVarP(&f.stateDirectory, "state-directory", "s", "", "folder for what is kept across reboots (default: $INGOT_HOME/component-runs)")
	flags.BoolVarP(&f.trace, "trace", "t", false, "write everything that happens to application.log")
	flags.BoolP("version", "v", false, "print the version")
	f.cloud.register(cmd)
	f.upload.register(cmd)
	f.cloudWatch.register(cmd)
	f.vm.register(cmd)
	return cmd
}

// run is the whole of it. What the documents did is told by the summary and the exit status, what kept them from running by the error.
func (f *runFlags) run(cmd *cobra.Command) error {
	ctx := cmd.Context()
	documents, err := f.settle(cmd)
	if err != nil {
		return err
	}
	modules, err := modulesFor(f.vm.platform())
	if err != nil {
		return err
	}
	services, err := f.cloud.open(ctx)
	if err != nil {
		return err
	}
	saved, err := f.restore()
	if err != nil {
		return err
	}
	source := documentSource{services: services, owner: f.cloud.documentOwner, modules: modules}
	wrong := source.load(ctx, documents)
	if wrong == nil {
		if err := f.checkNames(documents); err != nil {
			return err
		}
	}
	folder, err := saved.folder(f)
	if err != nil {
		return err
	}
	folder.Trace = f.trace
	// A run that does not go on after a reboot, because it was called with other documents or parameters, leaves the folder as it is.
	begun := false
	begin := func() {
		if !begun {
			begun = true
			folder.Logf("Info ingot %s runs %s, phases %s", version, listed(documents), orAll(f.phases))
		}
	}
	if saved.State == nil {
		begin()
		for _, d := range documents {
			folder.Document(d.name, d.content)
		}
	}
	p := newRunProgress(os.Stderr)
	if at := saved.State; at != nil && at.Document >= 0 && at.Document < len(documents) {
		p.enter(documents[at.Document].name)
	}
	var result *component.Result
	if wrong == nil {
		request := f.request(documents, saved)
		keep := component.Kept(0, folder.Event)
		events := func(e component.Event) {
			begin()
			keep(e)
			p.event(e)
		}
		if f.vm.base != "" {
			result, wrong = f.vm.run(ctx, request, services, folder.Path(), p, events)
		} else {
			runner := &component.Runner{Modules: modules, System: services, Events: events, OutputLimit: -1}
			result, wrong = runner.Run(ctx, request)
		}
	}
	p.close()
	if !begun && wrong != nil {
		return f.refuse(cmd.OutOrStdout(), folder, saved, p, wrong)
	}
	return f.finish(ctx, cmd.OutOrStdout(), services, folder, saved, p, result, wrong)
}

// settle reads the config file and checks the flags.
func (f *runFlags) settle(cmd *cobra.Command) ([]givenDocument, error) {
	if (f.config == "") == (f.documents == "") {
		return nil, usageError{errors.New("give either --documents or --config")}
	}
	var documents []givenDocument
	parameters, err := parseParameters(f.parameters)
	if err != nil {
		return nil, err
	}
	if f.config != "" {
		if len(f.parameters) > 0 {
			return nil, usageError{errors.New("--parameters cannot be given with --config; put them into the file")}
		}
		c, err := readConfig(f.config, cmd.Flags())
		if err != nil {
			return nil, err
		}
		documents, parameters = c.documents, c.parameters
	} else {
		names, err := documentNames(f.documents)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			documents = append(documents, givenDocument{name: name})
		}
	}
	for i := range documents {
		documents[i].parameters = merged(parameters, documents[i].parameters)
	}
	if f.executionID == "" {
		f.executionID = uuid.NewString()
	}
	if err := logs.CheckExecutionID(f.executionID); err != nil {
		return nil, usageError{fmt.Errorf("--execution-id: %w", err)}
	}
	for _, check := range []func() error{f.checkPhases, f.cloudWatch.check, f.upload.check, func() error { return f.vm.check(cmd) }} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	return documents, nil
}

// parseParameters reads NAME=VALUE,NAME=VALUE. Mistakes are told by number: what looks like a name may be the rest of a secret value that
// has a comma in it.
func parseParameters(texts []string) (map[string]string, error) {
	parameters := map[string]string{}
	items := map[string]int{}
	item := 0
	for _, text := range texts {
		for pair := range strings.SplitSeq(text, ",") {
			item++
			name, value, ok := strings.Cut(pair, "=")
			switch {
			case !ok || name == "":
				return nil, usageError{fmt.Errorf("--parameters: item %d is not NAME=VALUE; a value with a comma goes into a file for --config", item)}
			case value == "":
				return nil, usageError{fmt.Errorf("--parameters: item %d has an empty value; leave the parameter out to get its default", item)}
			case items[name] != 0:
				return nil, usageError{fmt.Errorf("--parameters: items %d and %d give the same parameter", items[name], item)}
			}
			parameters[name], items[name] = value, item
		}
	}
	return parameters, nil
}

func merged(all, own map[string]string) map[string]string {
	values := map[string]string{}
	for _, from := range []map[string]string{all, own} {
		for name, value := range from {
			values[name] = value
		}
	}
	return values
}

// checkPhases checks the names of phases and takes away the space around them.
func (f *runFlags) checkPhases() error {
	if f.phases == "" {
		return nil
	}
	names := strings.Split(f.phases, ",")
	for i := range names {
		if names[i] = strings.TrimSpace(names[i]); names[i] == "" {
			return usageError{errors.New("--phases: a name is empty; separate phases by a comma")}
		}
	}
	f.phases = strings.Join(names, ",")
	return nil
}

func orAll(phases string) string {
	if phases == "" {
		return "all"
	}
	return phases
}

// checkNames holds the names of parameters against the documents. A parameter that no document has is ignored, as awstoe does, but not in
// silence; a secret that no document has is a mistake, for another name would not be kept secret.
func (f *runFlags) checkNames(documents []givenDocument) error {
	known := func(name string) bool {
		return slices.ContainsFunc(documents, func(d givenDocument) bool { return d.has(name) })
	}
	for _, name := range f.secrets {
		if !known(name) {
			return usageError{fmt.Errorf("--secret-parameters: no document has a parameter %q", name)}
		}
	}
	told := map[string]bool{}
	for _, d := range documents {
		for name := range d.parameters {
			if !known(name) && !told[name] {
				told[name] = true
				fmt.Fprintf(os.Stderr, "ingot: no document has a parameter %q: its value is ignored\n", name)
			}
		}
	}
	return nil
}

// has tells whether the document has a parameter or constant of that name. Whether constants may be set is for the engine to say.
func (d givenDocument) has(name string) bool {
	return slices.ContainsFunc(d.parsed.Parameters, func(p component.Parameter) bool { return p.Name == name }) ||
		slices.ContainsFunc(d.parsed.Constants, func(c component.Constant) bool { return c.Name == name })
}

// request makes the engine's request.
func (f *runFlags) request(documents []givenDocument, saved *savedRun) component.Request {
	request := component.Request{ExecutionID: f.executionID, Resume: saved.State}
	if f.vm.base == "" {
		request.WorkingDirectory = saved.WorkingDirectory
	}
	if f.phases != "" {
		request.Phases = strings.Split(f.phases, ",")
	}
	for _, d := range documents {
		r := component.RunDocument{Path: d.name, Content: d.content, Parameters: map[string]string{}}
		for name, value := range d.parameters {
			if d.has(name) {
				r.Parameters[name] = value
			}
		}
		for _, name := range f.secrets {
			if d.has(name) {
				r.SecretParameters = append(r.SecretParameters, name)
			}
		}
		request.Documents = append(request.Documents, r)
	}
	return request
}

// refuse ends a run that waits for its reboot still: its folder and its state stay as they are.
func (f *runFlags) refuse(stdout io.Writer, folder *logs.Folder, saved *savedRun, p *runProgress, wrong error) error {
	tellProblems(wrong)
	if err := errors.Join(folder.Close(), printSummary(stdout, folder.Summary(nil, wrong))); err != nil {
		return errors.Join(wrong, err)
	}
	return f.ending(saved, p, nil, wrong)
}

func tellProblems(wrong error) {
	if problems, ok := errors.AsType[component.Problems](wrong); ok {
		for _, p := range problems {
			fmt.Fprintln(os.Stderr, printable(p.String()))
		}
	}
}

// printSummary prints the summary in one line, as awstoe.
func printSummary(stdout io.Writer, s logs.Summary) error {
	e := json.NewEncoder(stdout)
	e.SetEscapeHTML(false)
	return e.Encode(s)
}

// finish completes the log folder, keeps what a reboot needs, and prints the summary. How the run ended decides the exit status; that logs
// could not be written or copied does so only for a run that succeeded.
func (f *runFlags) finish(ctx context.Context, stdout io.Writer, services component.System, folder *logs.Folder, saved *savedRun, p *runProgress, result *component.Result, wrong error) error {
	tellProblems(wrong)
	var lost error // what a reboot needs: nothing could go on after it
	unfinished := folder.Finish(result, wrong)
	if wrong == nil && result.Status == component.StatusReboot {
		lost = saved.save(f, folder, result.State)
	} else if result != nil || errors.Is(wrong, context.Canceled) {
		unfinished = errors.Join(unfinished, saved.remove(f))
	}
	unfinished = errors.Join(unfinished, f.upload.run(ctx, services.S3, folder.Path()))
	unfinished = errors.Join(unfinished, printSummary(stdout, folder.Summary(result, wrong)))
	if lost != nil {
		return errors.Join(unfinished, lost)
	}
	ending := f.ending(saved, p, result, wrong)
	if ending == nil {
		return unfinished
	}
	if unfinished != nil {
		fmt.Fprintf(os.Stderr, "ingot: %v\n", unfinished)
	}
	return ending
}

// ending tells how the run ended, and what exit status that makes.
func (f *runFlags) ending(saved *savedRun, p *runProgress, result *component.Result, wrong error) error {
	var problems component.Problems
	switch {
	case errors.Is(wrong, context.Canceled):
		return wrong
	case errors.As(wrong, &problems):
		return exitStatus(exitFailed)
	case wrong != nil && saved.State != nil:
		path, _ := f.statePath()
		return fmt.Errorf("%w; to begin anew instead, remove %s", wrong, path)
	case wrong != nil:
		return wrong
	case result.Status == component.StatusReboot:
		f.tellReboot(result)
		return rebootStatus()
	case result.Status != component.StatusSuccess:
		p.tellFailure(result.Failure)
		return exitStatus(exitFailed)
	}
	return nil
}

func (f *runFlags) tellReboot(result *component.Result) {
	when := "now"
	if result.RebootDelaySeconds > 0 {
		when = fmt.Sprintf("in %s", time.Duration(result.RebootDelaySeconds)*time.Second)
	}
	fmt.Fprintf(os.Stderr, "ingot: this machine must be rebooted %s; afterwards the same command with --execution-id %s goes on\n", when, f.executionID)
}
