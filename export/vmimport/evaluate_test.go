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
		// What is known decides, what is not leaves it open; a denial that may apply is not forgotten.
		{`{"Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"StringLike":{"aws:RequestedRegion":["eu-*","us-*"]}}}]}`, allowed},
		{`{"Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"StringEquals":{"aws:RequestedRegion":"us-east-1"}}}]}`, notAllowed},
		{`{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","NotAction":"iam:*","Resource":"*","Condition":{"StringNotEquals":{"aws:RequestedRegion":["us-east-1","us-east-2"]}}}]}`, denied},
		{`{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"NotIpAddress":{"aws:SourceIp":"10.0.0.0/8"}}}]}`, perhaps},
		{`{"Statement":[{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"NotIpAddress":{"aws:SourceIp":"10.0.0.0/8"}}},{"Effect":"Allow","Action":"*","Resource":"*"}]}`, perhaps},
		{`{"Statement":[{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"NotIpAddress":{"aws:SourceIp":"10.0.0.0/8"}}}]}`, notAllowed},
		{`{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"BoolIfExists":{"aws:MultiFactorAuthPresent":"false"}}}]}`, denied},
		{`{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Bool":{"aws:MultiFactorAuthPresent":"true"}}}]}`, notAllowed},
		{`{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Null":{"aws:MultiFactorAuthPresent":"true"}}}]}`, allowed},
		{`{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"ForAnyValue:StringEquals":{"aws:TagKeys":"a"}}}]}`, perhaps},
		{`{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:RequestedRegion":"${aws:PrincipalTag/region}"}}}]}`, perhaps},
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
		known := requestContext{"aws:securetransport": {"true"}, "aws:requestedregion": {"eu-west-1"}, "aws:multifactorauthpresent": {}}
		if got, open := decide([]*policyDocument{d}, "s3:GetObject", object, known); got != c.want || (got == perhaps) != (len(open) > 0) {
			t.Errorf("%s: %d, want %d; open %v", c.document, got, c.want, open)
		}
	}
	if _, err := readDocument("{"); err == nil {
		t.Error("half a document was read")
	}
}

func TestTrust(t *testing.T) {
	statement := func(condition string) string {
		return `{"Statement":{"Effect":"Allow","Principal":{"Service":"vmie.amazonaws.com"},"Action":"sts:AssumeRole"` + condition + `}}`
	}
	for document, want := range map[string]string{
		statement(""): "",
		statement(`,"Condition":{"StringEquals":{"sts:ExternalId":"vmimport"}}`):                                                          "",
		statement(`,"Condition":{"StringEquals":{"sts:ExternalId":"other"}}`):                                                             "its trust asks for sts:ExternalId other, and VM Import/Export gives vmimport",
		statement(`,"Condition":{"StringEquals":{"aws:SourceAccount":"123456789012"}}`):                                                   "unsure: its trust asks for aws:SourceAccount, which cannot be checked here",
		`{"Statement":{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}}`:                          "it does not trust vmie.amazonaws.com",
		`{"Statement":[{"Effect":"Allow","Principal":"*","Action":"sts:*"},{"Effect":"Deny","Principal":"*","Action":"sts:AssumeRole"}]}`: "its trust denies vmie.amazonaws.com",
	} {
		d, err := readDocument(document)
		if err != nil {
			t.Fatal(err)
		}
		why, sure := d.trusts("eu-west-1")
		if !sure {
			why = "unsure: " + why
		}
		if why != want {
			t.Errorf("%s: %q, want %q", document, why, want)
		}
	}
}

