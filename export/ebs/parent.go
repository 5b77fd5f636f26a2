package ebs

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/ingot-image/ingot/export/account"
)

// unfit tells why the parent that is asked for cannot be one; "" if it can, as far as can be told before StartSnapshot. The table is "Encryption outcomes for EBS
// direct APIs" of the user guide: a parent's encryption is its child's, it cannot be changed, and an account that encrypts everything takes no parent that is not encrypted.
func (u *upload) unfit(ctx context.Context) (string, error) {
	id := u.Parent.SnapshotID
	if len(u.Parent.Digests) == 0 {
		return fmt.Sprintf("the digests of snapshot %s are not known", id), nil
	}
	s, err := u.look(ctx, id)
	if err != nil {
		return "", err
	}
	switch {
	case s == nil:
		return fmt.Sprintf("snapshot %s does not exist any more", id), nil
	case s.State != ec2types.SnapshotStateCompleted:
		return fmt.Sprintf("snapshot %s is %s, not completed", id, s.State), nil
	case int64(aws.ToInt32(s.VolumeSize)) != u.VolumeSizeGiB:
		return fmt.Sprintf("snapshot %s is of a volume of %d GiB, not of %d GiB", id, aws.ToInt32(s.VolumeSize), u.VolumeSizeGiB), nil
	}
	encrypt := u.state.Encrypted
	if !encrypt {
		if encrypt, err = u.encryptedByDefault(ctx); err != nil {
			return "", err
		}
	}
	switch encrypted := aws.ToBool(s.Encrypted); {
	case encrypt && !encrypted:
		return fmt.Sprintf("snapshot %s is not encrypted, and this one is to be", id), nil
	case !encrypt && encrypted:
		return fmt.Sprintf("snapshot %s is encrypted, and this one is not to be", id), nil
	case u.keyARN != "" && u.keyARN != aws.ToString(s.KmsKeyId):
		return fmt.Sprintf("snapshot %s is encrypted by another key, %s", id, aws.ToString(s.KmsKeyId)), nil
	}
	return "", nil
}

// encryptedByDefault asks for the account's setting. Who may not ask is told by StartSnapshot.
func (u *upload) encryptedByDefault(ctx context.Context) (bool, error) {
	out, err := u.Describe.GetEbsEncryptionByDefault(ctx, &ec2.GetEbsEncryptionByDefaultInput{})
	switch code := account.Code(err); {
	case code == "UnauthorizedOperation":
		return false, nil
	case err != nil:
		return false, fmt.Errorf("ask whether the account encrypts by default: %w", account.Explain(err))
	}
	return aws.ToBool(out.EbsEncryptionByDefault), nil
}

// key gives the ARN of the key that is asked for, "" if none is.
func (u *upload) key(ctx context.Context) (string, error) {
	if u.KMSKeyID == "" || strings.HasPrefix(u.KMSKeyID, "arn:") && strings.Contains(u.KMSKeyID, ":key/") {
		return u.KMSKeyID, nil
	}
	if u.Keys == nil {
		return "", fmt.Errorf("the KMS key %q is not given by its ARN, which begins with arn: and has :key/ in it", u.KMSKeyID)
	}
	out, err := u.Keys.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &u.KMSKeyID})
	if err != nil {
		return "", fmt.Errorf("find the KMS key %s: %w", u.KMSKeyID, account.Explain(err))
	}
	if out.KeyMetadata == nil || aws.ToString(out.KeyMetadata.Arn) == "" {
		return "", errors.New("AWS gives no ARN of the KMS key " + u.KMSKeyID)
	}
	return *out.KeyMetadata.Arn, nil
}
