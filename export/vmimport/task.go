package vmimport

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"strconv"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"

	"github.com/ingot-image/ingot/export/account"
)

// task is a task of VM Import/Export from its request to its end, whichever action it is of. R is what it makes.
type task[R any] struct {
	action   string // "import snapshot", for messages
	key      string // of the record
	request  any    // what is asked for, by which a record of something else is told apart; without the token
	record   Record // nil: nothing is kept
	progress func(percent int, message string)
	poll     time.Duration
	limit    time.Duration
	// abandon cancels the task when ctx ends.
	abandon bool

	start    func(ctx context.Context, token string) (id string, err error)
	describe func(ctx context.Context, id string) (*state[R], error) // nil: AWS does not know it yet
	cancel   func(ctx context.Context, id string) error
}

// state is what AWS tells of a task.
type state[R any] struct {
	status, message, progress *string
	result                    R
}

// started is the record of a task. It is put before the task is asked for, without an id, so that a kill in between is harmless: EC2 answers the
// same request with the same token with the task that it has ("Ensuring idempotency").
type started struct {
	Token   string `json:"token"`
	Request string `json:"request"` // digest
	TaskID  string `json:"taskId,omitempty"`
}

// visible is how many polls a task that was started may be unknown to AWS, which is consistent in the end only.
const visible = 24

// run starts the task, or takes up the one that the record has, and follows it to its end.
func (t *task[R]) run(ctx context.Context) (id string, result R, err error) {
	s, err := t.begin(ctx)
	if err != nil {
		return "", result, err
	}
	done, err := t.follow(ctx, s.TaskID)
	var failed *TaskError
	switch {
	case errors.As(err, &failed):
		// The next run begins anew: there is nothing to go on with.
		return s.TaskID, result, errors.Join(err, t.forget())
	case err != nil:
		return s.TaskID, result, err
	}
	return s.TaskID, done.result, nil
}

// begin gives the task that is to be followed.
func (t *task[R]) begin(ctx context.Context) (*started, error) {
	request, err := json.Marshal(t.request)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.action, err)
	}
	digest := sha256.Sum256(request)
	s := &started{}
	if t.record != nil {
		if _, err := t.record.Get(t.key, s); err != nil {
			return nil, fmt.Errorf("%s: %w", t.action, err)
		}
	}
	if want := hex.EncodeToString(digest[:]); s.Request != want {
		s = &started{Token: rand.Text(), Request: want}
		if err := t.keep(s); err != nil {
			return nil, err
		}
	}
	if s.TaskID != "" {
		return s, nil
	}
	for tries := 0; ; tries++ {
		s.TaskID, err = t.start(ctx, s.Token)
		if err == nil {
			return s, t.keep(s)
		}
		if !roleUnseen(err) || tries >= roleTries {
			return nil, t.refused(ctx, err)
		}
		if t.progress != nil {
			t.progress(0, "AWS does not see the service role; one that was just made takes a while")
		}
		if !sleep(ctx, interval(t.poll, tries)) {
			return nil, fmt.Errorf("%s: %w", t.action, context.Cause(ctx))
		}
	}
}

// roleTries is how often a task is asked for again where AWS does not see the service role, with the pauses between polls: for about a minute, which IAM
// takes at most to tell everybody of a role that was just made or changed (reported: confidential-containers/cloud-api-adaptor#3287).
const roleTries = 7

func roleUnseen(err error) bool {
	var api smithy.APIError
	return errors.As(err, &api) && strings.Contains(strings.ToLower(api.ErrorMessage()), "service role") && strings.Contains(api.ErrorMessage(), "does not exist or does not have sufficient permissions")
}

// refused makes of the answer to a request to start what is told. Only an answer that will stay the same makes the token useless.
func (t *task[R]) refused(ctx context.Context, err error) error {
	var api smithy.APIError
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", t.action, context.Cause(ctx))
	}
	if !errors.As(err, &api) || passing(err) {
		return fmt.Errorf("%s: %w", t.action, account.Explain(err))
	}
	text := api.ErrorCode()
	if message := api.ErrorMessage(); message != "" {
		text += ": " + message
	}
	return errors.Join(&TaskError{Action: t.action, Status: "refused", StatusMessage: text, Remedy: Remedy(text), Err: account.Explain(err)}, t.forget())
}

