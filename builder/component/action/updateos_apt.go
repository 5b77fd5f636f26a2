//go:build !windows

package action

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/ingot-image/ingot/builder/component"
)

// aptOptions let apt-get run with nobody to answer: it waits for a lock that another one holds, and keeps changed configuration files.
func aptOptions() []string {
	return []string{
		"-y", "-o", "DPkg::Lock::Timeout=600",
		"-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold",
	}
}

func updateByApt(ctx context.Context, x *component.Execution, include, exclude []string) (err error) {
	x = x.With("DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_SUSPEND=1", "LC_ALL=C.UTF-8")
	// The lock of the lists cannot be waited for, and a freshly booted system may be updating them: hence the retry.
	if err := retry(ctx, x, func() error { return x.Run(ctx, "apt-get", append(aptOptions(), "update")...) }); err != nil {
		return err
	}
	if len(exclude) > 0 {
		release, err := hold(ctx, x, exclude)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, release()) }()
	}
	if len(include) > 0 {
		return x.Run(ctx, "apt-get", append(append(aptOptions(), "install", "--only-upgrade"), include...)...)
	}
	return x.Run(ctx, "apt-get", append(aptOptions(), "upgrade", "--with-new-pkgs")...)
}

// hold keeps installed packages from being updated until release is called. Those that were held before stay so.
func hold(ctx context.Context, x *component.Execution, packages []string) (release func() error, err error) {
	var printed bytes.Buffer
	quiet := *x
	quiet.Stdout = &printed
	if err := quiet.Run(ctx, "apt-mark", "showhold"); err != nil {
		return nil, fmt.Errorf("list held packages: %w", err)
	}
	before := strings.Fields(printed.String())
	quiet.Stdout = io.Discard
	var held []string
	release = func() error {
		if len(held) == 0 {
			return nil
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		return quiet.Run(ctx, "apt-mark", append([]string{"unhold"}, held...)...)
	}
	for _, name := range packages {
		if slices.Contains(before, name) {
			continue
		}
		if err := quiet.Run(ctx, "dpkg-query", "-W", name); err != nil && ctx.Err() == nil {
			x.Notice(name + " is not installed, so there is nothing to exclude")
			continue
		}
		if err := quiet.Run(ctx, "apt-mark", "hold", name); err != nil {
			return nil, errors.Join(fmt.Errorf("hold %s: %w", name, err), release())
		}
		held = append(held, name)
	}
	return release, nil
}
