package ec2sim

import (
	"net/http"
	"time"
)

// ec2Actions are the actions of EC2 that are answered here.
func (s *Server) ec2Actions() map[string]action {
	actions := map[string]action{
		"RegisterImage":                        s.registerImage,
		"DescribeImages":                       s.describeImages,
		"DeregisterImage":                      s.deregisterImage,
		"CopyImage":                            s.copyImage,
		"ModifyImageAttribute":                 s.modifyImageAttribute,
		"DescribeImageAttribute":               s.describeImageAttribute,
		"EnableImageDeprecation":               s.enableImageDeprecation,
		"DisableImageDeprecation":              s.disableImageDeprecation,
		"EnableImageDeregistrationProtection":  s.enableDeregistrationProtection,
		"DisableImageDeregistrationProtection": s.disableDeregistrationProtection,
		"DescribeSnapshots":                    s.describeSnapshots,
		"ImportSnapshot":                       s.importSnapshot,
		"ImportImage":                          s.importImage,
		"ExportImage":                          s.exportImage,
		"CancelImportTask":                     s.cancelImportTask,
		"DescribeImportSnapshotTasks":          s.describeTasks(importSnapshot, "ImportTaskId", "Filters", "importSnapshotTaskSet", (*task).snapshotItem),
		"DescribeImportImageTasks":             s.describeTasks(importImage, "ImportTaskId", "Filters", "importImageTaskSet", (*task).imageItem),
		"DescribeExportImageTasks":             s.describeTasks(exportImage, "ExportImageTaskId", "Filter", "exportImageTaskSet", (*task).exportItem),
		"EnableFastLaunch":                     s.enableFastLaunch,
		"DisableFastLaunch":                    s.disableFastLaunch,
		"DescribeFastLaunchImages":             s.describeFastLaunchImages,
		"DeleteSnapshot":                       s.deleteSnapshot,
		"ModifySnapshotAttribute":              s.modifySnapshotAttribute,
		"GetImageBlockPublicAccessState":       s.blockState,
		"EnableImageBlockPublicAccess":         s.blockPublic,
		"DisableImageBlockPublicAccess":        s.unblockPublic,
	}
	for name, act := range actions {
		actions[name] = dry(act)
	}
	return actions
}

// dry answers a dry run: nothing is looked at but that it is one.
func dry(act action) action {
	return func(c *call) ([]element, error) {
		if c.form.flag("DryRun") {
			return nil, &fault{http.StatusPreconditionFailed, "DryRunOperation", "Request would have succeeded, but DryRun flag is set."}
		}
		return act(c)
	}
}

// token is a request's client token, within its place and action; empty if it has none.
func (c *call) token() string {
	token := c.form.get("ClientToken")
	if token == "" {
		return ""
	}
	return c.Account + "/" + c.Region + "/" + c.Action + "/" + token
}

// remember keeps what a request with a client token made.
func (s *Server) remember(c *call, id string) {
	if token := c.token(); token != "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.tokens[token] = id
	}
}

// later does something a step from now, unless the simulator has ended.
func (s *Server) later(do func()) {
	s.running.Add(1)
	go func() {
		defer s.running.Done()
		select {
		case <-time.After(s.options.Step):
			do()
		case <-s.ctx.Done():
		}
	}()
}
