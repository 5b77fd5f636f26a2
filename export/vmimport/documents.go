package vmimport

import (
	"encoding/json"
)

// Service is who takes the role on, in every partition.
const service = "vmie.amazonaws.com"

// externalID is what it gives when it takes the role on.
const externalID = "vmimport"

// Document is a policy document of IAM (IAM User Guide, "Grammar of the IAM JSON policy language"), as far as it is written here.
type Document struct {
	Version   string
	Statement []Statement
}

// Statement is one of a document.
type Statement struct {
	Effect    string
	Principal map[string]string            `json:",omitempty"`
	Action    []string                     `json:",omitempty"`
	Resource  []string                     `json:",omitempty"`
	Condition map[string]map[string]string `json:",omitempty"`
}

// String is the document as it is sent and shown.
func (d Document) String() string {
	text, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		panic(err) // a document of strings
	}
	return string(text)
}

const documentVersion = "2012-10-17"

// TrustPolicy lets VM Import/Export take the role on (VM Import/Export User Guide, "Required service role").
func TrustPolicy() Document {
	return Document{documentVersion, []Statement{{
		Effect: "Allow", Principal: map[string]string{"Service": service}, Action: []string{"sts:AssumeRole"},
		Condition: map[string]map[string]string{"StringEquals": {"sts:Externalid": externalID}},
	}}}
}

// RolePolicy lets the role read and write the bucket and make snapshots and images, and with keys use them (same page). The partition is that of
// the region: aws, aws-cn, aws-us-gov.
func RolePolicy(partition, bucket string, keyARNs []string) Document {
	arn := "arn:" + partition + ":s3:::" + bucket
	resources := []string{arn, arn + "/*"}
	d := Document{documentVersion, []Statement{
		{Effect: "Allow", Action: importActions(), Resource: resources},
		{Effect: "Allow", Action: append(importActions(), exportActions()...), Resource: resources},
		{Effect: "Allow", Action: []string{"ec2:ModifySnapshotAttribute", "ec2:CopySnapshot", "ec2:RegisterImage", "ec2:Describe*"}, Resource: []string{"*"}},
	}}
	if len(keyARNs) > 0 {
		d.Statement = append(d.Statement, Statement{Effect: "Allow", Action: keyActions(), Resource: keyARNs})
	}
	return d
}

// What the role does with the bucket on imports and, besides, on exports, and with keys.
func importActions() []string {
	return []string{"s3:GetBucketLocation", "s3:GetObject", "s3:ListBucket"}
}
func exportActions() []string { return []string{"s3:PutObject", "s3:GetBucketAcl"} }
func keyActions() []string {
	return []string{"kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"}
}

// CallerPolicy is what who imports must be allowed, by way of the bucket.
func CallerPolicy(partition, accountID, bucket, roleName string) Document {
	arn := "arn:" + partition + ":s3:::" + bucket
	return Document{documentVersion, []Statement{
		{Effect: "Allow", Action: []string{"s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads", "s3:GetLifecycleConfiguration", "s3:GetBucketVersioning", "s3:GetEncryptionConfiguration"}, Resource: []string{arn}},
		{Effect: "Allow", Action: []string{"s3:PutObject", "s3:GetObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"}, Resource: []string{arn + "/*"}},
		{Effect: "Allow", Action: []string{"ec2:ImportSnapshot", "ec2:ImportImage", "ec2:ExportImage", "ec2:CancelImportTask", "ec2:CancelExportTask", "ec2:Describe*", "ec2:GetEbsEncryptionByDefault",
			"ec2:RegisterImage", "ec2:CopyImage", "ec2:CreateTags", "ec2:ModifyImageAttribute", "ec2:EnableImageDeprecation", "ec2:EnableImageDeregistrationProtection",
			"ec2:CreateLaunchTemplateVersion", "ec2:ModifyLaunchTemplate", "ssm:PutParameter", "ssm:GetParameter"}, Resource: []string{"*"}},
		{Effect: "Allow", Action: []string{"iam:PassRole"}, Resource: []string{"arn:" + partition + ":iam::" + accountID + ":role/" + roleName}},
	}}
}
