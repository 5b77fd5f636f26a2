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
	Effect      string
	Principal   json.RawMessage
	Action      oneOrMore[string]
	NotAction   oneOrMore[string]
	Resource    oneOrMore[string]
	NotResource oneOrMore[string]
	Condition   map[string]map[string]oneOrMore[string]
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
	notAllowed decision = iota
	perhaps             // only under a condition, which is not looked into
	allowed
	denied
)

// decide evaluates identity policies for an action on a resource (IAM User Guide, "Policy evaluation logic"). Denials under a condition are left out: the
// usual ones are for requests without TLS and the like.
func decide(documents []*policyDocument, action, resource string) decision {
	result := notAllowed
	for _, d := range documents {
		for _, s := range d.Statement {
			if !s.covers(action, resource) {
				continue
			}
			switch {
			case s.Effect == "Deny" && len(s.Condition) == 0:
				return denied
			case s.Effect == "Allow" && len(s.Condition) == 0:
				result = allowed
			case s.Effect == "Allow" && result == notAllowed:
				result = perhaps
			}
		}
	}
	return result
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
func (d *policyDocument) trusts() (why string) {
	why = "it does not trust " + service
	for _, s := range d.Statement {
		if s.Effect != "Allow" || !anyMatch(s.Action, "sts:assumerole", true) || !principalIs(s.Principal, service) {
			continue
		}
		if why = s.externalID(); why == "" {
			return ""
		}
	}
	return why
}

// externalID says what of a statement's conditions VM Import/Export does not meet, "" for nothing.
func (s policyStatement) externalID() string {
	for operator, keys := range s.Condition {
		for key, values := range keys {
			switch {
			case !strings.EqualFold(key, "sts:ExternalId"):
				return fmt.Sprintf("its trust asks for %s, which cannot be checked here", key)
			case !strings.HasPrefix(operator, "StringEquals") && !strings.HasPrefix(operator, "StringLike"),
				!anyMatch(values, "vmimport", false):
				return fmt.Sprintf("its trust asks for the external id %s, and VM Import/Export gives vmimport", strings.Join(values, " or "))
			}
		}
	}
	return ""
}

func principalIs(raw json.RawMessage, name string) bool {
	var all string
	if json.Unmarshal(raw, &all) == nil {
		return all == "*"
	}
	var principals map[string]oneOrMore[string]
	return json.Unmarshal(raw, &principals) == nil && anyMatch(principals["Service"], name, false)
}
