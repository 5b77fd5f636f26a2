package ami_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/ingot-image/ingot/export/ami"
	"github.com/ingot-image/ingot/export/distribution"
	"github.com/ingot-image/ingot/export/internal/ec2sim"
	ingots3 "github.com/ingot-image/ingot/export/s3"
)

const (
	trustVMImport = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"vmie.amazonaws.com"},"Action":"sts:AssumeRole",
		"Condition":{"StringEquals":{"sts:ExternalId":"vmimport"}}}]}`
	mayExport = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:GetBucketLocation","s3:GetObject","s3:ListBucket","s3:PutObject","s3:GetBucketAcl"],
		"Resource":["arn:aws:s3:::exports","arn:aws:s3:::exports/*"]},{"Effect":"Allow","Action":["ec2:CopySnapshot","ec2:Describe*","ec2:ModifySnapshotAttribute",
		"ec2:RegisterImage"],"Resource":"*"}]}`
)

func TestExport(t *testing.T) {
	w := newWorld(t)
	roles, store := iam.NewFromConfig(w.sim.Config(t, home)), ingots3.NewClient(w.sim.Config(t, home))
	_, err := store.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: sdk.String("exports"),
		CreateBucketConfiguration: &s3types.CreateBucketConfiguration{LocationConstraint: home}})
	w.must(err)
	d := []distribution.Distribution{{Region: home, AMI: &distribution.AMI{Name: name},
		S3Export: &distribution.S3Export{RoleName: "vmimport", DiskImageFormat: "VMDK", S3Bucket: "exports", S3Prefix: "web/"}}}

	_, err = w.distribute(d...)
	var failed *ami.DistributionError
	if !errors.As(err, &failed) || failed.RegionFailures[0].Step != ami.ExportAMI || !strings.Contains(err.Error(), "vmimport") {
		t.Errorf("without the role: %v", err)
	}
	_, err = roles.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: sdk.String("vmimport"), AssumeRolePolicyDocument: sdk.String(trustVMImport)})
	w.must(err)
	_, err = roles.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: sdk.String("vmimport"), PolicyName: sdk.String("vmimport"), PolicyDocument: sdk.String(mayExport)})
	w.must(err)

	results, err := w.distribute(d...)
	w.must(err)
	to := results[home+" "+ec2sim.Account].Exported
	if to == nil || to.Bucket != "exports" || !strings.HasPrefix(to.Key, "web/export-ami-") {
		t.Fatalf("exported to %+v", to)
	}
	object, err := store.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &to.Bucket, Key: &to.Key})
	w.must(err)
	defer object.Body.Close()
	magic := make([]byte, 4)
	if _, err := io.ReadFull(object.Body, magic); err != nil || string(magic) != "KDMV" {
		t.Errorf("the file begins with %q, %v", magic, err)
	}
	asked := w.sim.Count("ec2", "ExportImage") // more than twice: what refuses a missing role also refuses one that was just made, which is waited for
	again, err := w.distribute(d...)
	w.must(err)
	if n := w.sim.Count("ec2", "ExportImage") - asked; n != 0 || *again[home+" "+ec2sim.Account].Exported != *to {
		t.Errorf("again: %+v, asked for %d times more", again, n)
	}
}