// TestKeyPolicies decides by a key's own policy, its grants, and what the policies of a role say.
func TestKeyPolicies(t *testing.T) {
	const role, action = "arn:aws:iam::123456789012:role/vmimport", "kms:Decrypt"
	account := `{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":"kms:*","Resource":"*"}`
	own := `{"Effect":"Allow","Principal":{"AWS":["arn:aws:iam::123456789012:role/other","` + role + `"]},"Action":["kms:Decrypt","kms:CreateGrant"],"Resource":"*"}`
	for _, c := range []struct {
		name     string
		policy   string
		key      kmsKey
		identity decision
		want     decision
	}{
		{"left to the account, whose policies allow", account, kmsKey{}, allowed, allowed},
		{"left to the account, whose policies do not", account, kmsKey{}, notAllowed, notAllowed},
		{"left to the account by its number", `{"Effect":"Allow","Principal":{"AWS":"123456789012"},"Action":"kms:*"}`, kmsKey{}, allowed, allowed},
		{"allowed itself", own, kmsKey{}, notAllowed, allowed},
		{"neither", `{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:user/u"},"Action":"kms:*"}`, kmsKey{}, allowed, notAllowed},
		{"granted", `{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:user/u"},"Action":"kms:*"}`, kmsKey{grants: []grant{{role, []string{"Decrypt"}, false}}}, notAllowed, allowed},
		{"granted for a context", `{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:user/u"},"Action":"kms:*"}`, kmsKey{grants: []grant{{role, []string{"Decrypt"}, true}}}, notAllowed, notAllowed},
		{"denied", account + `,{"Effect":"Deny","Principal":"*","Action":"kms:Decrypt"}`, kmsKey{}, allowed, denied},
		{"denied the account", own + `,{"Effect":"Deny","Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":"kms:Decrypt"}`, kmsKey{}, allowed, denied},
		{"denied all but some", account + `,{"Effect":"Deny","NotPrincipal":{"AWS":"` + role + `"},"Action":"kms:*"}`, kmsKey{}, allowed, perhaps},
		{"by way of EC2", `{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"kms:*","Condition":{"StringEquals":{"kms:ViaService":"ec2.eu-west-1.amazonaws.com","kms:CallerAccount":"123456789012"}}}`, kmsKey{}, notAllowed, allowed},
		{"by way of another service", `{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"kms:*","Condition":{"StringEquals":{"kms:ViaService":"rds.eu-west-1.amazonaws.com"}}}`, kmsKey{}, allowed, notAllowed},
		{"not to be read", "", kmsKey{unread: "kms:GetKeyPolicy: AccessDenied"}, allowed, perhaps},
		{"not to be read, not allowed here", "", kmsKey{unread: "kms:GetKeyPolicy: AccessDenied"}, notAllowed, perhaps},
		{"AWS's own", "", kmsKey{managed: true}, notAllowed, allowed},
		{"another account's", "", kmsKey{foreign: true}, allowed, perhaps},
		{"another account's, not allowed here", "", kmsKey{foreign: true}, notAllowed, notAllowed},
	} {
		c.key.arn, c.key.account = "arn:aws:kms:eu-west-1:123456789012:key/k", "123456789012"
		if c.policy != "" {
			var err error
			if c.key.policy, err = readDocument(`{"Statement":[` + c.policy + `]}`); err != nil {
				t.Fatal(err)
			}
		}
		known := requestContext{"kms:viaservice": {"ec2.eu-west-1.amazonaws.com"}, "kms:calleraccount": {"123456789012"}}
		if got, why := c.key.allows(role, action, c.identity, known); got != c.want || got != allowed && why == "" {
			t.Errorf("%s: %d (%s), want %d", c.name, got, why, c.want)
		}
	}
}

// FuzzDocument reads documents as anybody may have written them: nothing panics, and what is added to one is added to what was there.
func FuzzDocument(f *testing.F) {
	for _, seed := range []string{
		TrustPolicy().String(), RolePolicy("aws", "images", []string{"arn:aws:kms:eu-west-1:1:key/k"}).String(), `{"Statement":{"Effect":"Deny","NotPrincipal":{"AWS":"*"},"NotAction":"*","Condition":{"ForAnyValue:StringNotLikeIfExists":{"aws:PrincipalArn":["*?*"]},"Null":{"a":"true"}}}}`,
		`%7B%22Statement%22%3A%5B%5D%7D`, `{"Statement":[{"Effect":"Allow","Principal":"*","Action":["sts:*"],"Condition":{"StringEquals":{"sts:ExternalId":[]}}}]}`, `{}`, `[]`, `null`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := readDocument(text)
		if err != nil {
			return
		}
		c := requestContext{"aws:securetransport": {"true"}, "aws:principalarn": {}}
		decide([]*policyDocument{d}, "s3:GetObject", "arn:aws:s3:::images/x", c)
		d.trusts("eu-west-1")
		k := &kmsKey{arn: "arn:aws:kms:eu-west-1:123456789012:key/k", account: "123456789012", policy: d}
		k.allows("arn:aws:iam::123456789012:role/vmimport", "kms:Decrypt", notAllowed, c)
		_, after, err := addStatements(text, TrustPolicy().Statement)
		if err != nil {
			return
		}
		more, err := readDocument(after)
		if err != nil || len(more.Statement) != len(d.Statement)+1 {
			t.Errorf("%q became %q: %d statements and %v", text, after, len(more.Statement), err)
		}
	})
}
