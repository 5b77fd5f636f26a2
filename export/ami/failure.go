package ami

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/ingot-image/ingot/export/account"
)

// The steps that follow once an image is in its region, in the words of the service (its RegionFailure, imageConfigurationStep).
const (
	UpdateLaunchTemplates = "UPDATE_LAUNCH_TEMPLATES"
	PutSSMParameters      = "PUT_SSM_PARAMETERS"
	ExportAMI             = "EXPORT_AMI"
	AssociateLicenses     = "ASSOCIATE_LICENSES"
	UpdateFastLaunch      = "UPDATE_FAST_LAUNCH_CONFIGURATION"
)

// How a region fails, in the words of the service (its RegionFailure, status).
const (
	Failed    = "FAILED"
	Cancelled = "CANCELLED"
	TimedOut  = "TIMED_OUT"
)

// RegionFailure is what went wrong in one region, and there in one account (the service's RegionFailure).
type RegionFailure struct {
	Region    string `json:"region"`
	AccountID string `json:"targetAccountId,omitempty"`
	Status    string `json:"status"` // Failed, Cancelled, TimedOut
	// Step is UpdateLaunchTemplates, PutSSMParameters, AssociateLicenses, UpdateFastLaunch or ExportAMI. It is empty when the image could not be copied there, or not be given what
	// belongs to itself: tags, description, permissions, deprecation, protection.
	Step         string `json:"imageConfigurationStep,omitempty"`
	ErrorMessage string `json:"errorMessage"`

	Err error `json:"-"`
}

func (f RegionFailure) String() string {
	where := f.Region
	if f.AccountID != "" {
		where += ", account " + f.AccountID
	}
	if f.Step != "" {
		where += ", " + f.Step
	}
	return where + ": " + f.ErrorMessage
}

// DistributionError says in which regions a distribution failed (the service's DistributionFailureContext). All others have what they are to have.
type DistributionError struct {
	ErrorMessage   string          `json:"errorMessage"`
	RegionFailures []RegionFailure `json:"regionFailures"`
}

func (e *DistributionError) Error() string {
	lines := []string{e.ErrorMessage}
	for _, f := range e.RegionFailures {
		lines = append(lines, f.String())
	}
	return strings.Join(lines, "\n  ")
}

// Unwrap gives the causes.
func (e *DistributionError) Unwrap() []error {
	var causes []error
	for _, f := range e.RegionFailures {
		causes = append(causes, f.Err)
	}
	return causes
}

// failure tells of an error in the service's form.
func failure(ctx context.Context, s site, step string, err error) RegionFailure {
	err = account.Explain(err)
	f := RegionFailure{Region: s.region, AccountID: s.account, Status: Failed, Step: step, ErrorMessage: err.Error(), Err: err}
	switch {
	case ctx.Err() != nil:
		f.Status = Cancelled
	case errors.Is(err, errLate), errors.Is(err, context.DeadlineExceeded):
		f.Status = TimedOut
	}
	return f
}

// distributionError is nil if nothing failed.
func distributionError(failures []RegionFailure, regions int) error {
	if len(failures) == 0 {
		return nil
	}
	failed := map[string]bool{}
	for _, f := range failures {
		failed[f.Region] = true
	}
	return &DistributionError{ErrorMessage: fmt.Sprintf("distribution failed in %d of %d regions", len(failed), regions), RegionFailures: failures}
}