// follow waits for the task's end.
func (t *task[R]) follow(ctx context.Context, id string) (*state[R], error) {
	limited, stop := context.WithTimeout(ctx, t.limit)
	defer stop()
	var last watched
	for polls := 0; ; polls++ {
		s, err := t.describe(limited, id)
		switch {
		case err != nil && unknown(err):
			s, err = nil, nil
		case err != nil && !passing(err) && limited.Err() == nil:
			return nil, fmt.Errorf("%s: ask for task %s: %w", t.action, id, account.Explain(err))
		}
		if s == nil && err == nil && !last.seen && polls >= visible {
			return nil, errors.Join(&TaskError{Action: t.action, TaskID: id, Status: "unknown", StatusMessage: "",
				Remedy: "AWS does not know this task, in this account and region; run the command again to start another"}, t.forget())
		}
		if limited.Err() == nil {
			last.trouble = err
		}
		if s != nil {
			last.see(s.status, s.message, s.progress, t.progress)
			switch strings.ToLower(sdk.ToString(s.status)) {
			case "completed":
				return s, nil
			case "deleted", "deleting", "error":
				message := sdk.ToString(s.message)
				return nil, &TaskError{Action: t.action, TaskID: id, Status: sdk.ToString(s.status), StatusMessage: message, Remedy: Remedy(message)}
			}
		}
		if !sleep(limited, interval(t.poll, polls)) {
			return nil, t.stopped(ctx, id, &last)
		}
	}
}

// watched is what was last seen of a task.
type watched struct {
	seen    bool
	percent int
	message string
	trouble error
}

// see takes what AWS told, of which everything may be missing, and passes on what is new.
func (w *watched) see(status, message, progress *string, tell func(int, string)) {
	before := *w
	w.seen = true
	if n, err := strconv.Atoi(strings.TrimSuffix(sdk.ToString(progress), "%")); err == nil {
		w.percent = min(max(n, 0), 100)
	}
	w.message = cmp.Or(sdk.ToString(message), sdk.ToString(status))
	if sdk.ToString(status) == "completed" {
		w.percent = 100
	}
	if tell != nil && (!before.seen || before.percent != w.percent || before.message != w.message) {
		tell(w.percent, w.message)
	}
}

// stopped says why the wait for a task has ended before the task did.
func (t *task[R]) stopped(ctx context.Context, id string, last *watched) error {
	where := "AWS has told nothing of it yet"
	if last.seen {
		where = fmt.Sprintf("at %d %% (%s)", last.percent, last.message)
	}
	if last.trouble != nil {
		where += fmt.Sprintf("; the last answer was %v", account.Explain(last.trouble))
	}
	if ctx.Err() == nil {
		return fmt.Errorf("%s: waiting for task %s took longer than %s: %s; it goes on at AWS: run the same command again to go on with it", t.action, id, t.limit, where)
	}
	if !t.abandon {
		return fmt.Errorf("%s: %w; task %s goes on at AWS, %s: run the same command again to go on with it", t.action, context.Cause(ctx), id, where)
	}
	late, stop := context.WithTimeout(context.WithoutCancel(ctx), cancelLimit)
	defer stop()
	if err := t.cancel(late, id); err != nil {
		return fmt.Errorf("%s: %w; task %s could not be cancelled and goes on at AWS: %w", t.action, context.Cause(ctx), id, account.Explain(err))
	}
	return errors.Join(fmt.Errorf("%s: %w; task %s was cancelled", t.action, context.Cause(ctx), id), t.forget())
}

// cancelLimit is how long cancelling may take, for the command has been told to end.
const cancelLimit = 20 * time.Second

func (t *task[R]) keep(s *started) error {
	if t.record == nil {
		return nil
	}
	if err := t.record.Put(t.key, s); err != nil {
		return fmt.Errorf("%s: %w", t.action, err)
	}
	return nil
}

func (t *task[R]) forget() error {
	if t.record == nil {
		return nil
	}
	return t.record.Delete(t.key)
}

// passing tells whether asking again may help: throttling, 5xx and connections that break.
func passing(err error) bool {
	return retry.IsErrorRetryables(retry.DefaultRetryables).IsErrorRetryable(err) == sdk.TrueTernary ||
		retry.IsErrorThrottles(retry.DefaultThrottles).IsErrorThrottle(err) == sdk.TrueTernary
}

// unknown tells whether the answer is that there is no such task, as it is right after its start (EC2 API Reference, "Error codes").
func unknown(err error) bool {
	code := account.Code(err)
	for _, prefix := range []string{"InvalidConversionTaskId", "InvalidImportTaskId", "InvalidExportTaskID"} {
		if len(code) >= len(prefix) && strings.EqualFold(code[:len(prefix)], prefix) && !strings.HasSuffix(code, ".Malformed") {
			return true
		}
	}
	return false
}

// interval grows from the base to six times that, and is spread by a fifth so that many commands do not ask at once.
func interval(base time.Duration, polls int) time.Duration {
	d := base + base*time.Duration(min(polls, 20))/4
	return d - d/5 + mathrand.N(2*d/5+1)
}

// sleep tells whether ctx let it.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
