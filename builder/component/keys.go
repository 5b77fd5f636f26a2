package component

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"maps"
	"slices"
	"strings"
)

// StepKey is a step together with a digest of all in its document that decides what it does.
type StepKey struct {
	// Phase and Step are the indices of the step in its document, PhaseName and StepName what they are called there.
	Phase, Step         int
	PhaseName, StepName string
	// Digest is the sum of Document.Keys' hash, in hexadecimal.
	Digest string
}

// Keys returns the steps of the selected phases (of all, if none are named) in the order they run in, each with a digest by which to tell
// whether it was edited. The parameters are those of [RunDocument]; they may be secret, so that mac should have a key of its own
// (crypto/hmac) when digests are kept.
//
// The digest covers the action, the inputs, if, loop, timeout, attempts and onFailure, with the values of the parameters and constants
// that they refer to in the places of the references, and which of its inputs and outputs other selected steps refer to, by which name:
// those a run keeps for them. It covers nothing else: no comments, layout, quotes, order of keys, descriptions, positions, names that
// nobody refers to, other steps. Two steps with the same digest do the same if all before them did the same, and if what is not in
// documents is the same: the actions, the working directory, the machine, and what the step asks services for.
func (d *Document) Keys(parameters map[string]string, phases []string, mac func() hash.Hash) []StepKey {
	selected := func(p Phase) bool { return len(phases) == 0 || slices.Contains(phases, p.Name) }
	values, referred := d.values(parameters), d.referred(selected)
	var keys []StepKey
	for i, phase := range d.Phases {
		if !selected(phase) {
			continue
		}
		for j, step := range phase.Steps {
			w := &keyWriter{hash: mac(), values: values}
			w.step(step)
			w.kept(stepName{phase.Name, step.Name}, referred)
			keys = append(keys, StepKey{i, j, phase.Name, step.Name, hex.EncodeToString(w.hash.Sum(nil))})
		}
	}
	return keys
}

// keyWriter writes a step into a hash. What it writes can be read in one way only: every text goes with its length, every list with how
// many there are, every choice with a mark.
type keyWriter struct {
	hash   hash.Hash
	values map[string]string // of parameters and constants
	loop   *Loop             // whose values references may stand for, nil for none
	left   int               // bytes that texts with references may still have; beyond that the step fails when it resolves them
}

// Marks. They never change their meaning; keyVersion does when the form changes.
const (
	keyVersion = "step 1"

	keyNone, keyGiven                                                     = 0, 1
	keyEnd, keyLiteral, keyChain, keyLoop, keyStored, keyUnknown, keyOver = 0, 1, 2, 3, 4, 5, 6
)

func (w *keyWriter) number(n int64) { w.hash.Write(binary.AppendVarint(nil, n)) }

func (w *keyWriter) text(text string) {
	w.number(int64(len(text)))
	w.hash.Write([]byte(text))
}

func (w *keyWriter) step(s Step) {
	w.text(keyVersion)
	w.text(s.Action)
	w.number(int64(s.Timeout))
	w.number(int64(s.MaxAttempts))
	w.text(string(s.OnFailure))
	w.condition(s.If)
	w.iterations(s.Loop)
	w.left, w.loop = maxResolved, s.Loop
	w.node(s.Inputs)
}

func (w *keyWriter) condition(i *If) {
	if i == nil {
		w.number(keyNone)
		return
	}
	w.number(keyGiven)
	w.left = maxResolved
	w.node(i.Condition)
	w.text(string(i.Then))
	w.text(string(i.Else))
}

func (w *keyWriter) iterations(l *Loop) {
	if l == nil {
		w.number(keyNone)
		return
	}
	w.number(keyGiven)
	w.left = maxResolved
	w.text(l.Name)
	if l.For == nil {
		w.number(keyNone)
	} else {
		w.number(keyGiven)
		w.number(l.For.Start)
		w.number(l.For.End)
		w.number(l.For.UpdateBy)
	}
	w.node(l.List)
	w.text(l.Delimiter)
	w.node(&Node{Kind: List, Items: l.ForEach})
}

// kept writes what the run keeps of the step.
func (w *keyWriter) kept(name stepName, referred map[stepName]map[string]bool) {
	values := referred[name]
	w.number(int64(len(values)))
	if len(values) == 0 {
		return
	}
	w.text(name.phase)
	w.text(name.step)
	for _, value := range slices.Sorted(maps.Keys(values)) {
		w.text(value)
	}
}

