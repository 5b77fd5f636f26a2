package agent

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Sync implements Waker (sync(2), which on Linux waits for what it has begun).
func (l Linux) Sync() { unix.Sync() }

// Wake implements Waker. Entropy is written to /dev/urandom, and the kernel told to draw from the pool anew (random(4)).
func (l Linux) Wake(now time.Time, entropy []byte) error {
	ts := unix.NsecToTimespec(now.UnixNano())
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &ts); err != nil {
		return fmt.Errorf("set the clock: %w", err)
	}
	f, err := os.OpenFile(l.path("dev/urandom"), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(entropy)
	if err == nil {
		_, err = unix.IoctlRetInt(int(f.Fd()), unix.RNDRESEEDCRNG)
	}
	return errors.Join(err, f.Close())
}
