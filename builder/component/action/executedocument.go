package action

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/ingot-image/ingot/builder/component"
)

// ExecuteDocument runs another component document inside of the step, with its own phases, steps and parameters.
//
//   - The document is a file (s3:// or on the machine), the ARN of a component, or the name of a managed component. What is a file on the
//     machine is never taken for a name. A document has at most 64 KiB, and it is checked as a whole before any of its steps runs.
//   - The step fails when a step in there fails and its onFailure is not Ignore; steps outside have no access to the values inside.
//   - A reboot in there reboots the machine; then the document goes on where it was, as it was read before.
//   - Documents may be nested 3 levels deep. A document must not run one that is running already, except that it may run itself in a step
//     with a loop, as deep as that.
//   - The step has no timeout and one attempt, and must not say otherwise; the steps inside have their own.
//
// The output outputs is a summary, a JSON object with executedStepCount, executionId, failedStepCount, failureMessage,
// ignoredFailedStepCount, logUrl and status.
//
//	steps:
//	  - name: Baseline
//	    action: ExecuteDocument
//	    inputs:
//	      document: /opt/components/baseline.yml
//	      phases: build,validate
//	      parameters:
//	        - name: Release
//	          value: "{{ Release }}"
type ExecuteDocument struct {
	// Document is the path of a file, an address s3://BUCKET/KEY, the ARN of a component, or the name of a managed component.
	Document string `input:"document,required"`
	// DocumentS3BucketOwner is the number of the account that must own the bucket. Default: any.
	DocumentS3BucketOwner string `input:"document-s3-bucket-owner"`
	// Phases are the names of the phases to run, with commas between. Default: every phase.
	Phases string `input:"phases"`
	// Parameters are values for the document's parameters: a list of maps with name and value.
	Parameters *component.Node `input:"parameters"`
}

// CheckInputs implements [component.InputsChecker].
func (in *ExecuteDocument) CheckInputs(report func(input, message, hint string)) {
	if strings.HasPrefix(in.Document, "s3://") {
		if place, err := parseS3(in.Document); err != nil {
			report("document", err.Error(), "")
		} else if place.Key == "" || strings.HasSuffix(place.Key, "/") {
			report("document", "names no object", "an address of S3 is s3://BUCKET/KEY")
		}
	}
	if in.DocumentS3BucketOwner != "" && !accountGrammar.MatchString(in.DocumentS3BucketOwner) {
		report("document-s3-bucket-owner", fmt.Sprintf("%q is no number of an account", in.DocumentS3BucketOwner), "one has 12 digits")
	}
	if in.Phases != "" {
		for _, name := range in.phases() {
			if name == "" {
				report("phases", "has an empty name of a phase", "names have commas between, such as build,validate")
			}
		}
	}
	if _, err := in.parameters(); err != nil {
		report("parameters", err.Error(), "write - {name: NAME, value: VALUE} for every parameter")
	}
}

func (in *ExecuteDocument) phases() []string {
	if strings.TrimSpace(in.Phases) == "" {
		return nil
	}
	names := strings.Split(in.Phases, ",")
	for i, name := range names {
		names[i] = strings.TrimSpace(name)
	}
	return names
}

func (in *ExecuteDocument) parameters() (map[string]string, error) {
	if in.Parameters == nil {
		return nil, nil
	}
	if in.Parameters.Kind != component.List {
		return nil, errors.New("must be a list")
	}
	values := make(map[string]string)
	for i, item := range in.Parameters.Items {
		name, value := item.Get("name"), item.Get("value")
		switch {
		case name == nil || name.Kind != component.Scalar || name.Text == "":
			return nil, fmt.Errorf("item %d has no name", i)
		case value == nil || value.Kind != component.Scalar:
			return nil, fmt.Errorf("item %d has no value", i)
		case len(item.Entries) != 2:
			return nil, fmt.Errorf("item %d has other keys than name and value", i)
		}
		if _, twice := values[name.Text]; twice {
			return nil, fmt.Errorf("%q is here twice", name.Text)
		}
		values[name.Text] = value.Text
	}
	return values, nil
}

