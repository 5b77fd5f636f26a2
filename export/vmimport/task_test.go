package vmimport_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	"github.com/ingot-image/ingot/export/record"
	"github.com/ingot-image/ingot/export/vmimport"
)

// tasks is EC2 with one task, whose answers are scripted; the last one stays.
type tasks struct {
	starts    []error // what the requests to start it answer, then nil
	answers   []any   // error, or *types.SnapshotTaskDetail
	tokens    []string
	describes int
	cancelled string
	onAsk     func(n int)
}

func (f *tasks) ImportSnapshot(_ context.Context, in *ec2.ImportSnapshotInput, _ ...func(*ec2.Options)) (*ec2.ImportSnapshotOutput, error) {
	f.tokens = append(f.tokens, *in.ClientToken)
	if len(f.starts) > 0 {
		err := f.starts[0]
		f.starts = f.starts[1:]
		if err != nil {
			return nil, err
		}
	}
	return &ec2.ImportSnapshotOutput{ImportTaskId: aws.String("import-snap-1")}, nil
}

func (f *tasks) DescribeImportSnapshotTasks(ctx context.Context, in *ec2.DescribeImportSnapshotTasksInput, _ ...func(*ec2.Options)) (*ec2.DescribeImportSnapshotTasksOutput, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	answer := f.answers[min(f.describes, len(f.answers)-1)]
	f.describes++
	if f.onAsk != nil {
		f.onAsk(f.describes)
	}
	switch answer := answer.(type) {
	case error:
		return nil, answer
	case *types.SnapshotTaskDetail:
		return &ec2.DescribeImportSnapshotTasksOutput{ImportSnapshotTasks: []types.ImportSnapshotTask{{ImportTaskId: &in.ImportTaskIds[0], SnapshotTaskDetail: answer}}}, nil
	}
	return &ec2.DescribeImportSnapshotTasksOutput{}, nil
}

func (f *tasks) CancelImportTask(_ context.Context, in *ec2.CancelImportTaskInput, _ ...func(*ec2.Options)) (*ec2.CancelImportTaskOutput, error) {
	f.cancelled = *in.ImportTaskId
	return &ec2.CancelImportTaskOutput{}, nil
}

func api(code, message string) error {
	return &smithy.GenericAPIError{Code: code, Message: message, Fault: smithy.FaultClient}
}

func at(status, progress, message string) *types.SnapshotTaskDetail {
	d := &types.SnapshotTaskDetail{Status: &status, SnapshotId: aws.String("snap-1")}
	if progress != "" {
		d.Progress = &progress
	}
	if message != "" {
		d.StatusMessage = &message
	}
	return d
}

