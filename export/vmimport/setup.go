package vmimport

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/ingot-image/ingot/export/account"
	exports3 "github.com/ingot-image/ingot/export/s3"
)

// SetupOptions say what an account gets.
type SetupOptions struct {
	Bucket    string   // default DefaultBucket's
	Prefix    string   // of what is temporary in it, default "ingot/"
	RoleName  string   // default DefaultRole
	KMSKeyIDs []string // ARNs of keys that the role may use
}

// State is what a step of a set-up comes down to.
type State string

// The states.
const (
	There  State = "there"  // it is there and right, and left as it is
	Create State = "create" // it is missing, and made
	Mend   State = "mend"   // it is there and lacks something, which is added
	Wrong  State = "wrong"  // it stands in the way, and only its owner can change that
)

// Step is one of a set-up. None deletes anything.
type Step struct {
	State    State  `json:"state"`
	What     string `json:"what"`               // "bucket images"
	Detail   string `json:"detail"`             // what is done, or what is wrong
	Document string `json:"document,omitempty"` // the whole policy document as it will be
	Before   string `json:"before,omitempty"`   // the document as it is, if there is one, written in the same way
	Action   string `json:"action,omitempty"`   // the API's that does it: s3:CreateBucket

	apply func(ctx context.Context) error
}

// SetupPlan is what is going to be done.
type SetupPlan struct {
	AccountID string `json:"accountId"`
	Region    string `json:"region"`
	Bucket    string `json:"bucket"`
	RoleName  string `json:"roleName"`
	Steps     []Step `json:"steps"`
}

// Changes are the steps that change something.
func (p *SetupPlan) Changes() []Step {
	return slices.DeleteFunc(slices.Clone(p.Steps), func(s Step) bool { return s.apply == nil })
}

// Wrong are the steps that stand in the way.
func (p *SetupPlan) Wrong() []Step {
	return slices.DeleteFunc(slices.Clone(p.Steps), func(s Step) bool { return s.State != Wrong })
}

// Apply does what the plan says, in order, and tells each step that is done. It does nothing if something stands in the way. A plan whose
// application broke off is made and applied again.
func (p *SetupPlan) Apply(ctx context.Context, done func(Step)) error {
	if wrong := p.Wrong(); len(wrong) > 0 {
		return fmt.Errorf("set up AWS: %s: %s", wrong[0].What, wrong[0].Detail)
	}
	for _, s := range p.Changes() {
		if err := settle(ctx, s.apply); err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return fmt.Errorf("set up AWS: %s: %s: %w; run ingot aws setup again to go on", s.What, s.Action, account.Explain(err))
		}
		if done != nil {
			done(s)
		}
	}
	return nil
}

// What was just made is not known everywhere at once, as IAM and S3 document it. It is tried again until then.
const (
	settleLimit = 30 * time.Second
	settlePause = 250 * time.Millisecond // doubled each time
)

