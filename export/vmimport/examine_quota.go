package vmimport

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ingot-image/ingot/export/preflight"
)

// pricesJSON is dated data: AWS changes it, and no API tells it without credentials of another kind.
//
//go:embed prices.json
var pricesJSON []byte

type prices struct {
	Date                    string             `json:"date"`
	USDPerGiBMonth          map[string]float64 `json:"usdPerGiBMonth"`
	USDPerGiBMonthElsewhere float64            `json:"usdPerGiBMonthElsewhere"`
	ImportTasks             int                `json:"importTasks"` // that may be in flight in a region
}

func readPrices() prices {
	var p prices
	if err := json.Unmarshal(pricesJSON, &p); err != nil {
		panic(err) // the program's own file, which a test reads
	}
	return p
}

// snapshotPrice says what a full snapshot costs at most; only written blocks count.
func (p prices) snapshotPrice(region string, gib int64) string {
	perGiB, known := p.USDPerGiBMonth[region]
	about := ""
	if !known {
		perGiB, about = p.USDPerGiBMonthElsewhere, "about "
	}
	return fmt.Sprintf("a snapshot of %d GiB costs at most %s%.2f USD a month (list price of %s)", gib, about, perGiB*float64(gib), p.Date)
}

// quotas is G04.
func (e *examination) quotas(ctx context.Context) {
	f := about("G04", "quotas leave room, and encryption by default does not stand in the way")
	client := ec2.NewFromConfig(e.cfg)
	p := readPrices()
	var told []string
	if e.Path != preflight.EBSDirect {
		inFlight, err := tasksInFlight(ctx, client)
		switch {
		case err != nil:
			e.add(unknownFor(f, preflight.Warning, "import tasks in "+e.Region, err, "have ec2:DescribeImportSnapshotTasks and ec2:DescribeImportImageTasks allowed"))
		case inFlight >= p.ImportTasks:
			e.add(failed(f, preflight.Warning, "import tasks in "+e.Region, fmt.Sprintf("%d are in flight, and accounts begin with a quota of %d (as of %s)", inFlight, p.ImportTasks, p.Date),
				"ResourceLimitExceeded", "wait for some to end, or ask AWS for a higher quota"))
		default:
			told = append(told, fmt.Sprintf("%d import tasks are in flight", inFlight))
		}
	}
	e.encryptionByDefault(ctx, client, f)
	if e.SizeGiB > 0 {
		told = append(told, p.snapshotPrice(e.Region, e.SizeGiB))
	}
	e.concluded(f, preflight.Warning, strings.Join(told, "; "))
}

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
