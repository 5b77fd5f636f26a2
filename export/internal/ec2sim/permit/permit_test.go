package permit

import "testing"

func TestAllow(t *testing.T) {
	const object = "arn:aws:s3:::images/disk.vmdk"
	for name, c := range map[string]struct {
		document string
		want     bool
	}{
		"exact":            {`{"Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::images/disk.vmdk"}]}`, true},
		"lists":            {`{"Statement":[{"Effect":"Allow","Action":["s3:PutObject","s3:getobject"],"Resource":["arn:aws:s3:::images","arn:aws:s3:::images/*"]}]}`, true},
		"one statement":    {`{"Statement":{"Effect":"Allow","Action":"s3:Get*","Resource":"*"}}`, true},
		"other bucket":     {`{"Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::other/*"}]}`, false},
		"bucket only":      {`{"Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::images"}]}`, false},
		"other action":     {`{"Statement":[{"Effect":"Allow","Action":"s3:GetObjectTagging","Resource":"*"}]}`, false},
		"denied":           {`{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"s3:GetObject","Resource":"arn:aws:s3:::images/*"}]}`, false},
		"not action":       {`{"Statement":[{"Effect":"Allow","NotAction":"iam:*","Resource":"*"}]}`, true},
		"not resource":     {`{"Statement":[{"Effect":"Allow","Action":"*","NotResource":"arn:aws:s3:::images/*"}]}`, false},
		"condition met":    {`{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringLike":{"aws:SourceAccount":"12*"}}}]}`, true},
		"condition unmet":  {`{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:SourceAccount":"99"}}}]}`, false},
		"condition absent": {`{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:PrincipalOrgID":"o-1"}}}]}`, false},
		"nothing":          {`{"Statement":[]}`, false},
	} {
		p, err := Parse(c.document)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := (Policies{p}).Allow("s3:GetObject", object, map[string]string{"aws:sourceaccount": "123"}); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestTrusts(t *testing.T) {
	for document, want := range map[string]bool{
		`{"Statement":[{"Effect":"Allow","Principal":{"Service":"vmie.amazonaws.com"},"Action":"sts:AssumeRole","Condition":{"StringEquals":{"sts:Externalid":"vmimport"}}}]}`: true,
		`{"Statement":[{"Effect":"Allow","Principal":{"Service":["ec2.amazonaws.com","vmie.amazonaws.com"]},"Action":"sts:*"}]}`:                                               true,
		`{"Statement":[{"Effect":"Allow","Principal":{"Service":"vmie.amazonaws.com"},"Action":"sts:AssumeRole","Condition":{"StringEquals":{"sts:ExternalId":"other"}}}]}`:    false,
		`{"Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}`:                                                             false,
		`{"Statement":[{"Effect":"Allow","Principal":{"AWS":"123456789012"},"Action":"sts:AssumeRole"}]}`:                                                                      false,
		`{"Statement":[{"Effect":"Allow","Principal":{"Service":"vmie.amazonaws.com"},"Action":"sts:TagSession"}]}`:                                                            false,
	} {
		p, err := Parse(document)
		if err != nil {
			t.Error(err)
		}
		if got := p.Trusts("vmie.amazonaws.com", map[string]string{"sts:externalid": "vmimport"}); got != want {
			t.Errorf("%s: %v", document, got)
		}
	}
	if _, err := Parse("file://trust.json"); err == nil {
		t.Error("parsed what is no JSON")
	}
}
