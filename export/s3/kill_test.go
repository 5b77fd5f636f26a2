package s3_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ingot-image/ingot/export/internal/s3sim"
)

// A process is killed in the middle of an upload. The same again sends the missing parts, and no other.
func TestKill(t *testing.T) {
	const parts, arrive = 12, 5
	server, _ := start(t)
	data := random(parts*5*MiB-123, 6)
	file := filepath.Join(t.TempDir(), "web.vmdk")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	for n := arrive + 1; n <= parts; n++ {
		server.Break(s3sim.Fault{Action: "UploadPart", Nth: n, Wait: time.Hour})
	}
	j := job{File: file, Record: t.TempDir(), Object: web, PartSize: 5 * MiB, Parallel: 4}
	first := j.command(t)
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); server.Count("UploadPart") < arrive; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			first.Process.Kill()
			t.Fatalf("%d parts arrived within a minute", server.Count("UploadPart"))
		}
	}
	time.Sleep(100 * time.Millisecond) // others are on their way by now
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := first.Wait(); err == nil {
		t.Fatal("the process ended well before it was killed")
	}
	if server.Object(web.Bucket, web.Key) != nil || server.Uploads() != 1 {
		t.Fatalf("the object is there, or its upload is not")
	}
	server.Mend()
	server.Forget()

	if err := j.command(t).Run(); err != nil {
		t.Fatal(err)
	}
	mustHold(t, server, web, data)
	counts, sent := map[string]int{}, int64(0)
	for _, r := range server.Requests() {
		if r.Status/100 != 2 { // of the first process, at its end
			continue
		}
		if counts[r.Action]++; r.Action == "UploadPart" {
			sent += r.Bytes
		}
	}
	if counts["UploadPart"] != parts-arrive || counts["ListParts"] != 1 || counts["CreateMultipartUpload"] != 0 || counts["CompleteMultipartUpload"] != 1 {
		t.Errorf("after %d of %d parts, the second process made the requests %v", arrive, parts, counts)
	}
	if most := int64(parts-arrive) * 5 * MiB; sent > most {
		t.Errorf("%d bytes were sent, at most %d were missing", sent, most)
	}
	if server.Uploads() != 0 {
		t.Errorf("%d uploads are unfinished", server.Uploads())
	}
	server.Forget()
	if err := j.command(t).Run(); err != nil {
		t.Fatal(err)
	}
	if n := len(server.Requests()); n != 1 {
		t.Errorf("a third process made %d requests: %v", n, server.Requests())
	}
}
