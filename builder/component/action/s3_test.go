//go:build unix

package action_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/builder/component"
)

// memoryS3 is S3 in memory: objects by BUCKET/KEY, all of the account 123456789012.
type memoryS3 struct {
	objects map[string]string
	calls   []string
	breaks  string // the key whose transfer breaks in the middle
}

func (s *memoryS3) check(call string, place component.S3Place) error {
	s.calls = append(s.calls, call+" "+place.Bucket+"/"+place.Key)
	if place.ExpectedBucketOwner != "" && place.ExpectedBucketOwner != "123456789012" {
		return fmt.Errorf("access denied: the bucket is not %s's", place.ExpectedBucketOwner)
	}
	return nil
}

func (s *memoryS3) List(_ context.Context, prefix component.S3Place, limit int) ([]component.S3Object, error) {
	if err := s.check("list", prefix); err != nil {
		return nil, err
	}
	var found []component.S3Object
	for _, name := range slices.Sorted(maps.Keys(s.objects)) {
		if key, ok := strings.CutPrefix(name, prefix.Bucket+"/"); ok && strings.HasPrefix(key, prefix.Key) {
			found = append(found, component.S3Object{Key: key, Size: int64(len(s.objects[name]))})
		}
	}
	if len(found) > limit {
		return nil, fmt.Errorf("there are more than %d objects", limit)
	}
	return found, nil
}

func (s *memoryS3) Get(_ context.Context, place component.S3Place, w io.Writer) error {
	if err := s.check("get", place); err != nil {
		return err
	}
	content, ok := s.objects[place.Bucket+"/"+place.Key]
	if !ok {
		return component.ErrNotFound
	}
	if place.Key == s.breaks {
		_, _ = io.WriteString(w, content[:len(content)/2])
		return io.ErrUnexpectedEOF
	}
	_, err := io.WriteString(w, content)
	return err
}

func (s *memoryS3) Put(_ context.Context, place component.S3Place, r io.Reader, size int64) error {
	if err := s.check("put", place); err != nil {
		return err
	}
	if place.Key == s.breaks {
		return io.ErrUnexpectedEOF
	}
	var content bytes.Buffer
	n, err := io.Copy(&content, r)
	if err == nil && n != size {
		err = fmt.Errorf("%d bytes came instead of %d", n, size)
	}
	s.objects[place.Bucket+"/"+place.Key] = content.String()
	return err
}

func newS3Machine(t *testing.T, objects ...string) (*machine, *memoryS3) {
	m := newMachine(t)
	s := &memoryS3{objects: map[string]string{}}
	for _, name := range objects {
		s.objects[name] = "content of " + name
	}
	m.System.S3 = s
	return m, s
}

