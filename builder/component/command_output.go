package component

import (
	"io"
	"os"
	"syscall"
)

// What a command prints is taken in large pieces: each one has its price on the way to whoever watches, and in a guest under emulation a
// high one.
const (
	pipeSize  = 1 << 20 // as much as an ordinary user may have (pipe(7))
	pieceSize = 256 << 10
)

// inPieces makes os/exec, which copies by io.Copy, read a command's pipe in large pieces.
func inPieces(w io.Writer) io.Writer {
	if _, file := w.(*os.File); file || w == nil {
		return w
	}
	return piecesWriter{w}
}

type piecesWriter struct{ io.Writer }

// ReadFrom implements [io.ReaderFrom].
func (p piecesWriter) ReadFrom(r io.Reader) (total int64, err error) {
	if pipe, ok := r.(syscall.Conn); ok {
		enlarge(pipe)
	}
	buf := make([]byte, pieceSize)
	for {
		n, err := r.Read(buf)
		total += int64(n)
		if n > 0 {
			if _, err := p.Write(buf[:n]); err != nil {
				return total, err
			}
		}
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}
