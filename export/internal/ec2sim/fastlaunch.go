package ec2sim

import (
	"cmp"
	"slices"
	"strconv"
)

// fastLaunch is what EC2 keeps for an AMI of Windows.
type fastLaunch struct {
	parallel, snapshots         string
	templateID, name, templateV string
}

func (s *Server) enableFastLaunch(c *call) ([]element, error) {
	i, err := s.image(c, c.form.get("ImageId"))
	if err != nil {
		return nil, err
	}
	t := c.form.sub("LaunchTemplate")
	l := &fastLaunch{parallel: cmp.Or(c.form.get("MaxParallelLaunches"), "6"), snapshots: cmp.Or(c.form.sub("SnapshotConfiguration").get("TargetResourceCount"), "5"),
		templateID: t.get("LaunchTemplateId"), name: t.get("LaunchTemplateName"), templateV: t.get("Version")}
	switch n, err := strconv.Atoi(l.parallel); {
	case i.platform != "windows":
		return nil, refuse("InvalidParameter", "Fast launch is supported for Windows AMIs only: %s", i.id)
	case err != nil || n < 6:
		return nil, refuse("InvalidParameter", "MaxParallelLaunches must be 6 or greater")
	case (l.templateID != "" || l.name != "") && l.templateV == "":
		return nil, refuse("MissingParameter", "The request must contain the parameter Version of the launch template")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i.fast = l
	return i.fastItem(), nil
}

func (s *Server) disableFastLaunch(c *call) ([]element, error) {
	i, err := s.image(c, c.form.get("ImageId"))
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if i.fast == nil {
		return nil, refuse("InvalidRequest", "Fast launch is not enabled for %s", i.id)
	}
	item := i.fastItem()
	i.fast = nil
	return item, nil
}

func (s *Server) describeFastLaunchImages(c *call) ([]element, error) {
	ids := c.form.list("ImageId")
	s.mu.Lock()
	defer s.mu.Unlock()
	var found [][]element
	for _, i := range s.images {
		if i.place == c.place() && i.fast != nil && (len(ids) == 0 || slices.Contains(ids, i.id)) {
			found = append(found, i.fastItem())
		}
	}
	return page(c, "fastLaunchImageSet", found)
}

func (i *amiImage) fastItem() []element {
	item := []element{text("imageId", i.id), text("resourceType", "snapshot"), text("maxParallelLaunches", i.fast.parallel), text("ownerId", i.account), text("state", "enabled"),
		el("snapshotConfiguration", text("targetResourceCount", i.fast.snapshots))}
	if i.fast.templateV != "" {
		item = append(item, el("launchTemplate", text("launchTemplateId", i.fast.templateID), text("launchTemplateName", i.fast.name), text("version", i.fast.templateV)))
	}
	return item
}
