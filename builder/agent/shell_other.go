//go:build !unix

package agent

import (
	"bufio"
	"context"
	"errors"
	"io"
)

func (s *Server) shell(context.Context, Shell, *bufio.Reader, io.Writer) error {
	return errors.New("this guest's agent has no shells")
}
