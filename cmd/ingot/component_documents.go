package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strings"

	"github.com/ingot-image/ingot/builder/component"
)

// givenDocument is a document of the command line or of a config file.
type givenDocument struct {
	name       string // as it was given: a path, s3://BUCKET/KEY, or a component's name or ARN
	content    []byte
	parsed     *component.Document // nil if it has problems
	parameters map[string]string   // of this document only
}

// documentSource finds documents.
type documentSource struct {
	services component.System // S3 and Components
	owner    string           // of the bucket that s3:// documents are in, may be empty
	modules  component.Modules
}

// load reads and checks documents. The problems are those of all of them.
func (s documentSource) load(ctx context.Context, documents []givenDocument) error {
	var problems component.Problems
	for i := range documents {
		d := &documents[i]
		var err error
		if d.content, err = s.read(ctx, d.name); err != nil {
			if ctx.Err() != nil {
				return err
			}
			problems = append(problems, component.Problem{File: d.name, Message: err.Error()})
			continue
		}
		d.parsed, err = component.Parse(d.name, d.content, s.modules)
		var found component.Problems
		if errors.As(err, &found) {
			problems, d.parsed = append(problems, found...), nil
		} else if err != nil {
			return err
		}
	}
	return problems.Err()
}

// read returns at most one byte more than a document may have.
func (s documentSource) read(ctx context.Context, name string) ([]byte, error) {
	switch {
	case strings.HasPrefix(name, "s3://"):
		return s.readS3(ctx, name)
	case strings.HasPrefix(name, "arn:"):
		return s.services.Components.Component(ctx, name)
	}
	content, err := readDocument(name)
	if errors.Is(err, fs.ErrNotExist) && componentName.MatchString(name) {
		content, err = s.services.Components.Component(ctx, name)
		if errors.Is(err, component.ErrNotFound) {
			return nil, fmt.Errorf("there is no such file, nor %w", err)
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("there is no such file")
	}
	return content, err
}

// componentName takes a component's name with or without a version: update-linux, update-linux/1.0.x.
var componentName = regexp.MustCompile(`^[A-Za-z0-9-]+(/[0-9x.]+)?$`)

func readDocument(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, withoutPath(err)
	}
	if info.IsDir() {
		return nil, errors.New("this is a folder, not a document")
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, withoutPath(err)
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, component.MaxDocumentSize+1))
	return content, withoutPath(err)
}

// withoutPath takes the path out of an error that is told with it.
func withoutPath(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

func (s documentSource) readS3(ctx context.Context, address string) ([]byte, error) {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(address, "s3://"), "/")
	if bucket == "" || key == "" {
		return nil, errors.New("an address in S3 is s3://BUCKET/KEY")
	}
	content := &limited{left: component.MaxDocumentSize + 1}
	err := s.services.S3.Get(ctx, component.S3Place{Bucket: bucket, Key: key, ExpectedBucketOwner: s.owner}, content)
	if err != nil && !errors.Is(err, errFull) {
		return nil, err
	}
	return content.Bytes(), nil
}

// limited keeps as many bytes as it may, then ends the transfer.
type limited struct {
	bytes.Buffer
	left int
}

var errFull = errors.New("larger than a document may be")

func (l *limited) Write(data []byte) (int, error) {
	kept := data[:min(len(data), l.left)]
	l.left -= len(kept)
	l.Buffer.Write(kept)
	if len(kept) < len(data) {
		return len(kept), errFull
	}
	return len(kept), nil
}

// listed are the names the documents were given by, as awstoe lists them.
func listed(documents []givenDocument) string {
	var all []string
	for _, d := range documents {
		all = append(all, d.name)
	}
	return fmt.Sprintf("[%s]", strings.Join(all, ", "))
}
