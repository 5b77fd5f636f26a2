// Package component parses, checks and runs EC2 Image Builder component documents (the AWSTOE language, schemaVersion 1.0).
//
// A component document says in phases and steps what to do to a machine:
//
//	name: hello
//	schemaVersion: 1.0
//	parameters:
//	  - Greeting: {type: string, default: Hello}
//	phases:
//	  - name: build
//	    steps:
//	      - name: Greet
//	        action: ExecuteBash
//	        inputs:
//	          commands:
//	            - echo "{{ Greeting }}, $(hostname)"
//
// [Parse] reads a document, YAML or JSON, and reports every mistake in it at once as [Problems], each with its line, column and field.
// [Runner] runs documents on the machine it is called on, as AWSTOE would, and tells what happens as a stream of [Event] values:
//
//	runner := &component.Runner{
//		Modules: action.Modules(),
//		Events:  func(e component.Event) { fmt.Print(e.Text) },
//	}
//	result, err := runner.Run(ctx, component.Request{
//		Documents: []component.RunDocument{{Name: "hello", Path: "hello.yml", Content: content}},
//		Phases:    []string{"build", "validate"},
//	})
//
// When a step wants a reboot, Run returns with [StatusReboot] and a [State], which survives as JSON. The caller restarts the machine and
// calls Run again with Request.Resume set to that State.
//
// A run can also pause between two steps ([Request].PauseAfterMS and PauseAfterDocument), so that the machine can be saved there: Run then
// returns with [StatusPaused] and a State, and goes on from it likewise. What may be reused of an earlier run is told by [Document.Keys],
// which gives every step a digest of all that decides what it does; [State.For] makes a State fit documents that were edited otherwise:
//
//	request.PauseAfterDocument = true
//	result, err := runner.Run(ctx, request)
//	for err == nil && result.Status == component.StatusPaused {
//		save(result.ExecutedSteps, result.State) // the first ExecutedSteps steps, in the order of Keys, are done
//		request.Resume = result.State
//		result, err = runner.Run(ctx, request)
//	}
//
// What a step does is decided by its action, a [Module]. The modules of the service live in the package action, one file each; a program
// may pass its own as well. [MapModule] and [ListModule] make a Module of an [Action], a struct that declares the inputs and has a Run
// method.
//
// # Reading the language
//
// Where the documentation of the service is silent or contradicts itself, this package does the following.
//
//   - Scalars keep the text they were written with: permissions 0755, 755 and "0755" all mean octal 755, and a version 1.10 stays 1.10.
//   - Booleans may be written true, yes, on, false, no, off in any case, quoted or not. An input without a value counts as not given,
//     an item without a value of a list of strings as the empty string.
//   - Phases are build, validate, test and container-host-test; at least one of them must be there. Other names are run as well, but one
//     that is nearly one of the four ("biuld", "Test") is reported.
//   - `{{ name }}` is a reference when name has the 3 to 128 characters of a parameter or constant; one that is not defined is reported.
//     `{{ phase.step.outputs.x }}` and `{{ phase.step.inputs.x }}` are references to earlier steps. Everything else between double braces
//     is left as it is, so that scripts may hold templates of other languages: {{.Names}}, {{ range .X }}, {{ item.key }}, {{ x }}; so are
//     the words {{end}}, {{else}}, {{break}} and {{continue}} of Go templates unless a parameter has that name. For other literal text
//     define a constant whose value is "{{". Replaced text is never scanned again.
//   - The if of a step is a map, or a list of one map. It is evaluated once a step: not before another attempt, and not again after a
//     reboot. A step that is skipped counts as a success and has no outputs; a reference to them fails the step that has it. With Abort
//     the step fails without an attempt, and its onFailure counts. References are allowed in conditions.
//   - `{{ loop.index }}`, `{{ loop.value }}` and those with a loop's name are left as they are outside of the inputs of the step that has
//     the loop. Loops with no end are wrong, and so are those of more than [MaxIterations]. An empty list has no iterations, and the step
//     succeeds. The items of a list keep the space around them. The delimiters \n and \t may also be written in single quotes.
//   - The timeout of a step with a loop is that of all iterations of an attempt; after a reboot it starts anew. A retry starts with the
//     first iteration. References to the inputs of such a step get those of the last iteration, references to its outputs those of all
//     successful ones, joined by line feeds, up to [MaxCaptured].
//   - A step in a loop that wants a reboot by its exit code does the same iteration again; the Reboot action goes on with the next one.
//   - `{{ aws:ssm:NAME }}` is asked for when a step needs it, once a run; a StringList is its text with commas. In
//     `{{ aws:ssm:resolve(x) }}` x is the name of a parameter or constant of the document whose value is the name to ask for, or
//     aws:ssm:OTHER, whose value is that name, or else the name itself.
//   - What came from a SecureString or from Secrets Manager, and parameters named in RunDocument.SecretParameters, are replaced by *** in
//     all events, failures, details and chained values: as a whole, line by line, and as they look in paths and URLs, quoted or in JSON. What commands make
//     of a secret (its digest, its base64) is not known for one. A [State] holds secrets.
//   - ExecuteDocument has no timeout and one attempt. A document that is running cannot be run again inside of itself, except by a step
//     with a loop that runs its own document; [MaxNested] bounds that, too. Whether two documents are the same is told by their content.
//   - Inputs of steps which are lists may be referred to without an index when they have one item. A list of strings becomes its items,
//     joined by line feeds.
//   - Outputs of a failed step whose failure did not end the run are those of its last attempt.
//   - stringEquals compares exactly, the four string order operators ignore case, and so does patternMatches, unless the pattern says (?-i).
//   - The output stdout has its line feeds at the end removed, as in $(command) of a shell.
//   - A run pauses neither inside of steps nor at its end, nor when a step has failed whose failure counts. With the pause it forgets the
//     inputs and outputs to which no step of a document that is still running can refer.
//   - A step that wants a reboot by its exit code more than [MaxReboots] times fails.
package component
