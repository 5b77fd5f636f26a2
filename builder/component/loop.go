package component

// MaxIterations is how many iterations a loop may have. The service tells of no limit.
const MaxIterations = 10_000

// Loop runs a step once for every value of a list. One of For, ForEach and List is set.
type Loop struct {
	// Name lets the step say {{ Name.index }} and {{ Name.value }} besides {{ loop.index }} and {{ loop.value }}. May be empty.
	Name string
	// For counts.
	For *LoopFor
	// ForEach are the values, with their references.
	ForEach []*Node
	// List is a text, with its references, that Delimiter takes apart into the values.
	List         *Node
	Delimiter    string
	Line, Column int
}

// LoopFor is a loop over numbers: Start, Start + UpdateBy and so on, not beyond End.
type LoopFor struct{ Start, End, UpdateBy int64 }