func (w *keyWriter) node(n *Node) {
	if n == nil {
		w.text("")
		return
	}
	w.text(string(n.Kind))
	switch n.Kind {
	case Scalar:
		w.scalar(n.Text)
	case List:
		w.number(int64(len(n.Items)))
		for _, item := range n.Items {
			w.node(item)
		}
	case Map:
		w.number(int64(len(n.Entries)))
		sorted := slices.SortedFunc(slices.Values(n.Entries), func(a, b Entry) int { return cmp.Compare(a.Key, b.Key) })
		for _, e := range sorted {
			w.text(e.Key)
			w.node(e.Value)
		}
	}
}

// scalar writes a text as the step will get it, as far as the document alone decides that; compare resolver.value.
func (w *keyWriter) scalar(text string) {
	var literal strings.Builder
	at := 0
	add := func(piece string) {
		if w.left -= len(piece); w.left >= 0 {
			literal.WriteString(piece)
		}
	}
	flush := func() {
		if literal.Len() > 0 {
			w.number(keyLiteral)
			w.text(literal.String())
			literal.Reset()
		}
	}
	for _, ref := range scanReferences(text) {
		add(text[at:ref.start])
		at = ref.end
		if replaced, ok := w.value(ref); ok {
			add(replaced)
		} else if w.literal(ref) {
			add(text[ref.start:ref.end])
		} else {
			flush()
			w.reference(ref)
		}
	}
	add(text[at:])
	flush()
	if w.left < 0 {
		w.number(keyOver)
	}
	w.number(keyEnd)
}

func (w *keyWriter) value(ref reference) (value string, ok bool) {
	if ref.kind == valueReference {
		value, ok = w.values[ref.name]
	}
	return value, ok
}

// literal tells whether a reference stays as it is.
func (w *keyWriter) literal(ref reference) bool {
	switch ref.kind {
	case valueReference:
		return templateWord.MatchString(ref.name)
	case loopReference:
		return w.loop == nil || ref.name != "loop" && ref.name != w.loop.Name
	}
	return false
}

func (w *keyWriter) reference(ref reference) {
	switch ref.kind {
	case chainReference:
		w.number(keyChain)
		w.text(ref.phase)
		w.text(ref.step)
		w.text(ref.value())
		w.number(int64(ref.item))
		w.number(int64(ref.index))
	case loopReference:
		w.number(keyLoop)
		w.text(strings.TrimPrefix(ref.text, ref.name)) // every name is the same loop's
	case ssmReference:
		w.number(keyStored)
		w.stored(ref.stored)
	default:
		w.number(keyUnknown)
		w.text(ref.name)
	}
}

// stored writes the name that the Parameter Store is asked for; compare resolver.storedValue.
func (w *keyWriter) stored(n *storedName) {
	switch {
	case n == nil:
		w.number(keyUnknown)
	case n.resolve && n.of != nil:
		w.number(keyStored)
		w.stored(n.of)
	default:
		name := n.name
		if value, ok := w.values[name]; ok && n.resolve {
			name = value
		}
		w.number(keyLiteral)
		w.text(strings.TrimSpace(name))
	}
}

// value is what a reference to a step wants of it: "inputs.path", "outputs.stdout".
func (r reference) value() string {
	if r.outputs {
		return "outputs." + r.key
	}
	return "inputs." + r.key
}

// referred returns the steps to which steps of the selected phases refer, each with the values they want.
func (d *Document) referred(selected func(Phase) bool) map[stepName]map[string]bool {
	all, known := make(map[stepName]map[string]bool), make(scans)
	for _, phase := range d.Phases {
		if !selected(phase) {
			continue
		}
		for _, step := range phase.Steps {
			step.refers(known, func(r reference) {
				name := stepName{r.phase, r.step}
				if all[name] == nil {
					all[name] = make(map[string]bool)
				}
				all[name][r.value()] = true
			})
		}
	}
	return all
}

// refers calls to with every reference of a step to another one.
func (s Step) refers(known scans, to func(reference)) {
	var visit func(n *Node)
	visit = func(n *Node) {
		if n == nil {
			return
		}
		for _, item := range n.Items {
			visit(item)
		}
		for _, e := range n.Entries {
			visit(e.Value)
		}
		if n.Kind != Scalar {
			return
		}
		for _, r := range known.of(n.Text) {
			if r.kind == chainReference {
				to(r)
			}
		}
	}
	visit(s.Inputs)
	if s.If != nil {
		visit(s.If.Condition)
	}
	if s.Loop != nil {
		visit(s.Loop.List)
		visit(&Node{Kind: List, Items: s.Loop.ForEach})
	}
}