func settle(ctx context.Context, apply func(context.Context) error) error {
	for start, pause := time.Now(), settlePause; ; pause *= 2 {
		err := apply(ctx)
		switch account.Code(err) {
		case "NoSuchEntity", "NoSuchBucket", "OperationAborted":
		default:
			return err
		}
		if time.Since(start)+pause > settleLimit {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// PlanSetup looks at what is there, and plans the bucket and the role that imports by VM Import need. It changes nothing.
func PlanSetup(ctx context.Context, cfg aws.Config, o SetupOptions) (*SetupPlan, error) {
	who, err := account.WhoAmI(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("plan AWS set-up: %w", err)
	}
	p := &SetupPlan{AccountID: who.AccountID, Region: cfg.Region, RoleName: cmp.Or(o.RoleName, DefaultRole)}
	p.Bucket = cmp.Or(o.Bucket, DefaultBucket(p.AccountID, p.Region))
	b := &bucketSetup{client: exports3.NewClient(cfg), name: p.Bucket, region: p.Region, owner: p.AccountID, prefix: cmp.Or(o.Prefix, "ingot/")}
	if p.Steps, err = b.plan(ctx); err != nil {
		return nil, fmt.Errorf("plan AWS set-up: bucket %s: %w", p.Bucket, account.Explain(err))
	}
	for _, key := range o.KMSKeyIDs {
		if a, err := arn.Parse(key); err != nil || a.Service != "kms" || !strings.HasPrefix(a.Resource, "key/") || a.Region != p.Region {
			p.Steps = append(p.Steps, Step{State: Wrong, What: "KMS key " + key,
				Detail: fmt.Sprintf("a policy names a key by its ARN, arn:%s:kms:%s:ACCOUNT:key/ID, of the bucket's region; aws kms describe-key tells it", who.Partition, p.Region)})
		}
	}
	r := &roleSetup{client: iam.NewFromConfig(cfg), name: p.RoleName, partition: who.Partition, accountID: p.AccountID, region: p.Region,
		bucket: p.Bucket, prefix: b.prefix, keys: o.KMSKeyIDs}
	steps, err := r.plan(ctx)
	if err != nil {
		return nil, fmt.Errorf("plan AWS set-up: role %s: %w", p.RoleName, account.Explain(err))
	}
	p.Steps = append(p.Steps, steps...)
	return p, nil
}

// roleSetup plans the role.
type roleSetup struct {
	client                  *iam.Client
	name, partition, bucket string
	accountID, region       string
	prefix                  string
	keys                    []string
}

func (r *roleSetup) plan(ctx context.Context) ([]Step, error) {
	there, err := readRole(ctx, r.client, r.name)
	if err != nil {
		return nil, err
	}
	if there == nil {
		return r.create(), nil
	}
	trust, err := r.mendTrust(there)
	if err != nil {
		return nil, err
	}
	policy, err := r.mendPolicy(there)
	return []Step{trust, policy}, err
}

func (r *roleSetup) create() []Step {
	trust, policy := TrustPolicy().String(), RolePolicy(r.partition, r.bucket, r.keys).String()
	return []Step{{
		State: Create, What: "role " + r.name, Detail: "make it, for VM Import/Export to take on", Document: trust, Action: "iam:CreateRole",
		apply: func(ctx context.Context) error {
			_, err := r.client.CreateRole(ctx, &iam.CreateRoleInput{RoleName: &r.name, AssumeRolePolicyDocument: &trust, Description: aws.String("VM Import/Export, made by ingot aws setup")})
			return err
		},
	}, r.put(Create, r.name, policy, "give it what AWS documents for imports and exports")}
}

// mendTrust adds the statement that lets VM Import/Export in, beside those that are there.
func (r *roleSetup) mendTrust(there *role) (Step, error) {
	s := Step{State: There, What: "trust of role " + r.name, Detail: "VM Import/Export can take it on"}
	why, sure, err := there.distrust(r.region)
	if err != nil || why == "" || !sure {
		return s, err
	}
	if strings.HasPrefix(why, trustDenied) {
		s.State, s.Detail = Wrong, why+", which a further statement does not change: take the denial away, or give another role with --role-name"
		return s, nil
	}
	before, document, err := addStatements(there.trust, TrustPolicy().Statement)
	if err != nil {
		return s, err
	}
	s.State, s.Detail, s.Before, s.Document, s.Action = Mend, why+": add a statement that does", before, document, "iam:UpdateAssumeRolePolicy"
	s.apply = func(ctx context.Context) error {
		_, err := r.client.UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: &r.name, PolicyDocument: &document})
		return err
	}
	return s, nil
}

// mendPolicy adds an inline policy of its own with what the others do not allow. What is denied, or outside of the role's permissions boundary, no policy
// that is added allows.
func (r *roleSetup) mendPolicy(there *role) (Step, error) {
	s := Step{State: There, What: "policies of role " + r.name, Detail: "they allow what imports into the bucket need"}
	all := wants(r.partition, r.bucket, r.prefix)
	for _, key := range r.keys {
		all = append(all, keyWant(key))
	}
	c := requestContext{"aws:securetransport": {"true"}, "aws:requestedregion": {r.region}, "aws:principalaccount": {r.accountID}, "aws:principalarn": {there.arn}}
	own, err := there.lacks(all, c)
	if err != nil || len(own.missing) == 0 {
		return s, err
	}
	blocked, err := there.blocked(all, c)
	if err != nil {
		return s, err
	}
	if len(blocked) > 0 {
		s.State, s.Detail = Wrong, fmt.Sprintf("%s: no further policy allows it; change that, or give another role with --role-name", strings.Join(blocked, "; "))
		return s, nil
	}
	document, before, name := RolePolicy(r.partition, r.bucket, r.keys).String(), "", "ingot-"+r.bucket
	if old, twice := there.inline[name]; twice {
		if before, document, err = addStatements(old, RolePolicy(r.partition, r.bucket, r.keys).Statement); err != nil {
			return s, err
		}
	}
	put := r.put(Mend, name, document, fmt.Sprintf("it is not allowed %s: add the policy %s", listed(own.missing), name))
	put.Before = before
	return put, nil
}

func (r *roleSetup) put(state State, policy, document, detail string) Step {
	return Step{State: state, What: "policies of role " + r.name, Detail: detail, Document: document, Action: "iam:PutRolePolicy",
		apply: func(ctx context.Context) error {
			_, err := r.client.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: &r.name, PolicyName: &policy, PolicyDocument: &document})
			return err
		}}
}

// addStatements gives a document with further statements, and as it was, written in the same way. What is in it already stays as it is.
func addStatements(old string, more []Statement) (before, after string, err error) {
	if _, err := readDocument(old); err != nil {
		return "", "", err
	}
	var document map[string]json.RawMessage
	if err := json.Unmarshal([]byte(plain(old)), &document); err != nil {
		return "", "", err
	}
	var statements oneOrMore[json.RawMessage]
	if err := json.Unmarshal(document["Statement"], &statements); err != nil {
		return "", "", errors.New("a policy document without statements")
	}
	written := func() (string, error) {
		if document["Statement"], err = json.Marshal(statements); err != nil {
			return "", err
		}
		text, err := json.MarshalIndent(document, "", "  ")
		return string(text), err
	}
	if before, err = written(); err != nil {
		return "", "", err
	}
	for _, s := range more {
		data, err := json.Marshal(s)
		if err != nil {
			return "", "", err
		}
		statements = append(statements, data)
	}
	after, err = written()
	return before, after, err
}
