package component_test

import (
	"context"
	"fmt"
	"os"

	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/component/action"
)

func ExampleRunner() {
	const document = `
name: hello
schemaVersion: 1.0
parameters:
  - Greeting: {type: string, default: Hello}
phases:
  - name: build
    steps:
      - name: Greet
        action: ExecuteBash
        inputs:
          commands:
            - echo "{{ Greeting }}, world"
      - name: Check
        action: Assert
        inputs:
          stringEquals: Good morning, world
          value: "{{ build.Greet.outputs.stdout }}"
`
	runner := &component.Runner{
		Modules: action.Modules(),
		Events: func(e component.Event) {
			switch e.Type {
			case component.Output:
				fmt.Print("  ", e.Text)
			case component.StepEnded:
				fmt.Println(e.Phase, e.Step, e.Status)
			}
		},
	}
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	result, err := runner.Run(context.Background(), component.Request{
		Documents: []component.RunDocument{{
			Path: "hello.yml", Content: []byte(document), Parameters: map[string]string{"Greeting": "Good morning"},
		}},
		Phases:           []string{component.PhaseBuild},
		WorkingDirectory: dir,
	})
	if err != nil {
		panic(err)
	}
	fmt.Println(result.Status, result.ExecutedSteps)
	// Output:
	//   Good morning, world
	// build Greet success
	// build Check success
	// success 2
}

func ExampleParse() {
	_, err := component.Parse("hello.yml", []byte(`schemaVersion: 1.0
phases:
  - name: biuld
    steps:
      - name: Greet
        action: ExecuteBsh
        onFailure: Retry
`), action.Modules())
	fmt.Println(err)
	// Output:
	// hello.yml:3:11: phases[0].name: unknown phase "biuld"; did you mean "build"?
	// hello.yml:6:17: phases[0].steps[0].action: unknown action "ExecuteBsh"; did you mean "ExecuteBash"?
	// hello.yml:7:20: phases[0].steps[0].onFailure: unknown value "Retry"; known are Abort, Continue, Ignore
}
