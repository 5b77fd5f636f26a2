package aws_test

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/ingot-image/ingot/builder/aws"
	"github.com/ingot-image/ingot/builder/component"
)

func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func open(t *testing.T, maps ...string) component.S3 {
	t.Helper()
	services, err := aws.Open(t.Context(), aws.Options{S3Map: maps})
	if err != nil {
		t.Fatal(err)
	}
	return services.S3
}

func keys(t *testing.T, s3 component.S3, bucket, prefix string) string {
	t.Helper()
	objects, err := s3.List(t.Context(), component.S3Place{Bucket: bucket, Key: prefix}, 1000)
	if err != nil {
		return err.Error()
	}
	var all []string
	for _, o := range objects {
		all = append(all, o.Key)
	}
	return strings.Join(all, " ")
}

func TestS3MapList(t *testing.T) {
	dir := tree(t, map[string]string{"a.txt": "a", "app/1": "1", "app/10": "10", "app/x/2": "2", "app.d/3": "3", "app/.ingot-partial-X": "half"})
	special := tree(t, map[string]string{"2": "special"})
	secret := tree(t, map[string]string{"id_rsa": "key"})
	for link, target := range map[string]string{"out": secret, "app/file-out": filepath.Join(secret, "id_rsa"), "app/in": "1", "loop": "loop"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	s3 := open(t, "s3://bucket="+dir, "s3://bucket/app/x/="+special, "s3://other/deep/er="+special)
	for _, test := range []struct{ bucket, prefix, want string }{
		{"bucket", "", "a.txt app.d/3 app/1 app/10 app/in app/x/2"},
		{"bucket", "app", "app.d/3 app/1 app/10 app/in app/x/2"},
		{"bucket", "app/", "app/1 app/10 app/in app/x/2"},
		{"bucket", "app/1", "app/1 app/10"},
		{"bucket", "app/x/2", "app/x/2"},
		{"bucket", "nothing/here", ""},
		{"bucket", "a.txt/x", ""},
		{"bucket", "../", ""},
		{"bucket", "/", ""},
		{"bucket", "app//", ""},
		{"bucket", "out/", ""},
		{"other", "", "deep/er/2"},
		{"other", "deep/er/", "deep/er/2"},
		{"other", "deep/er/3", ""},
		{"other", "shallow", ""},
	} {
		if got := keys(t, s3, test.bucket, test.prefix); got != test.want {
			t.Errorf("List(%s/%s) = %q, want %q", test.bucket, test.prefix, got, test.want)
		}
	}
	if _, err := s3.List(t.Context(), component.S3Place{Bucket: "bucket"}, 5); err == nil || !strings.Contains(err.Error(), "more than 5") {
		t.Errorf("List over the limit gave %v", err)
	}
	var got bytes.Buffer
	if err := s3.Get(t.Context(), component.S3Place{Bucket: "bucket", Key: "app/x/2", ExpectedBucketOwner: "1"}, &got); err != nil || got.String() != "special" {
		t.Errorf("Get = %q, %v", got.String(), err)
	}
	for _, key := range []string{"", "app", "app/", "missing", "a.txt/x", "other/", "app/x", "loop"} {
		if err := s3.Get(t.Context(), component.S3Place{Bucket: "bucket", Key: key}, io.Discard); err == nil {
			t.Errorf("Get of %q gave no error", key)
		} else if (key == "missing" || key == "a.txt/x") && !errors.Is(err, component.ErrNotFound) {
			t.Errorf("Get of %q gave %v", key, err)
		}
	}
	if err := s3.Get(t.Context(), component.S3Place{Bucket: "other", Key: "shallow"}, io.Discard); !errors.Is(err, component.ErrNotFound) {
		t.Errorf("Get of what no map covers gave %v", err)
	}
}

// TestS3MapEscape tries to get out of the folder by keys and links, to read and to write.
func TestS3MapEscape(t *testing.T) {
	outside := tree(t, map[string]string{"secret": "key", "bucket/a": "a"})
	dir := filepath.Join(outside, "bucket")
	for link, target := range map[string]string{"up": "..", "abs": outside, "secret": filepath.Join(outside, "secret"), "new": filepath.Join(outside, "new")} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	s3 := open(t, "s3://bucket="+dir)
	for _, key := range []string{"../secret", "/../secret", "up/secret", "abs/secret", "secret", "x/../../secret", "..", "./a", "a/../a", outside + "/secret", "x\x00y", ".ingot-partial-1"} {
		var got bytes.Buffer
		if err := s3.Get(t.Context(), component.S3Place{Bucket: "bucket", Key: key}, &got); err == nil || got.Len() > 0 {
			t.Errorf("Get of %q gave %q, %v", key, got.String(), err)
		}
		if key == "secret" {
			continue // a link in the folder itself is replaced, as rename(2) does
		}
		if err := s3.Put(t.Context(), component.S3Place{Bucket: "bucket", Key: key}, strings.NewReader("evil"), 4); err == nil {
			t.Errorf("Put to %q gave no error", key)
		}
	}
	for _, key := range []string{"secret", "new"} {
		if err := s3.Put(t.Context(), component.S3Place{Bucket: "bucket", Key: key}, strings.NewReader("mine"), 4); err != nil {
			t.Errorf("Put over the link %s: %v", key, err)
		}
	}
	if data, _ := os.ReadFile(filepath.Join(outside, "secret")); string(data) != "key" {
		t.Errorf("the file outside is now %q", data)
	}
	if entries, _ := os.ReadDir(outside); len(entries) != 2 {
		t.Errorf("the folder outside holds %v", entries)
	}
}

func TestS3MapPut(t *testing.T) {
	dir := t.TempDir()
	s3 := open(t, "s3://bucket/p="+dir)
	place := component.S3Place{Bucket: "bucket", Key: "p/deep/é ?%.txt"}
	for _, text := range []string{"first", "", "a longer second"} {
		if err := s3.Put(t.Context(), place, strings.NewReader(text), int64(len(text))); err != nil {
			t.Fatal(err)
		}
		if data, err := os.ReadFile(filepath.Join(dir, "deep", "é ?%.txt")); err != nil || string(data) != text {
			t.Errorf("the file holds %q, %v", data, err)
		}
	}
	// What fails half way leaves what was there, and nothing else.
	for name, r := range map[string]io.Reader{"short": strings.NewReader("sho"), "broken": io.MultiReader(strings.NewReader("bro"), iotest.ErrReader(errFull))} {
		if err := s3.Put(t.Context(), place, r, 100); err == nil {
			t.Errorf("a %s source gave no error", name)
		}
	}
	if got := keys(t, s3, "bucket", ""); got != place.Key {
		t.Errorf("there is %s", got)
	}
	entries, _ := os.ReadDir(filepath.Join(dir, "deep"))
	if data, _ := os.ReadFile(filepath.Join(dir, "deep", "é ?%.txt")); string(data) != "a longer second" || len(entries) != 1 {
		t.Errorf("after failures there are %v and %q", entries, data)
	}
	// A file where a folder would have to be.
	if err := s3.Put(t.Context(), component.S3Place{Bucket: "bucket", Key: place.Key + "/below"}, strings.NewReader(""), 0); err == nil {
		t.Error("a file below a file gave no error")
	}
}

// TestS3MapOthers is about buckets without a map beside one that has it.
func TestS3MapOthers(t *testing.T) {
	isolated(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	s3 := open(t, "s3://bucket="+t.TempDir())
	if err := s3.Get(t.Context(), component.S3Place{Bucket: "other", Key: "k"}, io.Discard); err == nil || !strings.Contains(err.Error(), "credentials") {
		t.Errorf("a bucket without a map gave %v", err)
	}
}

func TestS3MapMistakes(t *testing.T) {
	dir := t.TempDir()
	file := write(t, "file", "x")
	for m, want := range map[string]string{
		"bucket=" + dir: "s3://", "s3://bucket": "no folder", "s3://bucket=": "no folder", "s3://=x": "no bucket", "s3://b!d/x=" + dir: "no bucket",
		"s3://bucket=" + dir + "/none": "no such file", "s3://bucket=" + file: "not a directory",
	} {
		_, err := aws.Open(t.Context(), aws.Options{S3Map: []string{m}})
		var wrong *aws.S3MapError
		if !errors.As(err, &wrong) || wrong.Map != m || !strings.Contains(err.Error(), want) {
			t.Errorf("%s gave %v", m, err)
		}
	}
	_, err := aws.Open(t.Context(), aws.Options{S3Map: []string{"x", "s3://b-b=" + dir, "s3://b-b/=" + dir, "y"}})
	if err == nil || len(strings.Split(err.Error(), "\n")) != 3 || !strings.Contains(err.Error(), "second time") {
		t.Errorf("three mistakes gave %v", err)
	}
}

func TestManaged(t *testing.T) {
	services, err := aws.Open(t.Context(), aws.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, arn := range []string{"update-linux", "update-linux/x.x.x", "arn:aws:imagebuilder:eu-north-1:aws:component/update-linux/x.x.x",
		"arn:aws-cn:imagebuilder:cn-north-1:aws:component/update-linux/1.x.x"} {
		if data, err := services.Components.Component(t.Context(), arn); err != nil || !bytes.Contains(data, []byte("UpdateOS")) {
			t.Errorf("%s gave %q, %v", arn, data, err)
		}
	}
	wrong := map[string]string{
		"update-linx": "not found", "update-linux/9.x.x": "write update-linux/x.x.x", "linux": "did you mean",
		"arn:aws:imagebuilder:eu-north-1:123456789012:component/mine/1.0.0/1": "only ARNs of Amazon's own",
	}
	for _, arn := range slices.Sorted(maps.Keys(wrong)) {
		if _, err := services.Components.Component(t.Context(), arn); err == nil || !strings.Contains(err.Error(), wrong[arn]) {
			t.Errorf("%s gave %v", arn, err)
		}
	}
}
