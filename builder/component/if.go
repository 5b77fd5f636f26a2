package component

// Branch is what a step's if says is to be done.
type Branch string

const (
	// Execute runs the step. It is the default when the condition is true.
	Execute Branch = "Execute"
	// Skip goes on with the next step; the skipped one counts as a success. It is the default when the condition is false.
	Skip Branch = "Skip"
	// AbortStep fails the step; then its onFailure counts.
	AbortStep Branch = "Abort"
)

// If is the condition of a step. It is evaluated once a step, before its first attempt.
type If struct {
	// Condition is the operator with its value or path as written, with references: the inputs of a [Condition].
	Condition    *Node
	Then, Else   Branch
	Line, Column int
}
