// Package permit evaluates policies of IAM as its user guide has it ("Policy evaluation logic"): an explicit denial wins, then something must allow.
// It knows principals that are services, actions and resources with wildcards, and conditions that compare strings.
//
//	role, err := permit.Parse(document)
//	permit.Policies{role}.Allow("s3:GetObject", "arn:aws:s3:::images/disk.vmdk", nil)
package permit

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// texts is a string or a list of them.
type texts []string

func (t *texts) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*t = texts{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(t))
}

// principal is "*", or names by their kind.
type principal struct{ kinds map[string]texts }

func (p *principal) UnmarshalJSON(b []byte) error {
	if string(b) == `"*"` {
		p.kinds = map[string]texts{"Service": {"*"}}
		return nil
	}
	return json.Unmarshal(b, &p.kinds)
}

type statement struct {
	Effect                string
	Principal             *principal
	Action, NotAction     texts
	Resource, NotResource texts
	Condition             map[string]map[string]texts
}

type statements []statement

func (s *statements) UnmarshalJSON(b []byte) error {
	var one statement
	if json.Unmarshal(b, &one) == nil {
		*s = statements{one}
		return nil
	}
	return json.Unmarshal(b, (*[]statement)(s))
}

// Policy is a policy document.
type Policy struct{ Statement statements }

// Parse reads a document.
func Parse(document string) (Policy, error) {
	var p Policy
	if err := json.Unmarshal([]byte(document), &p); err != nil {
		return p, fmt.Errorf("parse policy: %w", err)
	}
	return p, nil
}

// Policies are all that are attached to somebody.
type Policies []Policy

// Allow tells whether an action on a resource is allowed. Values are those of condition keys, which are named in lower case.
func (p Policies) Allow(action, resource string, values map[string]string) bool {
	return p.decide(values, covers(action, resource))
}

// Denies tells whether a statement denies an action on a resource.
func (p Policies) Denies(action, resource string, values map[string]string) bool {
	return slices.ContainsFunc(p, func(policy Policy) bool {
		return slices.ContainsFunc(policy.Statement, func(s statement) bool {
			return s.Effect == "Deny" && covers(action, resource)(s) && s.holds(values)
		})
	})
}

// Keys are the condition keys of the statements on an action and a resource that have no value.
func (p Policies) Keys(action, resource string, values map[string]string) (missing []string) {
	for _, policy := range p {
		for _, s := range policy.Statement {
			for _, keys := range s.Condition {
				for key := range keys {
					if _, known := values[strings.ToLower(key)]; !known && covers(action, resource)(s) && !slices.Contains(missing, key) {
						missing = append(missing, key)
					}
				}
			}
		}
	}
	return missing
}

func covers(action, resource string) func(statement) bool {
	return func(s statement) bool {
		return (anyMatches(s.Action, action, true) || len(s.NotAction) > 0 && !anyMatches(s.NotAction, action, true)) &&
			(anyMatches(s.Resource, resource, false) || len(s.NotResource) > 0 && !anyMatches(s.NotResource, resource, false))
	}
}

// Trusts tells whether a role's trust policy lets a service assume it.
func (p Policy) Trusts(service string, values map[string]string) bool {
	return Policies{p}.decide(values, func(s statement) bool {
		return s.Principal != nil && (slices.Contains(s.Principal.kinds["Service"], service) || slices.Contains(s.Principal.kinds["Service"], "*")) &&
			anyMatches(s.Action, "sts:AssumeRole", true)
	})
}

func (p Policies) decide(values map[string]string, concerns func(statement) bool) bool {
	allowed := false
	for _, policy := range p {
		for _, s := range policy.Statement {
			if !concerns(s) || !s.holds(values) {
				continue
			}
			if s.Effect == "Deny" {
				return false
			}
			allowed = allowed || s.Effect == "Allow"
		}
	}
	return allowed
}

// holds tells whether all conditions are met. One of a kind that is not known here is not.
func (s statement) holds(values map[string]string) bool {
	for operator, keys := range s.Condition {
		for key, wanted := range keys {
			have, known := values[strings.ToLower(key)]
			var met bool
			switch operator {
			case "StringEquals", "ArnEquals":
				met = known && slices.Contains(wanted, have)
			case "StringLike", "ArnLike":
				met = known && anyMatches(wanted, have, false)
			case "StringNotEquals":
				met = !slices.Contains(wanted, have)
			}
			if !met {
				return false
			}
		}
	}
	return true
}

// anyMatches compares with patterns in which * is any text and ? any character.
func anyMatches(patterns []string, value string, fold bool) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		expression := "^" + strings.NewReplacer(`\*`, `.*`, `\?`, `.`).Replace(regexp.QuoteMeta(pattern)) + "$"
		if fold {
			expression = "(?i)" + expression
		}
		matched, err := regexp.MatchString(expression, value)
		return err == nil && matched
	})
}
