package aws

import (
	"context"
	"fmt"
	"sync"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/ingot-image/ingot/builder/component"
)

// parameterStore is the Parameter Store by the SDK.
type parameterStore struct {
	account *account

	mu   sync.Mutex
	made *ssm.Client
}

func (p *parameterStore) client(ctx context.Context) (*ssm.Client, error) {
	c, err := p.account.config(ctx)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.made == nil {
		p.made = ssm.NewFromConfig(c)
	}
	return p.made, nil
}

// Parameter asks for a parameter, decrypted (ssm API, GetParameter with WithDecryption).
func (p *parameterStore) Parameter(ctx context.Context, name string) (component.StoredParameter, error) {
	client, err := p.client(ctx)
	if err != nil {
		return component.StoredParameter{}, fmt.Errorf("get the parameter %s: %w", name, err)
	}
	out, err := client.GetParameter(ctx, &ssm.GetParameterInput{Name: &name, WithDecryption: sdk.Bool(true)})
	if err != nil {
		return component.StoredParameter{}, fmt.Errorf("get the parameter %s: %w", name, explain(err))
	}
	return component.StoredParameter{Type: string(out.Parameter.Type), Value: sdk.ToString(out.Parameter.Value)}, nil
}
