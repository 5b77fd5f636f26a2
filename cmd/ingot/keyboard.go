package main

import (
	"bytes"
	"context"
	"io"
	"sync"
)

// keyboard gives what is typed to one reader at a time. Whoever reads a terminal cannot be called off: a shell that is over would take the
// first key of the answer to the next question.
type keyboard struct {
	source io.Reader
	start  sync.Once
	typed  chan []byte // closed at the end of the source

	mu   sync.Mutex
	rest []byte // typed, and not asked for yet
}

func newKeyboard(source io.Reader) *keyboard {
	return &keyboard{source: source, typed: make(chan []byte)}
}

// read reads for whoever is next, until the source or the program ends.
func (k *keyboard) read() {
	defer close(k.typed)
	for {
		buf := make([]byte, 4<<10)
		n, err := k.source.Read(buf)
		if n > 0 {
			k.typed <- buf[:n]
		}
		if err != nil {
			return
		}
	}
}

// next gives what was typed. It is io.EOF at the end of the source, and ctx's error when ctx ends.
func (k *keyboard) next(ctx context.Context) ([]byte, error) {
	k.start.Do(func() { go k.read() })
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	k.mu.Lock()
	rest := k.rest
	k.rest = nil
	k.mu.Unlock()
	if len(rest) > 0 {
		return rest, nil
	}
	select {
	case typed, ok := <-k.typed:
		if !ok {
			return nil, io.EOF
		}
		return typed, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// back takes what was too much, for the next reader.
func (k *keyboard) back(typed []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.rest = append(k.rest, typed...)
}

// line gives a line without its end.
func (k *keyboard) line(ctx context.Context) (string, error) {
	var line []byte
	for {
		typed, err := k.next(ctx)
		if err != nil {
			return "", err
		}
		before, after, found := bytes.Cut(typed, []byte("\n"))
		line = append(line, before...)
		if found {
			k.back(after)
			return string(line), nil
		}
	}
}

// reader gives the keys to a program until ctx ends, which is the end of its input.
func (k *keyboard) reader(ctx context.Context) io.Reader { return lease{k, ctx} }

type lease struct {
	keyboard *keyboard
	ctx      context.Context
}

func (l lease) Read(p []byte) (int, error) {
	typed, err := l.keyboard.next(l.ctx)
	if err != nil {
		return 0, io.EOF
	}
	n := copy(p, typed)
	if n < len(typed) {
		l.keyboard.back(typed[n:])
	}
	return n, nil
}
