package preflight

import (
	"context"
	"strings"
)

// notEncrypted looks for what nobody but the owner of a passphrase can read: EC2 asks for none.
func notEncrypted() Check {
	return Check{
		ID: "B04", Title: "no volume is encrypted in the image", Needs: NeedDisk,
		Looks:       "the headers of LUKS and BitLocker",
		Levels:      Levels{ImportImage: Fatal, ImportSnapshot: Warning, EBSDirect: Warning},
		Prevents:    unknownOS,
		Fix:         "install without encryption and let EBS encrypt the snapshot: encrypted and kmsKeyId of the import",
		NoComponent: "a system cannot be decrypted while it runs from its disk",
		look: func(_ context.Context, t *Target) ([]Seen, error) {
			var seen []Seen
			for _, v := range t.Report.FileSystems {
				switch v.Type {
				case "crypto_LUKS":
					seen = append(seen, Seen{Where: v.Device, What: strings.TrimSpace("encrypted by LUKS " + strings.TrimPrefix(v.Variant, "LUKS"))})
				case "BitLocker":
					seen = append(seen, Seen{Where: v.Device, What: "encrypted by BitLocker"})
				}
			}
			return seen, nil
		},
	}
}
