package vmimport_test

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/export/vmimport"
)

// TestDocumentsOfThePage holds docs/aws-setup.md against what is made.
func TestDocumentsOfThePage(t *testing.T) {
	page, err := os.ReadFile("../../docs/aws-setup.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]string{}
	for _, m := range regexp.MustCompile("(?s)<!-- (\\w+) -->\n```json\n(.*?)\n```").FindAllStringSubmatch(string(page), -1) {
		shown[m[1]] = m[2]
	}
	for name, want := range map[string]string{
		"trust":  vmimport.TrustPolicy().String(),
		"policy": vmimport.RolePolicy("aws", "images-in-ireland", nil).String(),
		"caller": vmimport.CallerPolicy("aws", "123456789012", "images-in-ireland", vmimport.DefaultRole).String(),
	} {
		if shown[name] != want {
			t.Errorf("docs/aws-setup.md shows as %s\n%s\nand it is\n%s", name, shown[name], want)
		}
	}
}

func TestPolicyOfAPartition(t *testing.T) {
	const key = "arn:aws-cn:kms:cn-north-1:123456789012:key/k"
	text := vmimport.RolePolicy("aws-cn", "images", []string{key}).String()
	for _, want := range []string{`"arn:aws-cn:s3:::images"`, `"arn:aws-cn:s3:::images/*"`, `"kms:ReEncrypt*"`, `"` + key + `"`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
	if strings.Contains(text, "arn:aws:") || !json.Valid([]byte(text)) {
		t.Error(text)
	}
}
