package component

import (
	"encoding/hex"
	"encoding/json"
	"hash"
	"slices"
)

// StepKey is a step of a document together with the digest of all that decides what it does.
type StepKey struct {
	// Phase and Step are the indices of the step in its document, and the names there.
	Phase, Step         int
	PhaseName, StepName string
	// Digest is in hexadecimal.
	Digest string
}

// Keys returns the steps of the selected phases (all, if none are named) in the order they run in.
func (d *Document) Keys(parameters map[string]string, phases []string, mac func() hash.Hash) []StepKey {
	var keys []StepKey
	for i, phase := range d.Phases {
		if len(phases) > 0 && !slices.Contains(phases, phase.Name) {
			continue
		}
		for j, step := range phase.Steps {
			keys = append(keys, StepKey{Phase: i, Step: j, PhaseName: phase.Name, StepName: step.Name, Digest: d.stepDigest(step, d.values(parameters), mac())})
		}
	}
	return keys
}

// stepDigest covers too much for now: places, and all parameters.
func (d *Document) stepDigest(step Step, values map[string]string, h hash.Hash) string {
	json.NewEncoder(h).Encode([]any{step, values})
	return hex.EncodeToString(h.Sum(nil))
}
