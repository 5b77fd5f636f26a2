package action

import (
	"context"
	"fmt"

	"github.com/ingot-image/ingot/builder/component"
)

// Assert fails the step unless a condition is true. The inputs are the condition itself; see [component.Condition] for the operators.
// Comparisons read as "value OP operand": numberGreaterThan: 1 with value: 2 is true.
//
//	steps:
//	  - name: NginxIsThere
//	    action: Assert
//	    inputs:
//	      and:
//	        - binaryExists: nginx
//	        - patternMatches: '^nginx/1\.'
//	          value: "{{ build.Version.outputs.stdout }}"
type Assert struct{ component.Condition }

// Run implements [component.Action].
func (in Assert) Run(ctx context.Context, x *component.Execution) (component.Outcome, error) {
	ok, err := in.Evaluate(ctx, x)
	if err == nil && !ok {
		err = fmt.Errorf("assertion is false: %s", in.String())
	}
	return component.Outcome{}, err
}