func TestS3Download(t *testing.T) {
	objects := []string{
		"bucket/top", "bucket/p/a.zip", "bucket/p/sub/b.zip", "bucket/p/sub/", "bucket/p", "bucket/pp/c", "bucket/p/z", "bucket/broken/1", "bucket/broken/2",
		"bucket/broken/3", "bucket/folders/", "upwards/x/../../../escape", "dot/./a", "dots/..", "empty/a//b", "abs//etc/passwd", "clash/a", "clash/a/b", "other/x", "whole/p/c", "folder/a", "folder/p",
	}
	tests := []struct{ inputs, path, content, failure string }{
		{`source: s3://bucket/p/a.zip, destination: /d/new.zip`, "d/new.zip", "content of bucket/p/a.zip", ""},
		{`source: s3://bucket/p/a.zip, destination: /d/`, "d/a.zip", "content of bucket/p/a.zip", ""},
		{`source: s3://bucket/p, destination: /d/old`, "d/old", "content of bucket/p", ""},
		{`source: s3://bucket/p/a.zip, destination: /d/link`, "d/old", "content of bucket/p/a.zip", ""},
		{`source: s3://bucket/p/a.zip, destination: /d/old, overwrite: false`, "d/old", "old", "/d/old: the destination exists, and overwrite is false"},
		{`source: s3://bucket/p/a.zip, destination: /d/old, overwrite: false`, "calls", "", "exists"},
		{`source: s3://bucket/p/a.zip, destination: /nope/x`, "nope/x", "-", "the destination's folder does not exist; CreateFolder makes it"},
		{`source: s3://bucket/p/a.zip, destination: /nope/`, "nope/a.zip", "-", "the destination's folder does not exist"},
		{`source: s3://bucket/p/a.zip, destination: /d/old/x`, "d/old", "old", "the destination's folder is no folder"},
		{`source: s3://bucket/p/a.zip, destination: /d`, "d/old", "old", "it is a folder"},
		{`source: s3://bucket/nope, destination: /d/x`, "d/x", "-", "there is no object s3://bucket/nope"},
		{`source: s3://bucket/broken/2, destination: /d/old`, "d/old", "old", "unexpected EOF"},
		{`source: s3://dots/.., destination: /d/`, "x", "-", "the key cannot be the name of a file"},
		{`source: s3://bucket/p/a.zip, destination: /d/x, expectedBucketOwner: 123456789012`, "d/x", "content of bucket/p/a.zip", ""},
		{`source: s3://bucket/p/a.zip, destination: /d/x, expectedBucketOwner: "000000000000"`, "d/x", "-", "access denied"},
		{`source: s3://bucket/p/*, destination: /d/`, "d/a.zip", "content of bucket/p/a.zip", ""},
		{`source: s3://bucket/p/*, destination: /d`, "d/sub/b.zip", "content of bucket/p/sub/b.zip", ""},
		{`source: s3://whole/*, destination: /d`, "d/p/c", "content of whole/p/c", ""},
		{`source: s3://folder/*, destination: /d`, "d/a", "content of folder/a", "/d/p: there is a folder where the file is to be"},
		{`source: s3://other/*, destination: /d`, "d/x", "content of other/x", ""},
		{`source: s3://bucket/p/*, destination: /d, overwrite: false`, "d/a.zip", "-", "/d/z exists, and overwrite is false"},
		{`source: s3://bucket/p/*, destination: /d, overwrite: false`, "calls", "list bucket/p/", "exists"},
		{`source: s3://bucket/broken/*, destination: /d`, "d/1", "content of bucket/broken/1", "/d/2: unexpected EOF"},
		{`source: s3://bucket/broken/*, destination: /d`, "d/2", "-", "unexpected EOF"},
		{`source: s3://bucket/nope/*, destination: /d`, "d/old", "old", "there is no such object"},
		{`source: s3://bucket/folders/*, destination: /d`, "d/old", "old", "there is no such object"},
		{`source: s3://bucket/p/*, destination: /nope/`, "nope", "-", "the destination's folder does not exist"},
		{`source: s3://upwards/*, destination: /d`, "calls", "list upwards/", `the key "x/../../../escape" cannot be a file in a folder: a part of it is ..`},
		{`source: s3://dot/*, destination: /d`, "calls", "list dot/", "a part of it is ."},
		{`source: s3://empty/*, destination: /d`, "calls", "list empty/", "a part of it is empty"},
		{`source: s3://abs/*, destination: /d`, "calls", "list abs/", "a part of it is empty"},
		{`source: s3://clash/*, destination: /d`, "d/a", "content of clash/a", "/d/a/b: "},
	}
	for _, test := range tests {
		t.Run(test.inputs, func(t *testing.T) {
			m, s := newS3Machine(t, objects...)
			s.breaks = "broken/2"
			delete(s.objects, "bucket/p/")
			m.write("d/old", "old", 0o640)
			m.write("d/z", "z", 0o640)
			m.link("old", "d/link")
			if strings.Contains(test.inputs, "s3://folder/*") {
				m.write("d/p/x", "x", 0o600)
			}
			expect(t, m.failure("S3Download", "[{"+test.inputs+"}]"), test.failure)
			got := strings.Join(s.calls, ",")
			if test.path != "calls" {
				got = m.read(test.path)
			}
			if got != test.content {
				t.Errorf("%s holds %q, want %q", test.path, got, test.content)
			}
			if m.mode("d/old").Perm() != 0o640 {
				t.Errorf("the replaced file has the mode %s", m.mode("d/old"))
			}
			m.noTemporaryFiles()
		})
	}
}

