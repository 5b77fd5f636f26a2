package logs

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/ingot-image/ingot/builder/component"
)

// replace writes a file in whole: it has its old content or the new one, never a part.
func replace(path string, content []byte) error {
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // of mode 0600
	if err != nil {
		return err
	}
	_, err = temp.Write(content)
	err = errors.Join(err, temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		os.Remove(temp.Name())
	}
	return err
}

func replaceJSON(path string, v any) error {
	var content bytes.Buffer
	e := json.NewEncoder(&content)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return err
	}
	return replace(path, content.Bytes())
}

// maxEvents bounds what is read back of a folder, in bytes.
const maxEvents = 1 << 30

// restore takes in the events that a run sent before its reboot, so that the details tell of the whole run.
func (f *Folder) restore() error {
	file, err := os.OpenFile(filepath.Join(f.path, eventsFile), os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open the log folder: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("open the log folder: %w", err)
	}
	if info.Size() > maxEvents {
		return fmt.Errorf("open the log folder: %s has %d bytes; %d is the most that is read", eventsFile, info.Size(), maxEvents)
	}
	f.console = newConsole()
	lines := bufio.NewReader(io.LimitReader(file, maxEvents))
	var whole int64
	for number := 1; ; number++ {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			if len(line) > 0 {
				return file.Truncate(whole) // a crash cut the last line off
			}
			return nil
		}
		whole += int64(len(line))
		if err != nil {
			return fmt.Errorf("open the log folder: %w", err)
		}
		var e component.Event
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("open the log folder: %s:%d: %w", eventsFile, number, err)
		}
		f.recorder.Event(e)
		f.console.remember(e)
	}
}

// describe is an event as a line of application.log.
func describe(e component.Event) string {
	level := "Info"
	if e.Failure != nil {
		level = "Error"
	}
	words := []string{level, string(e.Type)}
	for _, part := range []string{e.Component, e.Phase, e.Step, e.Action} {
		if part != "" {
			words = append(words, fmt.Sprintf("%q", part))
		}
	}
	if e.Depth > 0 {
		words = append(words, fmt.Sprintf("depth %d", e.Depth))
	}
	if e.Attempt > 1 {
		words = append(words, fmt.Sprintf("attempt %d", e.Attempt))
	}
	if e.Status != "" {
		words = append(words, fmt.Sprintf("%s after %d ms", e.Status, e.DurationMS))
	}
	if e.Failure != nil {
		words = append(words, e.Failure.Message)
	}
	return strings.Join(words, " ")
}
