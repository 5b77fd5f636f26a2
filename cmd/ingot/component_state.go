package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/ingot-image/ingot/builder"
	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/component/logs"
)

// savedVersion is that of the form of savedRun.
const savedVersion = 1

// savedRun is what is kept of a run that waits for the reboot of this machine, in a file that only its user can read: it may hold secrets.
type savedRun struct {
	Version          int              `json:"version"`
	LogFolder        string           `json:"logFolder"`
	WorkingDirectory string           `json:"workingDirectory"`
	State            *component.State `json:"state"`
}

// statePath is where the run's state is kept.
func (f *runFlags) statePath() (string, error) {
	dir := f.stateDirectory
	if dir == "" {
		home, err := builder.DefaultHome()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(home, "component-runs")
	}
	return filepath.Join(dir, f.executionID+".json"), nil
}

// restore finds what was kept of a run of this name, or begins a new one.
func (f *runFlags) restore() (*savedRun, error) {
	here, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("find the working directory: %w", err)
	}
	saved := &savedRun{Version: savedVersion, WorkingDirectory: here}
	if f.vm.base != "" {
		return saved, nil // a VM is rebooted at once
	}
	path, err := f.statePath()
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return saved, nil
	}
	if err != nil {
		return nil, fmt.Errorf("go on after a reboot: %w", err)
	}
	if err := json.Unmarshal(data, saved); err != nil || saved.Version != savedVersion || saved.State == nil {
		return nil, usageError{fmt.Errorf("go on after a reboot: %s holds no state that this version can go on with; remove it to begin anew", path)}
	}
	fmt.Fprintf(os.Stderr, "ingot: going on with run %s after a reboot\n", f.executionID)
	return saved, nil
}

// folder makes the run's log folder, or opens the one from before the reboot.
func (s *savedRun) folder(f *runFlags) (*logs.Folder, error) {
	if s.State != nil {
		folder, err := logs.Open(s.LogFolder)
		if !errors.Is(err, fs.ErrNotExist) {
			return folder, err
		}
		fmt.Fprintf(os.Stderr, "ingot: the log folder %s is gone; beginning another\n", s.LogFolder)
	}
	return logs.Create(f.logDirectory, time.Now(), f.executionID)
}

// save keeps what is needed to go on after the reboot.
func (s *savedRun) save(f *runFlags, folder *logs.Folder, state *component.State) error {
	path, err := f.statePath()
	if err != nil {
		return err
	}
	s.LogFolder, s.State = folder.Path(), state
	data, err := json.Marshal(s)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o700)
	}
	if err == nil {
		err = writePrivate(path, data)
	}
	if err != nil {
		return fmt.Errorf("keep the state for after the reboot: %w", err)
	}
	return nil
}

// remove forgets a run that has ended.
func (s *savedRun) remove(f *runFlags) error {
	if s.State == nil {
		return nil
	}
	path, err := f.statePath()
	if err == nil {
		err = os.Remove(path)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the state of the run: %w", err)
	}
	return nil
}

// writePrivate writes a file of mode 0600 in whole.
func writePrivate(path string, data []byte) error {
	temp, err := os.CreateTemp(filepath.Dir(path), ".state-*")
	if err != nil {
		return err
	}
	_, err = temp.Write(data)
	err = errors.Join(err, temp.Sync(), temp.Close()) // the machine is about to go down
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		os.Remove(temp.Name())
	}
	return err
}
