package ec2sim

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// cli runs the command line of AWS that Debian ships against the simulator, and reads its answer into v.
func cli(t *testing.T, s *Server, v any, arguments ...string) {
	t.Helper()
	const program = "/usr/bin/aws"
	if _, err := os.Stat(program); err != nil {
		t.Skipf("the AWS command line is not installed: run make setup-test (%v)", err)
	}
	// Versions before 2.13 do not read AWS_ENDPOINT_URL.
	command := exec.CommandContext(t.Context(), program, append([]string{"--endpoint-url", s.URL}, arguments...)...)
	command.Env = append(os.Environ(), s.Environ()...)
	var said bytes.Buffer
	command.Stderr = &said
	out, err := command.Output()
	if err != nil {
		t.Fatalf("aws %s: %v %s%s", strings.Join(arguments, " "), err, out, said.Bytes())
	}
	if v != nil {
		if err := json.Unmarshal(out, v); err != nil {
			t.Fatalf("aws %s: %v: %s", strings.Join(arguments, " "), err, out)
		}
	}
}

// TestTheCommandLineImports goes the way of the VM Import/Export User Guide, with the command line as it is there.
func TestTheCommandLineImports(t *testing.T) {
	s := Start(t, Options{})
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return "file://" + path
	}
	vmdk := sample(t, "disk.vmdk", nil)
	file("disk.vmdk", vmdk)
	cli(t, s, nil, "s3", "mb", "s3://images")
	cli(t, s, nil, "s3", "cp", "--quiet", filepath.Join(dir, "disk.vmdk"), "s3://images/disk.vmdk")
	cli(t, s, nil, "iam", "create-role", "--role-name", "vmimport", "--assume-role-policy-document", file("trust.json", []byte(trust)))
	cli(t, s, nil, "iam", "put-role-policy", "--role-name", "vmimport", "--policy-name", "vmimport", "--policy-document", file("rights.json", []byte(rights)))

	var started struct{ ImportTaskId string }
	cli(t, s, &started, "ec2", "import-snapshot", "--description", "web", "--disk-container", "Format=VMDK,UserBucket={S3Bucket=images,S3Key=disk.vmdk}")
	var snapshots struct {
		ImportSnapshotTasks []struct {
			SnapshotTaskDetail struct{ Status, SnapshotId, Format string }
		}
	}
	until(t, "import-snapshot", func() bool {
		cli(t, s, &snapshots, "ec2", "describe-import-snapshot-tasks", "--import-task-ids", started.ImportTaskId)
		return snapshots.ImportSnapshotTasks[0].SnapshotTaskDetail.Status == "completed"
	})
	snapshot := snapshots.ImportSnapshotTasks[0].SnapshotTaskDetail.SnapshotId
	var described struct {
		Snapshots []struct {
			SnapshotId, State string
			VolumeSize        int
		}
	}
	cli(t, s, &described, "ec2", "describe-snapshots", "--snapshot-ids", snapshot)
	if d := described.Snapshots[0]; d.SnapshotId != snapshot || d.State != "completed" || d.VolumeSize != 1 {
		t.Errorf("described %+v", d)
	}

	var registered struct{ ImageId string }
	cli(t, s, &registered, "ec2", "register-image", "--name", "web", "--virtualization-type", "hvm", "--ena-support", "--boot-mode", "uefi-preferred", "--root-device-name", "/dev/xvda",
		"--block-device-mappings", "DeviceName=/dev/xvda,Ebs={SnapshotId="+snapshot+",VolumeSize=2,VolumeType=gp3}")

	cli(t, s, &started, "ec2", "import-image", "--description", "web", "--disk-containers", "Format=VMDK,UserBucket={S3Bucket=images,S3Key=disk.vmdk}")
	var images struct {
		ImportImageTasks []struct{ Status, StatusMessage, ImageId string }
	}
	until(t, "import-image", func() bool {
		cli(t, s, &images, "ec2", "describe-import-image-tasks", "--import-task-ids", started.ImportTaskId)
		if task := images.ImportImageTasks[0]; task.Status == "deleted" {
			t.Fatalf("deleted: %s", task.StatusMessage)
		}
		return images.ImportImageTasks[0].Status == "completed"
	})
	var all struct {
		Images []struct{ ImageId, Name, State, BootMode string }
	}
	cli(t, s, &all, "ec2", "describe-images", "--owners", "self")
	found := map[string]string{}
	for _, i := range all.Images {
		found[i.ImageId] = i.Name + " " + i.State + " " + i.BootMode
	}
	if len(found) != 2 || found[registered.ImageId] != "web available uefi-preferred" || found[images.ImportImageTasks[0].ImageId] != started.ImportTaskId+" available " {
		t.Errorf("images %v, imported %+v", found, images)
	}
}