// documentSummary is the output of the step.
type documentSummary struct {
	ExecutedStepCount      int              `json:"executedStepCount"`
	ExecutionID            string           `json:"executionId"`
	FailedStepCount        int              `json:"failedStepCount"`
	FailureMessage         string           `json:"failureMessage"`
	IgnoredFailedStepCount int              `json:"ignoredFailedStepCount"`
	LogURL                 string           `json:"logUrl"` // there is no log of its own
	Status                 component.Status `json:"status"`
}

// Run implements [component.Action].
func (in ExecuteDocument) Run(ctx context.Context, x *component.Execution) (component.Outcome, error) {
	result, err := x.RunDocument(ctx, func(ctx context.Context) (component.NestedDocument, error) {
		parameters, err := in.parameters()
		if err != nil {
			return component.NestedDocument{}, err
		}
		content, err := in.load(ctx, x)
		return component.NestedDocument{Path: in.Document, Content: content, Parameters: parameters, Phases: in.phases()}, err
	})
	if result == nil {
		return component.Outcome{}, err
	}
	if result.Status == component.StatusReboot {
		return component.Outcome{Reboot: &component.RebootRequest{DelaySeconds: result.RebootDelaySeconds, Rerun: true}}, nil
	}
	summary := documentSummary{
		ExecutedStepCount: result.ExecutedSteps, ExecutionID: result.ExecutionID, FailedStepCount: result.FailedSteps,
		IgnoredFailedStepCount: result.IgnoredFailedSteps, Status: result.Status,
	}
	if err != nil {
		summary.FailureMessage = fmt.Sprintf("Document %s failed!", in.Document)
	}
	text, marshal := json.Marshal(summary)
	return component.Outcome{Outputs: map[string]string{"outputs": string(text)}}, errors.Join(err, marshal)
}

// componentName is how components are called, with a version or without: they are no paths.
var componentName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,127}(/[0-9x.]+(/[0-9]+)?)?$`)

// load reads the document from where it is.
func (in *ExecuteDocument) load(ctx context.Context, x *component.Execution) ([]byte, error) {
	content := limitedBuffer{limit: component.MaxDocumentSize}
	var err error
	switch {
	case strings.HasPrefix(in.Document, "s3://"):
		err = in.loadS3(ctx, x, &content)
	case strings.HasPrefix(in.Document, "arn:"):
		err = in.loadComponent(ctx, x, &content)
	default:
		err = in.loadFile(ctx, x, &content)
		if errors.Is(err, os.ErrNotExist) && componentName.MatchString(in.Document) && x.Components != nil {
			err = in.loadComponent(ctx, x, &content)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("get the document %s: %w", in.Document, err)
	}
	return content.Bytes(), nil
}

func (in *ExecuteDocument) loadS3(ctx context.Context, x *component.Execution, w io.Writer) error {
	if x.S3 == nil {
		return errNoS3
	}
	place, err := parseS3(in.Document)
	if err != nil {
		return err
	}
	place.ExpectedBucketOwner = in.DocumentS3BucketOwner
	return x.S3.Get(ctx, place, w)
}

func (in *ExecuteDocument) loadComponent(ctx context.Context, x *component.Execution, w io.Writer) error {
	if x.Components == nil {
		return errors.New("components are not available here")
	}
	content, err := x.Components.Component(ctx, in.Document)
	if err == nil {
		_, err = w.Write(content)
	}
	return err
}

func (in *ExecuteDocument) loadFile(ctx context.Context, x *component.Execution, w io.Writer) error {
	path := x.Path(in.Document)
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() { // reading a pipe might never end
		return errors.New("it is no regular file")
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.Copy(w, component.ContextReader(ctx, file))
	return err
}

// limitedBuffer refuses more than its limit, in bytes.
type limitedBuffer struct {
	bytes.Buffer
	limit int
}

// Write implements [io.Writer].
func (b *limitedBuffer) Write(data []byte) (int, error) {
	if b.Len()+len(data) > b.limit {
		return 0, fmt.Errorf("it is larger than %d KiB", b.limit>>10)
	}
	return b.Buffer.Write(data)
}

// ReadFrom implements [io.ReaderFrom] in place of the buffer's own, which knows no limit.
func (b *limitedBuffer) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{b}, r)
}
