package layer

import (
	"errors"
	"io"
	"os"
	"slices"
)

// Chain is a layer with all layers below it, held: until Close none of their files is removed, by whatever process. Only a draft on top of the
// chain may remove memories of the layers below the last one, which nobody who has the chain needs.
type Chain struct {
	// Layers are those from the root to the one that the guest goes on from.
	Layers []*Layer
	// BootFromDisk is set if the memory cannot be used, for the reason in Why.
	BootFromDisk bool
	Why          string

	store *Store
	holds []*os.File // one of each layer
}

// Last is the layer that the guest goes on from.
func (c *Chain) Last() *Layer { return c.Layers[len(c.Layers)-1] }

// Path is the absolute path of a file of one of the chain's layers.
func (c *Chain) Path(l *Layer, file string) string { return c.store.path(l, file) }

// Images are the absolute paths of all disks of the chain, the topmost first. The lowest stands on the base's disk.
func (c *Chain) Images() []string {
	var images []string
	for _, l := range slices.Backward(c.Layers) {
		for _, name := range slices.Backward(l.Disks) {
			images = append(images, c.Path(l, name))
		}
	}
	return images
}

// OpenMemory gives the memory of the last layer as it was written to [Draft.Memory]. Where io.EOF would be, it gives ErrDamaged if the file is
// not what was saved: do not let the guest run before you have seen io.EOF.
func (c *Chain) OpenMemory() (io.ReadCloser, error) {
	return c.Last().OpenMemory(c.Path(c.Last(), c.Last().Memory))
}

// Close lets the layers go. It may be called again.
func (c *Chain) Close() error {
	if c == nil {
		return nil
	}
	var errs []error
	for _, f := range c.holds {
		errs = append(errs, f.Close())
	}
	c.holds = nil
	return errors.Join(errs...)
}
