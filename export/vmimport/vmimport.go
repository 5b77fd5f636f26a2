// Package vmimport has VM Import/Export of EC2 make snapshots and images of files in S3, and files in S3 of images: it starts tasks, follows
// them to their end, and goes on with those that an earlier run of the same command has started.
//
//	imported, err := vmimport.ImportSnapshot(ctx, ec2.NewFromConfig(cfg), vmimport.SnapshotOptions{
//		Bucket: "images", Key: "ingot/web.vmdk", Format: "VMDK", Record: book,
//	})
//	var failed *vmimport.TaskError
//	if errors.As(err, &failed) {
//		fmt.Println(failed.StatusMessage, failed.Remedy) // AWS's words, and what to do
//	}
//
// A task that AWS gives up, which it shows as deleting, deleted or error, ends the wait at once; what AWS said of it is kept word by word, and
// [Remedy] knows what to do. Throttling, 5xx, cut connections and tasks that AWS does not know of yet are waited out. A task outlives the command: when
// ctx ends it goes on at AWS, and the same command finds it again by its record.
//
// VM Import needs a bucket and a role of the account. [Examine] tells what of these is missing, [PlanSetup] makes it.
//
// Sources: VM Import/Export User Guide ("Importing a disk as a snapshot using VM Import/Export", "Required permissions", "Troubleshoot"), and the
// EC2 API Reference of the actions.
package vmimport

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// DefaultRole is the service role that VM Import/Export takes if it is told none.
const DefaultRole = "vmimport"

// Record keeps what an earlier run has started; [record.Book] is one.
type Record interface {
	Get(key string, v any) (bool, error)
	Put(key string, v any) error
	Delete(key string) error
}

// TaskError says that AWS refused a task or gave it up.
type TaskError struct {
	Action        string // "import snapshot"
	TaskID        string // "" if AWS refused to start it
	Status        string // deleted, deleting, error, or "refused"
	StatusMessage string // AWS's own, verbatim; "" if it gave none
	Remedy        string // what to do, "" where nothing is known
	Err           error  // the answer that refused it, nil otherwise
}

func (e *TaskError) Error() string {
	text := e.Action + ": AWS refused it"
	if e.TaskID != "" {
		text = fmt.Sprintf("%s: task %s ended as %s", e.Action, e.TaskID, e.Status)
	}
	if e.StatusMessage != "" {
		text += ": " + e.StatusMessage
	} else {
		text += " without a reason"
	}
	if e.Remedy != "" {
		text += "; " + e.Remedy
	}
	return text
}

func (e *TaskError) Unwrap() error { return e.Err }

// The limits of tasks if the options give none. AWS gives none either; imports of large disks take hours.
const (
	snapshotLimit = 6 * time.Hour
	imageLimit    = 12 * time.Hour
	exportLimit   = 12 * time.Hour
	pollInterval  = 5 * time.Second
)

// tagged makes the tags of a new resource.
func tagged(kind types.ResourceType, tags map[string]string) []types.TagSpecification {
	if len(tags) == 0 {
		return nil
	}
	s := types.TagSpecification{ResourceType: kind}
	for _, k := range slices.Sorted(maps.Keys(tags)) { // in order: the request of a task that goes on must be the same
		v := tags[k]
		s.Tags = append(s.Tags, types.Tag{Key: &k, Value: &v})
	}
	return []types.TagSpecification{s}
}

// optional is nil for "".
func optional(s string) *string {
	if s = strings.TrimSpace(s); s == "" {
		return nil
	}
	return &s
}
