package vmimport

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/ingot-image/ingot/export/account"
)

// kmsKey is a key that an import uses, as its own policy and grants let others use it.
type kmsKey struct {
	arn     string
	account string
	foreign bool            // it belongs to another account than the import's
	managed bool            // it is AWS's own: everybody in the account may use it by way of the service
	policy  *policyDocument // nil: it could not be read
	unread  string          // why
	grants  []grant
}

// grant lets somebody use a key (AWS KMS Developer Guide, "Grants in AWS KMS").
type grant struct {
	principal  string
	operations []string // without "kms:"
	limited    bool     // to an encryption context
}

// readKeyPolicy reads a key's policy and grants. Those of other accounts cannot be read by any right (API reference of GetKeyPolicy, "Cross-account use: No").
func readKeyPolicy(ctx context.Context, client *kms.Client, k *kmsKey) {
	if k.foreign || k.managed {
		return
	}
	out, err := client.GetKeyPolicy(ctx, &kms.GetKeyPolicyInput{KeyId: &k.arn, PolicyName: aws.String("default")})
	if err == nil {
		k.policy, err = readDocument(value(out.Policy))
	}
	if err != nil {
		k.unread = "kms:GetKeyPolicy: " + account.Explain(err).Error()
		return
	}
	pages := kms.NewListGrantsPaginator(client, &kms.ListGrantsInput{KeyId: &k.arn})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return // its policy alone tells less, and nothing wrong
		}
		for _, g := range page.Grants {
			one := grant{principal: value(g.GranteePrincipal), limited: g.Constraints != nil}
			for _, operation := range g.Operations {
				one.operations = append(one.operations, string(operation))
			}
			k.grants = append(k.grants, one)
		}
	}
}

// allows decides on an action with the key, given what the user's or role's own policies say of it: the key's policy must allow the user or role itself, or
// leave it to the account's policies (AWS KMS Developer Guide, "Key policies in AWS KMS", "Allows access to the AWS account").
func (k *kmsKey) allows(principal, action string, identity decision, c requestContext) (result decision, why string) {
	switch {
	case k.managed:
		return allowed, ""
	case identity == denied:
		return denied, "its own policies deny it"
	case k.foreign && identity == notAllowed:
		return notAllowed, "its own policies do not allow it"
	case k.foreign:
		return perhaps, fmt.Sprintf("the key's policy, which only account %s can read, must allow %s", k.account, principal)
	case k.policy == nil && identity == notAllowed:
		return perhaps, "its own policies do not allow it, and whether the key's does is not known (" + k.unread + ")"
	case k.policy == nil:
		return perhaps, k.unread
	}
	direct, _ := k.decide(principal, action, c)
	if direct == denied || direct == allowed {
		return direct, "the key's policy denies it"
	}
	if k.granted(principal, action) {
		return allowed, ""
	}
	delegated, _ := k.decide("", action, c)
	switch {
	case delegated == denied:
		return denied, "the key's policy denies it"
	case delegated == allowed && identity == notAllowed && direct == notAllowed:
		return notAllowed, "its own policies do not allow it"
	case min(delegated, identity) > notAllowed:
		return min(delegated, identity), "conditions decide"
	case direct == perhaps:
		return perhaps, "conditions in the key's policy decide"
	}
	return notAllowed, "the key's policy does not allow it"
}

// decide evaluates the key's policy for a user or role, or for the account as a whole if that is "".
func (k *kmsKey) decide(principal, action string, c requestContext) (decision, []string) {
	return evaluate([]*policyDocument{k.policy}, c, func(s policyStatement) truth {
		onAction := anyMatch(s.Action, strings.ToLower(action), true)
		if len(s.NotAction) > 0 {
			onAction = !anyMatch(s.NotAction, strings.ToLower(action), true)
		}
		switch {
		case !onAction:
			return unmet
		case len(s.NotPrincipal) > 0:
			return unclear
		}
		return truthOf(k.names(s, principal))
	})
}

// names tells whether a statement is for a user or role, or for the account.
func (k *kmsKey) names(s policyStatement, principal string) bool {
	var all string
	if json.Unmarshal(s.Principal, &all) == nil {
		return all == "*"
	}
	var principals map[string]oneOrMore[string]
	if json.Unmarshal(s.Principal, &principals) != nil {
		return false
	}
	for _, p := range principals["AWS"] {
		whole := p == k.account || strings.HasPrefix(p, "arn:") && strings.HasSuffix(p, ":iam::"+k.account+":root")
		switch {
		case p == "*", principal != "" && p == principal, principal == "" && whole:
			return true
		case principal != "" && whole && s.Effect == "Deny": // everybody in the account
			return true
		}
	}
	return false
}

func (k *kmsKey) granted(principal, action string) bool {
	for _, g := range k.grants {
		if g.principal == principal && !g.limited && anyMatch(g.operations, strings.TrimPrefix(action, "kms:"), false) {
			return true
		}
	}
	return false
}

// accountOf is the account in a key's ARN, "" for an id or alias.
func accountOf(key string) string {
	a, err := arn.Parse(key)
	if err != nil {
		return ""
	}
	return a.AccountID
}