// Links in the destination folder do not lead a download out of it.
func TestS3DownloadIntoLinks(t *testing.T) {
	m, _ := newS3Machine(t, "bucket/out/x", "bucket/file")
	m.write("outside/keep", "keep", 0o600)
	m.write("d/old", "old", 0o640)
	m.link("../outside", "d/out")
	m.link("../outside/keep", "d/file")
	expect(t, m.run("S3Download", `[{source: s3://bucket/*, destination: /d}]`), "escapes")
	if m.read("outside/x") != "-" || m.read("outside/keep") != "keep" {
		t.Error("the download left its folder")
	}
	m.noTemporaryFiles()
}

func TestS3DownloadIsBounded(t *testing.T) {
	m, s := newS3Machine(t)
	for i := range 1001 {
		s.objects[fmt.Sprintf("bucket/p/%04d", i)] = "x"
	}
	m.mkdirAll("d")
	expect(t, m.run("S3Download", `[{source: s3://bucket/p/*, destination: /d}]`), "there are more than 1000 objects")
	delete(s.objects, "bucket/p/0000")
	expect(t, m.run("S3Download", `[{source: s3://bucket/p/*, destination: /d}]`), "")
	if entries, err := os.ReadDir(filepath.Join(m.root, "d")); err != nil || len(entries) != 1000 {
		t.Errorf("%d files, %v", len(entries), err)
	}
}

func (m *machine) mkdirAll(name string) {
	m.t.Helper()
	if err := os.MkdirAll(filepath.Join(m.root, name), 0o755); err != nil {
		m.t.Fatal(err)
	}
}

func TestS3Addresses(t *testing.T) {
	tests := []struct{ action, inputs, failure string }{
		{"S3Download", `source: bucket/key, destination: /d`, "inputs[0].source: is no address of S3: it must start with s3://"},
		{"S3Download", `source: "https://bucket/key", destination: /d`, "must start with s3://"},
		{"S3Download", `source: "s3://", destination: /d`, "names no bucket"},
		{"S3Download", `source: s3:///key, destination: /d`, "names no bucket"},
		{"S3Download", `source: s3://bu*et/key, destination: /d`, `has "bu*et" for a bucket`},
		{"S3Download", `source: s3://../key, destination: /d`, `has ".." for a bucket`},
		{"S3Download", `source: s3://bucket, destination: /d`, "names no object"},
		{"S3Download", `source: s3://bucket/, destination: /d`, "names no object"},
		{"S3Download", `source: s3://bucket/p/, destination: /d`, "ends in a slash"},
		{"S3Download", `source: s3://bucket/p*, destination: /d`, "has a * that is not the whole last part"},
		{"S3Download", `source: s3://bucket/*/x, destination: /d`, "has a * that is not the whole last part"},
		{"S3Download", `source: s3://bucket/*/*, destination: /d`, "has a * that is not the whole last part"},
		{"S3Download", `source: s3://bucket/k, destination: "/d/*"`, "must not contain *"},
		{"S3Download", `source: s3://bucket/k, destination: /d, expectedBucketOwner: 12345`, `"12345" is no number of an account; one has 12 digits`},
		{"S3Download", `source: s3://bucket/` + strings.Repeat("k", 1025) + `, destination: /d`, "has a key of 1025 bytes"},
		{"S3Download", `source: s3://bucket/k`, "destination: is missing"},
		{"S3Upload", `source: /f, destination: /d`, "inputs[0].destination: is no address of S3"},
		{"S3Upload", `source: /f, destination: "s3://bucket/*"`, "must not contain *"},
		{"S3Upload", `source: "/*/f", destination: s3://bucket/`, "* is allowed in the last part of the path only"},
		{"S3Upload", `source: /f, destination: s3://bucket/, recurse: perhaps`, "must be true or false"},
		{"S3Upload", `source: /f, destination: s3://bucket/, expectedBucketOwner: me`, `"me" is no number of an account`},
	}
	for _, test := range tests {
		m, s := newS3Machine(t)
		expect(t, m.failure(test.action, "[{"+test.inputs+"}]"), test.failure)
		if len(s.calls) > 0 {
			t.Errorf("%s: calls %q", test.inputs, s.calls)
		}
	}
	m := newMachine(t)
	expect(t, m.run("S3Download", `[{source: s3://bucket/key, destination: /d}]`), "S3 is not available here")
	expect(t, m.run("S3Upload", `[{source: /f, destination: s3://bucket/key}]`), "S3 is not available here")
}

