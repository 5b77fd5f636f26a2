package vmimport

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
)

// policyDocument is a policy document as anybody may have written it: what can be a list may be a single value.
type policyDocument struct {
	Statement oneOrMore[policyStatement]
}

type policyStatement struct {
	Effect    string
	Principal json.RawMessage
	// NotPrincipal is everybody but some.
	NotPrincipal json.RawMessage
	Action       oneOrMore[string]
	NotAction    oneOrMore[string]
	Resource     oneOrMore[string]
	NotResource  oneOrMore[string]
	Condition    map[string]map[string]oneOrMore[string]
}

type oneOrMore[T any] []T

func (l *oneOrMore[T]) UnmarshalJSON(data []byte) error {
	if strings.HasPrefix(strings.TrimSpace(string(data)), "[") {
		return json.Unmarshal(data, (*[]T)(l))
	}
	var one T
	if err := json.Unmarshal(data, &one); err != nil {
		return err
	}
	*l = oneOrMore[T]{one}
	return nil
}

// maxDocument is far above IAM's quotas on documents.
const maxDocument = 1 << 18

// readDocument reads a policy document as IAM gives it, in the encoding of URLs or plain.
func readDocument(text string) (*policyDocument, error) {
	if len(text) > maxDocument {
		return nil, fmt.Errorf("a policy document of %d bytes", len(text))
	}
	d := &policyDocument{}
	if err := json.Unmarshal([]byte(plain(text)), d); err != nil {
		return nil, fmt.Errorf("read policy document: %w", err)
	}
	return d, nil
}

// plain undoes the encoding of URLs that IAM's answers have (RFC 3986, which leaves + as it is).
func plain(text string) string {
	if decoded, err := url.PathUnescape(text); err == nil && !strings.HasPrefix(strings.TrimSpace(text), "{") {
		return decoded
	}
	return text
}

// decision is what documents say of an action.
type decision int

const (
	denied     decision = iota // by a statement that says so
	notAllowed                 // by none
	perhaps                    // conditions decide whose values are not known
	allowed
)

// decide evaluates policies of one kind for an action on a resource (IAM User Guide, "Policy evaluation logic"), and tells the keys of conditions
// that leave it open.
func decide(documents []*policyDocument, action, resource string, c requestContext) (decision, []string) {
	return evaluate(documents, c, func(s policyStatement) truth { return truthOf(s.covers(action, resource)) })
}

// evaluate looks at the statements that concern a request: a denial wins, then something must allow.
func evaluate(documents []*policyDocument, c requestContext, concerns func(policyStatement) truth) (decision, []string) {
	result, mayDeny := notAllowed, false
	var open []string
	for _, d := range documents {
		for _, s := range d.Statement {
			concern := concerns(s)
			if concern == unmet {
				continue
			}
			state, keys := s.holds(c)
			state = min(state, concern)
			switch {
			case state == unmet:
			case s.Effect == "Deny" && state == met:
				return denied, nil
			case s.Effect == "Deny":
				mayDeny, open = true, append(open, keys...)
			case s.Effect == "Allow" && state == met:
				result = allowed
			case s.Effect == "Allow" && result == notAllowed:
				result, open = perhaps, append(open, keys...)
			}
		}
	}
	if mayDeny {
		result = min(result, perhaps)
	}
	if result != perhaps {
		return result, nil
	}
	return result, open
}

func (s policyStatement) covers(action, resource string) bool {
	onAction := anyMatch(s.Action, strings.ToLower(action), true)
	if len(s.NotAction) > 0 {
		onAction = !anyMatch(s.NotAction, strings.ToLower(action), true)
	}
	onResource := anyMatch(s.Resource, resource, false)
	if len(s.NotResource) > 0 {
		onResource = !anyMatch(s.NotResource, resource, false)
	}
	return onAction && onResource
}

func anyMatch(patterns []string, text string, fold bool) bool {
	for _, p := range patterns {
		if fold {
			p = strings.ToLower(p)
		}
		if wild(p, text) {
			return true
		}
	}
	return false
}

// wild matches IAM's wildcards: * is any text, / and : among it, and ? one character.
func wild(pattern, text string) bool {
	star, retry := -1, 0
	p, t := 0, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, retry = p, t
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == text[t]):
			p, t = p+1, t+1
		case star >= 0:
			retry++
			p, t = star+1, retry
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// trusts tells whether a trust policy lets VM Import/Export take the role on with its external id, and if not, why.
// It is not sure where conditions decide whose values are not known.
func (d *policyDocument) trusts(region string) (why string, sure bool) {
	c := requestContext{"sts:externalid": {externalID}, "aws:securetransport": {"true"}, "aws:requestedregion": {region}}
	verdict, open := evaluate([]*policyDocument{d}, c, func(s policyStatement) truth {
		return truthOf(anyMatch(s.Action, "sts:assumerole", true) && principalIs(s.Principal, service))
	})
	switch verdict {
	case allowed:
		return "", true
	case perhaps:
		return fmt.Sprintf("its trust asks for %s, which cannot be checked here", strings.Join(open, ", ")), false
	case denied:
		return trustDenied + service, true
	}
	for _, s := range d.Statement { // one that would trust, but for its conditions
		if s.Effect == "Allow" && anyMatch(s.Action, "sts:assumerole", true) && principalIs(s.Principal, service) {
			for operator, keys := range s.Condition {
				for key, values := range keys {
					if c.test(operator, key, values) == unmet {
						return fmt.Sprintf("its trust asks for %s %s, and VM Import/Export gives %s", key, strings.Join(values, " or "), strings.Join(c[strings.ToLower(key)], "")), true
					}
				}
			}
		}
	}
	return "it does not trust " + service, true
}

// trustDenied begins what is said of a trust with a denial.
const trustDenied = "its trust denies "

func principalIs(raw json.RawMessage, name string) bool {
	var all string
	if json.Unmarshal(raw, &all) == nil {
		return all == "*"
	}
	var principals map[string]oneOrMore[string]
	return json.Unmarshal(raw, &principals) == nil && anyMatch(principals["Service"], name, false)
}
