package agent

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"
)

// Wake tells a guest that goes on from a saved state what it slept through: the time, and that its random numbers must not be those of
// another that went on from the same state.
func (c *Client) Wake(ctx context.Context) error {
	entropy := make([]byte, 64)
	rand.Read(entropy)
	err := c.simple(ctx, request{Wake: &wakeRequest{Time: time.Now(), Entropy: entropy}})
	if err != nil {
		return fmt.Errorf("set the guest's clock: %w", err)
	}
	return nil
}

// Sync has the guest write to its disks what it holds back, before it is saved.
func (c *Client) Sync(ctx context.Context) error {
	if err := c.simple(ctx, request{Sync: &struct{}{}}); err != nil {
		return fmt.Errorf("sync the guest's disks: %w", err)
	}
	return nil
}

type wakeRequest struct {
	Time    time.Time `json:"time"`
	Entropy []byte    `json:"entropy"`
}

// Waker is a System that can be saved and go on later.
type Waker interface {
	// Wake sets the clock and mixes entropy into the random pool, from which new numbers are drawn at once.
	Wake(now time.Time, entropy []byte) error
	// Sync writes to the disks what is held back.
	Sync()
}
