package ec2sim

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/smithy-go"

	"github.com/ingot-image/ingot/export/internal/ec2sim/permit"
)

// simulatePolicy answers SimulatePrincipalPolicy for users and roles: decisions on each resource, with the permissions boundary, and the condition keys
// that were not given (IAM API Reference, SimulatePrincipalPolicy).
func (s *Server) simulatePolicy(w http.ResponseWriter, c *call) {
	policies, boundary, err := s.principal(c.place(), c.form.get("PolicySourceArn"))
	var api smithy.APIError
	switch {
	case errors.As(err, &api):
		answerFault(w, c.Service, &fault{http.StatusNotFound, api.ErrorCode(), api.ErrorMessage()})
		return
	case err != nil:
		answerFault(w, c.Service, &fault{http.StatusInternalServerError, "ServiceFailure", err.Error()})
		return
	}
	values := map[string]string{}
	for _, entry := range c.form.subs("ContextEntries.member") {
		values[strings.ToLower(entry.get("ContextKeyName"))] = entry.get("ContextKeyValues.member.1")
	}
	results := el("EvaluationResults")
	for _, action := range c.form.list("ActionNames.member") {
		whole, specific := "allowed", el("ResourceSpecificResults")
		for _, resource := range c.form.list("ResourceArns.member") {
			decision, missing := "implicitDeny", members("MissingContextValues", append(policies.Keys(action, resource, values), boundary.Keys(action, resource, values)...))
			switch {
			case policies.Denies(action, resource, values), boundary.Denies(action, resource, values):
				decision = "explicitDeny"
			case policies.Allow(action, resource, values) && (boundary == nil || boundary.Allow(action, resource, values)):
				decision = "allowed"
			}
			if decision != "allowed" {
				whole = decision
			}
			specific.children = append(specific.children, el("member", text("EvalResourceName", resource), text("EvalResourceDecision", decision), missing))
		}
		template := "arn:${Partition}:" + strings.Split(action, ":")[0] + ":::${Resource}" // not a resource that was asked for
		results.children = append(results.children, el("member", text("EvalActionName", action), text("EvalDecision", whole), text("EvalResourceName", template), specific))
	}
	var b bytes.Buffer
	b.WriteString(xml.Header)
	fmt.Fprint(&b, `<SimulatePrincipalPolicyResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/">`)
	el("SimulatePrincipalPolicyResult", flag("IsTruncated", false), results).write(&b)
	el("ResponseMetadata", text("RequestId", requestID)).write(&b)
	b.WriteString("</SimulatePrincipalPolicyResponse>")
	w.Header().Set("Content-Type", "text/xml;charset=UTF-8")
	w.Write(b.Bytes())
}

func members(name string, values []string) element {
	e := element{name: name, children: []element{}}
	for _, v := range values {
		e.children = append(e.children, text("member", v))
	}
	return e
}

// principal are the policies of a user or role, and of its boundary, nil if it has none.
func (s *Server) principal(p place, arn string) (policies, boundary permit.Policies, err error) {
	client := iam.NewFromConfig(s.behind(p))
	var limit *types.AttachedPermissionsBoundary
	name := arn[strings.LastIndexByte(arn, '/')+1:]
	if strings.Contains(arn, ":user/") {
		found, err := client.GetUser(s.ctx, &iam.GetUserInput{UserName: &name})
		if err != nil {
			return nil, nil, err
		}
		limit = found.User.PermissionsBoundary
		policies, err = s.policiesOfUser(client, name)
		if err != nil {
			return nil, nil, err
		}
	} else {
		found, err := client.GetRole(s.ctx, &iam.GetRoleInput{RoleName: &name})
		if err != nil {
			return nil, nil, err
		}
		limit = found.Role.PermissionsBoundary
		policies, err = s.policiesOf(client, name)
		if err != nil {
			return nil, nil, err
		}
	}
	if limit != nil && limit.PermissionsBoundaryArn != nil {
		policy, err := s.managed(client, limit.PermissionsBoundaryArn)
		if err != nil {
			return nil, nil, err
		}
		boundary = permit.Policies{policy}
	}
	return policies, boundary, nil
}

// policiesOfUser are those in a user.
func (s *Server) policiesOfUser(client *iam.Client, user string) (policies permit.Policies, err error) {
	names, err := client.ListUserPolicies(s.ctx, &iam.ListUserPoliciesInput{UserName: &user})
	if err != nil {
		return nil, err
	}
	for _, name := range names.PolicyNames {
		document, err := client.GetUserPolicy(s.ctx, &iam.GetUserPolicyInput{UserName: &user, PolicyName: &name})
		if err != nil {
			return nil, err
		}
		if policy, err := parsePolicy(document.PolicyDocument); err == nil {
			policies = append(policies, policy)
		}
	}
	return policies, nil
}

func (s *Server) managed(client *iam.Client, arn *string) (permit.Policy, error) {
	policy, err := client.GetPolicy(s.ctx, &iam.GetPolicyInput{PolicyArn: arn})
	if err != nil {
		return permit.Policy{}, err
	}
	version, err := client.GetPolicyVersion(s.ctx, &iam.GetPolicyVersionInput{PolicyArn: arn, VersionId: policy.Policy.DefaultVersionId})
	if err != nil {
		return permit.Policy{}, err
	}
	return parsePolicy(version.PolicyVersion.Document)
}
