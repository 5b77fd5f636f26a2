package vmimport

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/ingot-image/ingot/export/account"
	"github.com/ingot-image/ingot/export/preflight"
)

const keyPrevents = "KMS key is not accessible"

// key checks a KMS key of a region. One that can be used is given back.
func (e *examination) key(ctx context.Context, f preflight.Finding, region, id string) *kmsKey {
	if a, err := arn.Parse(id); err == nil && a.Region != region {
		e.add(failed(f, preflight.Fatal, id, fmt.Sprintf("the KMS key is in %s, and what it encrypts in %s", a.Region, region), keyPrevents, "name a key of the region, by id, ARN or alias/NAME"))
		return nil
	}
	client := kms.NewFromConfig(account.In(e.cfg, region))
	out, err := client.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &id})
	switch {
	case account.Code(err) == "NotFoundException":
		e.add(failed(f, preflight.Fatal, id, "there is no such KMS key in "+region, keyPrevents, "name a key of the region, by id, ARN or alias/NAME"))
		return nil
	case err != nil && accountOf(id) != "" && accountOf(id) != e.accountID:
		e.add(unknownFor(f, preflight.Fatal, id, err, fmt.Sprintf("the key is account %s's: have its policy allow account %s kms:DescribeKey and the use of it", accountOf(id), e.accountID)))
		return nil
	case err != nil:
		e.add(unknownFor(f, preflight.Fatal, id, err, "have kms:DescribeKey allowed"))
		return nil
	}
	m := out.KeyMetadata
	if seen, fix := unusable(m); seen != "" {
		e.add(failed(f, preflight.Fatal, id, seen, keyPrevents, fix))
		return nil
	}
	k := &kmsKey{arn: value(m.Arn), account: value(m.AWSAccountId),
		managed: m.KeyManager == kmstypes.KeyManagerTypeAws || strings.Contains(id, "alias/aws/")} // aliases that only AWS may make
	k.foreign = k.account != "" && k.account != e.accountID
	readKeyPolicy(ctx, client, k)
	return k
}

// unusable says why nothing can be encrypted with a key, and what to do, "" if it can (AWS KMS Developer Guide, "Key states of AWS KMS keys").
func unusable(m *kmstypes.KeyMetadata) (seen, fix string) {
	id := value(m.KeyId)
	switch m.KeyState {
	case kmstypes.KeyStateEnabled:
	case kmstypes.KeyStateDisabled:
		return "the KMS key is Disabled", fmt.Sprintf("enable it: aws kms enable-key --key-id %s, or name another", id)
	case kmstypes.KeyStatePendingDeletion, kmstypes.KeyStatePendingReplicaDeletion:
		seen = fmt.Sprintf("the KMS key is %s", m.KeyState)
		if m.DeletionDate != nil {
			seen += ", it gets deleted on " + m.DeletionDate.UTC().Format(time.DateOnly)
		}
		return seen, fmt.Sprintf("name another; if it is deleted by mistake: aws kms cancel-key-deletion --key-id %s, then enable-key", id)
	case kmstypes.KeyStatePendingImport:
		return "the KMS key is PendingImport", "import its key material, or name another"
	case kmstypes.KeyStateUnavailable:
		return "the KMS key is Unavailable", "connect its custom key store, or name another"
	default:
		return fmt.Sprintf("the KMS key is %s", m.KeyState), "wait until it is Enabled, or name another"
	}
	switch {
	case m.KeyUsage != "" && m.KeyUsage != kmstypes.KeyUsageTypeEncryptDecrypt:
		return fmt.Sprintf("the KMS key is for %s, and EBS and S3 take one for ENCRYPT_DECRYPT", m.KeyUsage), "name another"
	case m.KeySpec != kmstypes.KeySpecSymmetricDefault:
		return fmt.Sprintf("the KMS key is of the type %s, and EBS and S3 take symmetric ones", m.KeySpec), "name another"
	}
	return "", ""
}

// encryptionKeys checks the keys that snapshots and copies get encrypted with, and that who imports may use them.
func (e *examination) encryptionKeys(ctx context.Context, f preflight.Finding) {
	if e.KMSKeyID != "" {
		if k := e.key(ctx, f, e.Region, e.KMSKeyID); k != nil {
			e.keys = append(e.keys, k)
			e.mayUse(ctx, f, e.Region, k)
		}
	}
	for _, c := range e.CopyKeys {
		if !e.open(c.Region) {
			continue
		}
		k := e.key(ctx, f, c.Region, c.KMSKeyID)
		if k == nil {
			continue
		}
		if k.managed && c.Shared {
			e.add(failed(f, preflight.Fatal, k.arn, "the AMI in "+c.Region+" is shared, and the KMS key is AWS's own, which no other account can use", "InvalidParameter",
				"name a key of your own whose policy lets the other accounts use it"))
		}
		e.mayUse(ctx, f, c.Region, k)
	}
}

// mayUse checks that the caller may use a key. Where policies cannot be simulated nothing is said: EC2 tells when it begins.
func (e *examination) mayUse(ctx context.Context, f preflight.Finding, region string, k *kmsKey) {
	w, c := keyWant(k.arn), e.keyContext(region)
	own, err := simulate(ctx, iam.NewFromConfig(e.cfg), e.callerARN, []want{w}, c)
	if err != nil {
		return
	}
	e.judgeKey(f, k, e.callerARN, e.callerARN, c, own.of, "have the key's policy, or the policies of "+e.callerARN+", allow them")
}

// judgeKey adds what a user or role may not do with a key, or not surely, given what its own policies say of each action.
func (e *examination) judgeKey(f preflight.Finding, k *kmsKey, who, principal string, c requestContext, own func(action, resource string) decision, fix string) {
	var missing, open, reasons []string
	for _, action := range keyWant(k.arn).actions {
		result, why := k.allows(principal, action, own(action, k.arn), c)
		switch {
		case result == allowed:
			continue
		case result == perhaps:
			open = append(open, action)
		default:
			missing = append(missing, action)
		}
		if !slices.Contains(reasons, why) {
			reasons = append(reasons, why)
		}
	}
	switch {
	case len(missing) > 0:
		e.add(failed(f, preflight.Fatal, k.arn, fmt.Sprintf("%s is not allowed %s: %s", who, strings.Join(missing, ", "), strings.Join(reasons, "; ")), keyPrevents, fix))
	case len(open) > 0:
		f.Status, f.Level, f.Where, f.Fix = preflight.Unknown, preflight.Fatal, k.arn, fix
		f.Reason = fmt.Sprintf("cannot check whether %s is allowed %s: %s", who, strings.Join(open, ", "), strings.Join(reasons, "; "))
		e.add(f)
	}
}

// keyContext is what is known of requests for a key that come by way of EC2 (AWS KMS Developer Guide, "AWS KMS condition keys").
func (e *examination) keyContext(region string) requestContext {
	suffix := "amazonaws.com"
	if e.partition == "aws-cn" {
		suffix = "amazonaws.com.cn"
	}
	return requestContext{
		"aws:securetransport": {"true"}, "aws:requestedregion": {region}, "aws:principalaccount": {e.accountID},
		"kms:calleraccount": {e.accountID}, "kms:grantisforawsresource": {"true"}, "kms:viaservice": {"ec2." + region + "." + suffix},
	}
}
