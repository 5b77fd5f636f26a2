package agent

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Shell is a program to run in the guest with its input and output connected to the host's.
type Shell struct {
	// Command is a program, looked up on PATH, and its arguments. Empty: a login shell of root.
	Command []string `json:"command,omitempty"`
	// Terminal, if given, gives the program a terminal of its own.
	Terminal *Terminal `json:"terminal,omitempty"`
}

// Terminal is what a guest must know of the host's.
type Terminal struct {
	Type string `json:"type"` // $TERM
	Size Size   `json:"size"`
}

// Size is that of a terminal, in characters.
type Size struct {
	Rows    uint16 `json:"rows"`
	Columns uint16 `json:"columns"`
}

// Streams are the host's ends of a Shell. A program with a terminal writes nothing to Stderr.
type Streams struct {
	Stdin          io.Reader // its end is passed on; nil is an empty one
	Stdout, Stderr io.Writer
	// Sizes gives the terminal's new sizes. It may be nil.
	Sizes <-chan Size
}

// Shell runs a program and returns its exit status, 128 and a signal's number if one ended it, when the program has ended and all that it
// wrote has been passed on. A program that is not found gives 127, as in a shell. When ctx ends, so does the program.
//
// A goroutine that reads Stdin may live on until its Read returns.
func (c *Client) Shell(ctx context.Context, shell Shell, streams Streams) (status int, err error) {
	if status, err = c.shell(ctx, shell, streams); err != nil {
		return 0, fmt.Errorf("run a shell in the guest: %w", err)
	}
	return status, nil
}

func (c *Client) shell(ctx context.Context, shell Shell, streams Streams) (int, error) {
	stream, err := c.open(ctx)
	if err != nil {
		return 0, err
	}
	defer stream.Close()
	defer endWith(ctx, stream)()
	if err := writeLine(stream, request{Shell: &shell}); err != nil {
		return 0, cutOff(ctx, err)
	}
	over := make(chan struct{})
	defer close(over)
	frames := &frameWriter{w: stream}
	go sendInput(frames, streams.Stdin)
	if streams.Sizes != nil {
		go sendSizes(frames, streams.Sizes, over)
	}
	in := &frameReader{r: bufio.NewReaderSize(stream, 64<<10)}
	for {
		kind, content, err := in.next()
		if err != nil {
			return 0, cutOff(ctx, err)
		}
		switch kind {
		case frameStdout:
			_, err = streams.Stdout.Write(content)
		case frameStderr:
			_, err = streams.Stderr.Write(content)
		case frameAnswer:
			var resp response
			if err := json.Unmarshal(content, &resp); err != nil {
				return 0, cutOff(ctx, err)
			}
			if resp.Error != "" {
				return 0, errors.New(resp.Error)
			}
			if resp.Exit != nil {
				return resp.Exit.Code & 0xff, nil
			}
		default:
			err = errGuestFrame
		}
		if err != nil {
			return 0, err
		}
	}
}

// sendInput passes the input on, and its end.
func sendInput(frames *frameWriter, r io.Reader) {
	if r == nil {
		frames.write(frameStdin, nil)
		return
	}
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 && frames.write(frameStdin, buf[:n]) != nil {
			return
		}
		if err != nil {
			frames.write(frameStdin, nil)
			return
		}
	}
}

func sendSizes(frames *frameWriter, sizes <-chan Size, over <-chan struct{}) {
	for {
		select {
		case size, ok := <-sizes:
			if !ok || frames.write(frameSize, size.bytes()) != nil {
				return
			}
		case <-over:
			return
		}
	}
}

func (s Size) bytes() []byte {
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, s.Rows), s.Columns)
}

// outputFrames passes on what a program writes to one of its streams.
type outputFrames struct {
	frames *frameWriter
	kind   frameKind
}

func (o outputFrames) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		n := min(len(rest), maxFrame)
		if err := o.frames.write(o.kind, rest[:n]); err != nil {
			return 0, err
		}
		rest = rest[n:]
	}
	return len(p), nil
}

// receiveInput gives the host's input to a program and tells resize of the sizes. It returns when the host has closed the stream, after
// which the program is of no use to anybody.
func receiveInput(r *bufio.Reader, stdin io.WriteCloser, resize func(Size)) {
	in := &frameReader{r: r}
	for {
		kind, content, err := in.next()
		switch {
		case err != nil:
			return
		case kind == frameStdin && len(content) == 0:
			stdin.Close()
		case kind == frameStdin:
			stdin.Write(content) // a program that has closed its input is none of the host's business
		case kind == frameSize && len(content) == 4:
			resize(Size{binary.BigEndian.Uint16(content), binary.BigEndian.Uint16(content[2:])})
		}
	}
}
