package vmimport

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

// errRoot is that there is nothing to simulate.
var errRoot = errors.New("the root user has no policies")

// simulate has IAM itself tell which actions a user's or role's policies do not allow, permissions boundaries and the organization's policies among
// them. What hangs on keys of conditions that c has no values for is conditional.
func simulate(ctx context.Context, client *iam.Client, principal string, all []want, c requestContext) (l lack, err error) {
	if strings.HasSuffix(principal, ":root") {
		return l, errRoot
	}
	for _, w := range all {
		in := &iam.SimulatePrincipalPolicyInput{PolicySourceArn: &principal, ActionNames: w.actions, ResourceArns: w.resources, ContextEntries: entries(c)}
		pages := iam.NewSimulatePrincipalPolicyPaginator(client, in)
		for pages.HasMorePages() {
			// Where it is not allowed or not known there is another way: it is asked once.
			page, err := pages.NextPage(ctx, func(o *iam.Options) { o.Retryer = aws.NopRetryer{} })
			if err != nil {
				return lack{}, err
			}
			for _, r := range page.EvaluationResults {
				l.addResult(r, w.resources)
			}
		}
	}
	return l, nil
}

// addResult adds an action's result. The decisions on resources that were asked for are below it: its own resource may be but the template of their names.
func (l *lack) addResult(r types.EvaluationResult, resources []string) {
	if len(r.ResourceSpecificResults) == 0 {
		l.add(verdict(r.EvalDecision, r.MissingContextValues), value(r.EvalActionName), resources[0], r.MissingContextValues)
		return
	}
	for _, one := range r.ResourceSpecificResults {
		l.add(verdict(one.EvalResourceDecision, one.MissingContextValues), value(r.EvalActionName), value(one.EvalResourceName), one.MissingContextValues)
	}
}

func verdict(d types.PolicyEvaluationDecisionType, open []string) decision {
	switch {
	case d == types.PolicyEvaluationDecisionTypeAllowed:
		return allowed
	case d == types.PolicyEvaluationDecisionTypeExplicitDeny:
		return denied
	case len(open) > 0:
		return perhaps
	}
	return notAllowed
}

// entries are the values of a context as the simulation takes them.
func entries(c requestContext) (all []types.ContextEntry) {
	for key, values := range c {
		if len(values) == 0 {
			continue
		}
		kind := types.ContextKeyTypeEnumString
		if values[0] == "true" || values[0] == "false" {
			kind = types.ContextKeyTypeEnumBoolean
		}
		all = append(all, types.ContextEntry{ContextKeyName: &key, ContextKeyType: kind, ContextKeyValues: values})
	}
	slices.SortFunc(all, func(a, b types.ContextEntry) int { return strings.Compare(*a.ContextKeyName, *b.ContextKeyName) })
	return all
}
