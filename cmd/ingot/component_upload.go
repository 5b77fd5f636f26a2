package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"

	"github.com/spf13/cobra"

	"github.com/ingot-image/ingot/builder/component"
)

// uploadFlags say where the log folder goes in S3.
type uploadFlags struct {
	bucket, owner, prefix string
}

func (f *uploadFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&f.bucket, "log-s3-bucket-name", "b", "", "bucket of S3 to which the log folder is copied at the end")
	flags.StringVar(&f.owner, "log-s3-bucket-owner", "", "account that must own that bucket, 12 digits")
	flags.StringVarP(&f.prefix, "log-s3-key-prefix", "k", "", "what the keys of the log files begin with")
}

var accountNumber = regexp.MustCompile(`^[0-9]{12}$`)

func (f *uploadFlags) check() error {
	switch {
	case f.bucket == "" && (f.owner != "" || f.prefix != ""):
		return usageError{errors.New("--log-s3-bucket-owner and --log-s3-key-prefix are about the bucket of --log-s3-bucket-name")}
	case f.owner != "" && !accountNumber.MatchString(f.owner):
		return usageError{fmt.Errorf("--log-s3-bucket-owner %q: must be an account number of 12 digits", f.owner)}
	}
	return nil
}

// run copies the files of the log folder.
func (f *uploadFlags) run(ctx context.Context, store component.S3, folder string) error {
	if f.bucket == "" || ctx.Err() != nil {
		return nil
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return fmt.Errorf("copy the log folder to S3: %w", err)
	}
	for _, entry := range entries {
		if !entry.Type().IsRegular() {
			continue
		}
		key := path.Join(f.prefix, filepath.Base(folder), entry.Name())
		if err := f.put(ctx, store, filepath.Join(folder, entry.Name()), key); err != nil {
			return fmt.Errorf("copy the log folder to S3: %w", err)
		}
	}
	return nil
}

func (f *uploadFlags) put(ctx context.Context, store component.S3, path, key string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	return store.Put(ctx, component.S3Place{Bucket: f.bucket, Key: key, ExpectedBucketOwner: f.owner}, file, info.Size())
}

// cloudWatchFlags are awstoe's about CloudWatch Logs, to which Ingot writes nothing.
type cloudWatchFlags struct {
	group, stream, region string
	ignoreFailures        bool
}

func (f *cloudWatchFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	const absent = "of awstoe: Ingot does not write to CloudWatch Logs, so it needs --cw-ignore-failures"
	flags.StringVar(&f.group, "cw-log-group", "", absent)
	flags.StringVar(&f.stream, "cw-log-stream", "", absent)
	flags.StringVar(&f.region, "cw-log-region", "", absent)
	flags.BoolVar(&f.ignoreFailures, "cw-ignore-failures", false, "go on although nothing is written to CloudWatch Logs")
}

func (f *cloudWatchFlags) check() error {
	if f.group == "" && f.stream == "" && f.region == "" {
		return nil
	}
	if !f.ignoreFailures {
		return usageError{errors.New("Ingot does not write to CloudWatch Logs: leave the --cw flags out, or add --cw-ignore-failures to run without")}
	}
	fmt.Fprintln(os.Stderr, "ingot: nothing is written to CloudWatch Logs; the log folder has everything")
	return nil
}
