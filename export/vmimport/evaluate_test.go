package vmimport

import "testing"

func TestDecide(t *testing.T) {
	const object = "arn:aws:s3:::images/ingot/disk"
	for _, c := range []struct {
		document string
		want     decision
	}{
		{`{"Statement":{"Effect":"Allow","Action":"s3:Get*","Resource":"arn:aws:s3:::images/*"}}`, allowed},
		{`%7B%22Statement%22%3A%7B%22Effect%22%3A%22Allow%22%2C%22Action%22%3A%22S3%3AGETOBJECT%22%2C%22Resource%22%3A%22%2A%22%7D%7D`, allowed},
		{`{"Statement":[{"Effect":"Allow","Action":["*"],"Resource":["*"]},{"Effect":"Deny","Action":"s3:GetObject","Resource":"arn:aws:s3:::images/ingot/????"}]}`, denied},
		{`{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"s3:*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"false"}}}]}`, allowed},
		{`{"Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"StringEquals":{"aws:SourceAccount":"1"}}}]}`, perhaps},
		{`{"Statement":[{"Effect":"Allow","NotAction":"iam:*","Resource":"*"}]}`, allowed},
		{`{"Statement":[{"Effect":"Allow","Action":"s3:*","NotResource":"arn:aws:s3:::images/*"}]}`, notAllowed},
		{`{"Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::images"}]}`, notAllowed},
		{`{}`, notAllowed},
	} {
		d, err := readDocument(c.document)
		if err != nil {
			t.Errorf("%s: %v", c.document, err)
			continue
		}
		if got := decide([]*policyDocument{d}, "s3:GetObject", object); got != c.want {
			t.Errorf("%s: %d, want %d", c.document, got, c.want)
		}
	}
	if _, err := readDocument("{"); err == nil {
		t.Error("half a document was read")
	}
}

func TestPrincipalBehindASession(t *testing.T) {
	for identity, want := range map[string]string{
		"arn:aws:iam::123456789012:user/u":                          "arn:aws:iam::123456789012:user/u",
		"arn:aws-cn:sts::123456789012:assumed-role/ci/i-0123456789": "arn:aws-cn:iam::123456789012:role/ci",
	} {
		if got := principalARN(identity); got != want {
			t.Errorf("%s: %s, want %s", identity, got, want)
		}
	}
}
