package vmimport

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/servicequotas"

	"github.com/ingot-image/ingot/export/account"
	"github.com/ingot-image/ingot/export/preflight"
)

// quota is one of Service Quotas.
type quota struct {
	service, code string
	standard      int    // AWS's default, for accounts that may not ask
	what          string // that is counted
}

// The quotas that an import can meet (AWS General Reference, "Amazon EC2 endpoints and quotas", VM Import/Export and AMIs; "Amazon EBS endpoints and
// quotas"), with their codes as Service Quotas names them. Those of AMIs (50,000) and snapshots (100,000) in a region are too far off to be counted each time.
var (
	importTasks      = quota{"vmimportexport", "L-66ABAAD5", 20, "concurrent tasks of ImportImage, ImportSnapshot and ExportImage"}
	pendingSnapshots = quota{"ebs", "L-94D7AB7D", 100, "pending snapshots"}
	publicAMIs       = quota{"ec2", "L-0E3CBAB9", 5, "public AMIs"}
)

// limit asks Service Quotas for the account's value. Where that is not allowed or not there it is AWS's default, and why says so.
func (q quota) limit(ctx context.Context, client *servicequotas.Client) (n int, why string) {
	applied, err := client.GetServiceQuota(ctx, &servicequotas.GetServiceQuotaInput{ServiceCode: &q.service, QuotaCode: &q.code})
	if err == nil && applied.Quota != nil && applied.Quota.Value != nil {
		return int(*applied.Quota.Value), ""
	}
	if account.Code(err) == "NoSuchResourceException" { // the account has none of its own
		standard, err := client.GetAWSDefaultServiceQuota(ctx, &servicequotas.GetAWSDefaultServiceQuotaInput{ServiceCode: &q.service, QuotaCode: &q.code})
		if err == nil && standard.Quota != nil && standard.Quota.Value != nil {
			return int(*standard.Quota.Value), ""
		}
	}
	why = "AWS's default; the account's own is not known"
	if code := account.Code(err); code != "" {
		why += ": servicequotas:GetServiceQuota answers " + code
	}
	return q.standard, why
}

// quotas is G04.
func (e *examination) quotas(ctx context.Context) {
	f := about("G04", "quotas leave room, and encryption by default does not stand in the way")
	client := ec2.NewFromConfig(e.cfg)
	var told []string
	if e.Path == preflight.EBSDirect {
		told = e.room(ctx, f, e.Region, pendingSnapshots, "ec2:DescribeSnapshots", func() (int, error) { return snapshotsPending(ctx, client) }, told)
	} else {
		told = e.room(ctx, f, e.Region, importTasks, "ec2:DescribeImportSnapshotTasks, ec2:DescribeImportImageTasks and ec2:DescribeExportImageTasks",
			func() (int, error) { return tasksInFlight(ctx, client) }, told)
	}
	for _, region := range e.PublicIn {
		if !e.open(region) {
			continue
		}
		elsewhere := ec2.NewFromConfig(account.In(e.cfg, region))
		told = e.room(ctx, f, region, publicAMIs, "ec2:DescribeImages", func() (int, error) { return publicImages(ctx, elsewhere) }, told)
	}
	e.encryptionByDefault(ctx, client, f)
	if e.SizeGiB > 0 {
		told = append(told, readPrices().snapshotPrice(e.Region, e.SizeGiB))
	}
	e.concluded(f, preflight.Warning, strings.Join(told, "; "))
}

