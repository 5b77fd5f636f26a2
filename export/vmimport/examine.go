package vmimport

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/ingot-image/ingot/export/account"
	"github.com/ingot-image/ingot/export/preflight"
)

// Needs say what an account is to be used for.
type Needs struct {
	Path   preflight.Path // default ImportSnapshot
	Region string         // where the image is imported, default the configuration's
	Bucket string         // default DefaultBucket's
	Prefix string         // of the keys in it, default "ingot/"
	// RoleName is the service role, default DefaultRole. KMSKeyID is the key that the snapshot gets encrypted with.
	RoleName string
	KMSKeyID string
	// CopyKeys are the keys that the AMIs of regions get encrypted with.
	CopyKeys []CopyKey
	// ParentSnapshotID is the snapshot that an upload by EBS direct builds on.
	ParentSnapshotID string
	AMINames         map[string][]string // by region
	// Image is the image itself, NAME/VERSION/BUILD: an AMI that is tagged ingot:image with it is no other's.
	Image   string
	SizeGiB int64 // of the volume, 0 if it is not known
	// PublicIn are the regions where the AMI gets shared with everybody, of which there is a quota.
	PublicIn []string
	// TryWrite allows to write a small object into the bucket, and to delete it, which is the only way to be sure.
	TryWrite bool
}

// CopyKey is the KMS key of a region's AMI.
type CopyKey struct {
	Region   string
	KMSKeyID string // id, ARN or alias/NAME
	Shared   bool   // the AMI is shared with other accounts, which must be able to use the key
}

// DefaultBucket is what the bucket for imports is called where nobody says otherwise.
func DefaultBucket(accountID, region string) string {
	return "ingot-import-" + accountID + "-" + region
}

// Examine tells whether the account has what an import needs: the checks G01 to G05 of Ingot's table, each with at least one finding. It changes nothing
// but for TryWrite. What the credentials do not let it see is Unknown. The error is ctx's cause.
func Examine(ctx context.Context, cfg aws.Config, n Needs) ([]preflight.Finding, error) {
	n.Path = cmp.Or(n.Path, preflight.ImportSnapshot)
	n.Region = cmp.Or(n.Region, cfg.Region)
	n.Prefix = cmp.Or(n.Prefix, "ingot/")
	n.RoleName = cmp.Or(n.RoleName, DefaultRole)
	e := &examination{Needs: n, cfg: account.In(cfg, n.Region)}
	if e.caller(ctx) {
		e.Bucket = cmp.Or(n.Bucket, DefaultBucket(e.accountID, n.Region))
		e.bucket(ctx)
		e.role(ctx)
		e.quotas(ctx)
		e.names(ctx)
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("examine the AWS account: %w", context.Cause(ctx))
	}
	return e.findings, nil
}

// NoAccount is the finding G01 for an account that could not be loaded.
func NoAccount(err error) preflight.Finding {
	f := about("G01", "credentials are there, for enabled regions, and not those of the root user")
	return failed(f, preflight.Fatal, "the settings of the AWS SDK", err.Error(), "AuthFailure", "log in with the AWS command line, or set AWS_PROFILE, and AWS_REGION")
}

// examination is one look at an account.
type examination struct {
	Needs
	cfg       aws.Config
	accountID string
	callerARN string    // of the user or role, as policies are simulated for it
	partition string    // of ARNs, as the caller's own names it
	keys      []*kmsKey // that the role must be allowed to use
	closed    []string  // regions that are not there or not enabled
	findings  []preflight.Finding
}

func (e *examination) add(f preflight.Finding) { e.findings = append(e.findings, f) }

// about begins the finding of a check.
func about(id, title string) preflight.Finding {
	return preflight.Finding{ID: id, Title: title, Status: preflight.Passed}
}

func failed(f preflight.Finding, level preflight.Level, where, seen, prevents, fix string) preflight.Finding {
	f.Status, f.Level, f.Where, f.Seen, f.Prevents, f.Fix = preflight.Failed, level, where, seen, prevents, fix
	return f
}

// unknown is for what the credentials do not let us see.
func unknownFor(f preflight.Finding, level preflight.Level, where string, err error, fix string) preflight.Finding {
	f.Status, f.Level, f.Where, f.Reason, f.Fix = preflight.Unknown, level, where, "cannot check: "+account.Explain(err).Error(), fix
	return f
}

// concluded adds that a check passed if no finding of it says otherwise.
func (e *examination) concluded(f preflight.Finding, level preflight.Level, reason string) {
	if slices.ContainsFunc(e.findings, func(o preflight.Finding) bool { return o.ID == f.ID && o.Status != preflight.Passed }) {
		return
	}
	f.Level, f.Reason = level, reason
	e.add(f)
}

// throughS3 tells whether the path needs a bucket and a role, and adds that the check was skipped if it does not.
func (e *examination) throughS3(f preflight.Finding) bool {
	if e.Path != preflight.EBSDirect {
		return true
	}
	f.Status, f.Reason = preflight.Skipped, "ebs-direct needs neither bucket nor role"
	e.add(f)
	return false
}