func book(t *testing.T) *record.Book {
	b, err := record.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func options(b vmimport.Record) vmimport.SnapshotOptions {
	return vmimport.SnapshotOptions{Bucket: "images", Key: "ingot/web.vmdk", Format: "vmdk", Record: b, Poll: time.Millisecond, Tags: map[string]string{"a": "1", "b": "2", "c": "3"}}
}

func TestTaskIsFollowedThroughTroubleToItsEnd(t *testing.T) {
	f := &tasks{answers: []any{
		api("InvalidConversionTaskId.NotFound", "The import task ID does not exist"), nil, at("active", "", ""), api("RequestLimitExceeded", "Request limit exceeded."),
		at("active", "19", "pending"), at("active", "19", "pending"), api("Throttling", "Rate exceeded"), at("active", "56", "converting"), at("completed", "", ""),
	}}
	o := options(nil)
	var told []string
	o.Progress = func(percent int, message string) { told = append(told, fmt.Sprintf("%d %s", percent, message)) }
	got, err := vmimport.ImportSnapshot(t.Context(), f, o)
	if err != nil || got.SnapshotID != "snap-1" || got.TaskID != "import-snap-1" {
		t.Fatalf("%+v, %v", got, err)
	}
	if want := []string{"0 active", "19 pending", "56 converting", "100 completed"}; !reflect.DeepEqual(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
}

func TestTaskThatEndsBadlyEndsTheWaitAtOnce(t *testing.T) {
	const message = "ClientError: Disk validation failed [Unsupported VMDK File Format]"
	for _, status := range []string{"deleted", "deleting", "error"} {
		f := &tasks{answers: []any{at("active", "3", "validating"), at(status, "", message)}}
		b := book(t)
		_, err := vmimport.ImportSnapshot(t.Context(), f, options(b))
		var failed *vmimport.TaskError
		if !errors.As(err, &failed) || failed.StatusMessage != message || failed.Status != status || !strings.Contains(failed.Remedy, "streamOptimized") || failed.TaskID != "import-snap-1" {
			t.Errorf("%s: %+v", status, err)
		}
		if f.describes != 2 {
			t.Errorf("%s: asked %d times", status, f.describes)
		}
		// The next run starts another task.
		f.answers = []any{at("completed", "", "")}
		if _, err := vmimport.ImportSnapshot(t.Context(), f, options(b)); err != nil || len(f.tokens) != 2 || f.tokens[0] == f.tokens[1] {
			t.Errorf("%s: the next run: %v, tokens %q", status, err, f.tokens)
		}
	}
}

func TestRestartedCommandGoesOn(t *testing.T) {
	b := book(t)
	ctx, cancel := context.WithCancel(t.Context())
	f := &tasks{answers: []any{at("active", "43", "converting")}, onAsk: func(n int) {
		if n == 2 {
			cancel()
		}
	}}
	_, err := vmimport.ImportSnapshot(ctx, f, options(b))
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "import-snap-1 goes on at AWS, at 43 % (converting)") || f.cancelled != "" {
		t.Fatalf("interrupted: %v", err)
	}
	f.answers, f.onAsk = []any{at("completed", "", "")}, nil
	if got, err := vmimport.ImportSnapshot(t.Context(), f, options(b)); err != nil || got.TaskID != "import-snap-1" || len(f.tokens) != 1 {
		t.Fatalf("restarted: %+v, %v, %d starts", got, err, len(f.tokens))
	}
	// Other content at the same place is another task.
	o := options(b)
	o.Content = "sha256:2"
	if _, err := vmimport.ImportSnapshot(t.Context(), f, o); err != nil || len(f.tokens) != 2 {
		t.Fatalf("other content: %v, %d starts", err, len(f.tokens))
	}
}

// TestKillBeforeTheAnswer starts the task again with the token of the first request, which EC2 answers with the same task.
func TestKillBeforeTheAnswer(t *testing.T) {
	b := book(t)
	f := &tasks{starts: []error{errors.New("connection reset by peer")}, answers: []any{at("completed", "", "")}}
	if _, err := vmimport.ImportSnapshot(t.Context(), f, options(b)); err == nil {
		t.Fatal("no error")
	}
	if _, err := vmimport.ImportSnapshot(t.Context(), f, options(b)); err != nil || len(f.tokens) != 2 || f.tokens[0] != f.tokens[1] {
		t.Fatalf("%v, tokens %q", err, f.tokens)
	}
}

func TestRefusedTaskHasARemedy(t *testing.T) {
	f := &tasks{starts: []error{api("InvalidParameter", "Invalid S3 source location")}}
	_, err := vmimport.ImportSnapshot(t.Context(), f, options(book(t)))
	var failed *vmimport.TaskError
	if !errors.As(err, &failed) || failed.Status != "refused" || !strings.Contains(failed.Remedy, "does not find the object") || len(f.tokens) != 1 {
		t.Fatalf("%v after %d requests", err, len(f.tokens))
	}
}

// TestRoleThatWasJustMade asks again, with the same token, while AWS does not see the role, and gives up in the end.
func TestRoleThatWasJustMade(t *testing.T) {
	unseen := api("InvalidParameter", "The service role vmimport does not exist or does not have sufficient permissions for the service to continue")
	f := &tasks{starts: []error{unseen, unseen}, answers: []any{at("completed", "", "")}}
	if _, err := vmimport.ImportSnapshot(t.Context(), f, options(book(t))); err != nil || len(f.tokens) != 3 || f.tokens[0] != f.tokens[2] {
		t.Errorf("%v after %q", err, f.tokens)
	}
	f = &tasks{starts: slices.Repeat([]error{unseen}, 100)}
	_, err := vmimport.ImportSnapshot(t.Context(), f, options(book(t)))
	var failed *vmimport.TaskError
	if !errors.As(err, &failed) || !strings.Contains(failed.Remedy, "ingot aws setup") || len(f.tokens) > 10 {
		t.Errorf("%v after %d requests", err, len(f.tokens))
	}
}

func TestLimitNamesItsCause(t *testing.T) {
	f := &tasks{answers: []any{at("active", "7", "booting")}}
	o := options(nil)
	o.Limit = 20 * time.Millisecond
	_, err := vmimport.ImportSnapshot(t.Context(), f, o)
	if err == nil || !strings.Contains(err.Error(), "waiting for task import-snap-1 took longer than 20ms: at 7 % (booting)") {
		t.Fatal(err)
	}
}

func TestCancelOnStopCancels(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	f := &tasks{answers: []any{at("active", "", "")}, onAsk: func(int) { cancel() }}
	b := book(t)
	o := options(b)
	o.CancelOnStop = true
	if _, err := vmimport.ImportSnapshot(ctx, f, o); !errors.Is(err, context.Canceled) || f.cancelled != "import-snap-1" {
		t.Fatalf("%v, cancelled %q", err, f.cancelled)
	}
	f.answers, f.onAsk = []any{at("completed", "", "")}, nil
	if _, err := vmimport.ImportSnapshot(t.Context(), f, o); err != nil || len(f.tokens) != 2 {
		t.Fatalf("the next run: %v, %d starts", err, len(f.tokens))
	}
}

func TestTaskThatStaysUnknown(t *testing.T) {
	f := &tasks{answers: []any{nil}}
	_, err := vmimport.ImportSnapshot(t.Context(), f, options(book(t)))
	var failed *vmimport.TaskError
	if !errors.As(err, &failed) || failed.Status != "unknown" || f.describes < 20 {
		t.Fatalf("%v after %d", err, f.describes)
	}
}

func TestDeniedDescribeEndsTheWait(t *testing.T) {
	f := &tasks{answers: []any{api("UnauthorizedOperation", "You are not authorized to perform this operation.")}}
	if _, err := vmimport.ImportSnapshot(t.Context(), f, options(nil)); err == nil || f.describes != 1 || !strings.Contains(err.Error(), "do not allow") {
		t.Fatalf("%v after %d", err, f.describes)
	}
}

func TestImportImageRefusesBeforeTheUpload(t *testing.T) {
	_, err := vmimport.ImportImage(t.Context(), nil, vmimport.ImageOptions{BootMode: "uefi-preferred", Architecture: "arm64"})
	for _, want := range []string{"no disk", "uefi-preferred", "arm64"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want %s", err, want)
		}
	}
}