// room compares what there is with a quota, warns where no room is left, and otherwise adds what it saw to what is told.
func (e *examination) room(ctx context.Context, f preflight.Finding, region string, q quota, actions string, count func() (int, error), told []string) []string {
	where := fmt.Sprintf("%s in %s", q.what, region)
	n, err := count()
	if err != nil {
		e.add(unknownFor(f, preflight.Warning, where, err, "have "+actions+" allowed"))
		return told
	}
	limit, why := q.limit(ctx, servicequotas.NewFromConfig(account.In(e.cfg, region)))
	seen := fmt.Sprintf("%d of %d %s", n, limit, where)
	if why != "" {
		seen += " (" + why + ")"
	}
	if n < limit {
		return append(told, seen)
	}
	e.add(failed(f, preflight.Warning, fmt.Sprintf("quota %s of %s in %s", q.code, q.service, region), seen+": no room is left", "ResourceLimitExceeded",
		fmt.Sprintf("wait for some to end or remove some, or ask for more: aws service-quotas request-service-quota-increase --region %s --service-code %s --quota-code %s --desired-value %d",
			region, q.service, q.code, 2*limit)))
	return told
}

func snapshotsPending(ctx context.Context, client *ec2.Client) (n int, err error) {
	name := "status"
	pages := ec2.NewDescribeSnapshotsPaginator(client, &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}, Filters: []types.Filter{{Name: &name, Values: []string{"pending"}}}})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return 0, err
		}
		n += len(page.Snapshots)
	}
	return n, nil
}

func publicImages(ctx context.Context, client *ec2.Client) (n int, err error) {
	name := "is-public"
	pages := ec2.NewDescribeImagesPaginator(client, &ec2.DescribeImagesInput{Owners: []string{"self"}, Filters: []types.Filter{{Name: &name, Values: []string{"true"}}}})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return 0, err
		}
		n += len(page.Images)
	}
	return n, nil
}

// tasksInFlight counts the tasks that share the quota.
func tasksInFlight(ctx context.Context, client *ec2.Client) (n int, err error) {
	name := "task-state"
	active := []types.Filter{{Name: &name, Values: []string{"active"}}}
	snapshots := ec2.NewDescribeImportSnapshotTasksPaginator(client, &ec2.DescribeImportSnapshotTasksInput{Filters: active})
	for snapshots.HasMorePages() {
		page, err := snapshots.NextPage(ctx)
		if err != nil {
			return 0, err
		}
		n += len(page.ImportSnapshotTasks)
	}
	images := ec2.NewDescribeImportImageTasksPaginator(client, &ec2.DescribeImportImageTasksInput{Filters: active})
	for images.HasMorePages() {
		page, err := images.NextPage(ctx)
		if err != nil {
			return 0, err
		}
		n += len(page.ImportImageTasks)
	}
	exports := ec2.NewDescribeExportImageTasksPaginator(client, &ec2.DescribeExportImageTasksInput{Filters: active})
	for exports.HasMorePages() {
		page, err := exports.NextPage(ctx)
		if err != nil {
			return 0, err
		}
		n += len(page.ExportImageTasks)
	}
	return n, nil
}

// encryptionByDefault warns where an account that encrypts every volume cannot build on a snapshot that is not encrypted.
func (e *examination) encryptionByDefault(ctx context.Context, client *ec2.Client, f preflight.Finding) {
	if e.Path != preflight.EBSDirect {
		return
	}
	where := "EBS encryption by default in " + e.Region
	out, err := client.GetEbsEncryptionByDefault(ctx, &ec2.GetEbsEncryptionByDefaultInput{})
	if err != nil {
		e.add(unknownFor(f, preflight.Warning, where, err, "have ec2:GetEbsEncryptionByDefault allowed"))
		return
	}
	if out.EbsEncryptionByDefault == nil || !*out.EbsEncryptionByDefault || e.ParentSnapshotID == "" {
		return
	}
	parents, err := client.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{SnapshotIds: []string{e.ParentSnapshotID}})
	if err != nil {
		e.add(unknownFor(f, preflight.Warning, "parent "+e.ParentSnapshotID, err, "have ec2:DescribeSnapshots allowed"))
		return
	}
	for _, s := range parents.Snapshots {
		if s.Encrypted == nil || !*s.Encrypted {
			e.add(failed(f, preflight.Warning, "parent "+e.ParentSnapshotID, "the account encrypts by default, and the snapshot to build on is not encrypted: AWS refuses it as a parent",
				"ValidationException", "upload the whole image, once"))
		}
	}
}
