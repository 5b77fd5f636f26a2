package ami

import (
	"context"
	"fmt"
	"sync"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/ingot-image/ingot/export/account"
)

// DistributionRole is the role that is assumed in the accounts that get an image of their own, the one that EC2 Image Builder assumes there.
const DistributionRole = "EC2ImageBuilderDistributionCrossAccountRole"

// Clients gives what a client is made with, for a region and an account. The account is empty for the user's own.
type Clients interface {
	Config(ctx context.Context, region, accountID string) (sdk.Config, error)
}

// Accounts reaches the user's own account with its configuration and every other one by assuming DistributionRole there.
type Accounts struct {
	own sdk.Config

	mu      sync.Mutex
	assumed map[string]sdk.CredentialsProvider // by account
}

// NewAccounts starts from the configuration of the user's own account.
func NewAccounts(own sdk.Config) *Accounts {
	return &Accounts{own: own, assumed: map[string]sdk.CredentialsProvider{}}
}

// Config implements Clients.
func (a *Accounts) Config(ctx context.Context, region, accountID string) (sdk.Config, error) {
	config := account.In(a.own, region)
	if accountID == "" {
		return config, nil
	}
	partition, err := account.Partition(ctx, a.own, region)
	if err != nil {
		return config, fmt.Errorf("assume role %s in account %s: %w", DistributionRole, accountID, err)
	}
	a.mu.Lock()
	provider := a.assumed[accountID]
	if provider == nil {
		role := fmt.Sprintf("arn:%s:iam::%s:role/%s", partition, accountID, DistributionRole)
		provider = sdk.NewCredentialsCache(stscreds.NewAssumeRoleProvider(sts.NewFromConfig(config), role,
			func(o *stscreds.AssumeRoleOptions) { o.RoleSessionName = "ingot" }))
		a.assumed[accountID] = provider
	}
	a.mu.Unlock()
	config.Credentials = provider
	if _, err := provider.Retrieve(ctx); err != nil {
		return config, fmt.Errorf("assume role %s in account %s: %w; create the role there with a trust policy for this account", DistributionRole, accountID,
			account.Explain(err))
	}
	return config, nil
}
