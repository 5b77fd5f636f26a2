package s3_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/ingot-image/ingot/export/account"
	"github.com/ingot-image/ingot/export/record"
	"github.com/ingot-image/ingot/export/s3"
)

// job is an upload in a process of its own: this test's binary, called once more.
type job struct {
	File, Record string
	Object       s3.Object
	PartSize     int64
	Parallel     int
}

const jobVariable = "INGOT_TEST_UPLOAD"

func TestMain(m *testing.M) {
	text, asked := os.LookupEnv(jobVariable)
	if !asked {
		os.Exit(m.Run())
	}
	var j job
	err := json.Unmarshal([]byte(text), &j)
	if err == nil {
		err = j.run(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func (j job) run(ctx context.Context) error {
	cfg, err := account.Load(ctx, account.Options{})
	if err != nil {
		return err
	}
	u := s3.Uploader{Client: s3.NewClient(cfg), PartSize: j.PartSize, Parallel: j.Parallel}
	if j.Record != "" {
		book, err := record.Open(j.Record)
		if err != nil {
			return err
		}
		defer book.Close()
		u.Record = book
	}
	f, err := os.Open(j.File)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	_, err = u.Upload(ctx, j.Object, f, info.Size(), "sha256:of "+j.File)
	return err
}

// command is the process, not yet started.
func (j job) command(t testing.TB) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), os.Args[0])
	c.Env = append(os.Environ(), jobVariable+"="+string(text))
	c.Stderr = os.Stderr
	return c
}