func TestS3Upload(t *testing.T) {
	tests := []struct{ inputs, objects, failure, notice string }{
		{`source: /d/a, destination: s3://bucket/p/new`, "bucket/p/new=1", "", ""},
		{`source: /d/a, destination: s3://bucket/p/`, "bucket/p/a=1", "", ""},
		{`source: /d/a, destination: s3://bucket`, "bucket/a=1", "", ""},
		{`source: /linked, destination: s3://bucket/p/`, "bucket/p/linked=1", "", ""},
		{`source: /d/a, destination: s3://bucket/k, expectedBucketOwner: 123456789012`, "bucket/k=1", "", ""},
		{`source: /d/a, destination: s3://bucket/k, expectedBucketOwner: 123456789013`, "", "access denied", ""},
		{`source: /d, destination: s3://bucket/p/`, "", "the source is a folder; recurse: true uploads all that is in it", ""},
		{`source: /d, destination: s3://bucket/p, recurse: true`, "bucket/p/a=1 bucket/p/sub/b=2 bucket/p/sub/deep/c=3", "", ""},
		{`source: /d/, destination: s3://bucket, recurse: "True"`, "bucket/a=1 bucket/sub/b=2 bucket/sub/deep/c=3", "", ""},
		{`source: /d, destination: s3://bucket, recurse: "false"`, "", "the source is a folder", ""},
		{`source: "/d/*", destination: s3://bucket/p/`, "bucket/p/a=1", "", ""},
		{`source: "/d/*", destination: s3://bucket/p`, "bucket/p/a=1", "", ""},
		{`source: "/d/*", destination: s3://bucket/p/, recurse: true`, "bucket/p/a=1 bucket/p/sub/b=2 bucket/p/sub/deep/c=3", "", ""},
		{`source: "/d/s*", destination: s3://bucket/p/, recurse: yes`, "bucket/p/sub/b=2 bucket/p/sub/deep/c=3", "", ""},
		{`source: "/d/s*", destination: s3://bucket/p/`, "", "there is no file to upload", ""},
		{`source: "/d/no*", destination: s3://bucket/p/`, "", "there is no file to upload", ""},
		{`source: /d/nope, destination: s3://bucket/p/`, "", "/d/nope", ""},
		{`source: "/nope/*", destination: s3://bucket/p/`, "", "/nope", ""},
		{`source: /links, destination: s3://bucket/, recurse: true`, "bucket/file=x bucket/in=x bucket/sub/file=y", "",
			"/links/dangling is not uploaded: it is a symbolic link that leads to no file in this folder\n" +
				"/links/out is not uploaded: it is a symbolic link that leads to no file in this folder\n" +
				"/links/tofolder is not uploaded: it is a symbolic link that leads to no file in this folder\n" +
				"/links/tosub is not uploaded: it is a symbolic link that leads to no file in this folder\n"},
		{`source: "/links/o*", destination: s3://bucket/`, "", "there is no file to upload", "/links/out is not uploaded: it is a symbolic link that leads to no file in this folder\n"},
		{`source: /two, destination: s3://bucket/, recurse: true`, "bucket/1=1", "/two/2: unexpected EOF", ""},
	}
	for _, test := range tests {
		t.Run(test.inputs, func(t *testing.T) {
			m, s := newS3Machine(t)
			s.breaks = "2"
			for name, content := range map[string]string{
				"d/a": "1", "d/sub/b": "2", "d/sub/deep/c": "3", "links/file": "x", "links/sub/file": "y", "secret": "s", "two/1": "1", "two/2": "2", "two/3": "3",
			} {
				m.write(name, content, 0o600)
			}
			m.link("d/a", "linked")
			m.link("file", "links/in")
			m.link("../secret", "links/out")
			m.link("../d", "links/tofolder")
			m.link("sub", "links/tosub")
			m.link("nowhere", "links/dangling")
			expect(t, m.failure("S3Upload", "[{"+test.inputs+"}]"), test.failure)
			var objects []string
			for _, name := range slices.Sorted(maps.Keys(s.objects)) {
				objects = append(objects, name+"="+s.objects[name])
			}
			if got := strings.Join(objects, " "); got != test.objects {
				t.Errorf("objects %s, want %s", got, test.objects)
			}
			if m.notices != test.notice {
				t.Errorf("notices %q, want %q", m.notices, test.notice)
			}
		})
	}
}
