// Package stall ends connections that stand still, so that an upload of hours is not one that waits for ever.
//
//	dialer := &net.Dialer{Control: stall.GiveUp}
package stall

import (
	"errors"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// Limit is how long the other side may take no byte of what is sent.
	Limit = time.Minute
	// AnswerLimit is how long an answer may take from the request's last byte to its own first: servers put large objects together meanwhile.
	AnswerLimit = 5 * time.Minute
)

// GiveUp makes the kernel end a connection whose other side no longer takes what is sent (tcp(7), TCP_USER_TIMEOUT). It is a net.Dialer's Control.
func GiveUp(_, _ string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(Limit.Milliseconds()))
	})
	return errors.Join(err, failed)
}
