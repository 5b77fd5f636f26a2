package builder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/layer"
)

// subject is what components are applied to: a guest.
type subject interface {
	// wake goes on from the end of a chain. After an error the subject is as it was before.
	wake(ctx context.Context, chain *layer.Chain) error
	// run runs component documents until they end, fail or pause.
	run(ctx context.Context, req component.Request, events func(component.Event)) (*component.Result, error)
	// snapshot puts the present state into a draft, and says what is in it in Disks and Guest; then it goes on. lost is why there is no
	// such state, err what the subject did not survive.
	snapshot(ctx context.Context, draft *layer.Draft) (l layer.Layer, lost, err error)
	// stand goes on as before on what the snapshot has become.
	stand(chain *layer.Chain)
}

// goOn brings a subject to where the longest chain of layers that fits ends, and tells whether there is one. What cannot be used is passed
// over. The request goes on from there.
func (w *warmth) goOn(ctx context.Context, s subject, query layer.Query, req *component.Request) (bool, error) {
	damaged := map[string]bool{} // IDs of last layers
	for {
		chain, err := w.store.Find(ctx, query)
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if err != nil {
			w.warn("no layer is used: %v", err)
			return false, nil
		}
		if chain == nil {
			return false, nil
		}
		last := chain.Last()
		resume, err := w.resume(last, *req)
		if err == nil {
			err = w.wake(ctx, s, chain)
		}
		if err == nil {
			w.chain, req.Resume = chain, resume
			event := w.layerEvent(last)
			event.Memory, event.Why = !chain.BootFromDisk, chain.Why
			w.tell(Event{Type: LayerUsed, Layer: event})
			return true, nil
		}
		chain.Close()
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		switch {
		case errors.Is(err, layer.ErrDamaged) && !damaged[last.ID]: // it is gone now, and there may be others as long
			damaged[last.ID] = true
			w.warn("layer %s: %v", last.ID, err)
			continue
		case errors.Is(err, errNoState): // the one before it may have what this one lacks
		default:
			w.warn("layer %s cannot be used: %v", last.ID, err)
		}
		if last.Position == 0 {
			return false, nil
		}
		query.Until = last.Position - 1
	}
}

// wake wakes a subject by a chain's memory, else by its disk. A disk without any steps on it is no better than the base's.
func (w *warmth) wake(ctx context.Context, s subject, chain *layer.Chain) error {
	err := s.wake(ctx, chain)
	if err == nil || ctx.Err() != nil || chain.BootFromDisk || errors.Is(err, layer.ErrDamaged) || chain.Last().Position == 0 {
		return err
	}
	w.warn("the memory of layer %s cannot be used: %v", chain.Last().ID, err)
	chain.BootFromDisk, chain.Why = true, "its memory cannot be used"
	return s.wake(ctx, chain)
}

// errNoState says that a layer does not hold what the next step would need of the steps before.
var errNoState = errors.New("the layer's state does not fit")

// apply runs a request from where the subject's layer ends, and saves layers on the way. cached tells that there was nothing left to run.
func (w *warmth) apply(ctx context.Context, s subject, req component.Request, events func(component.Event)) (_ *component.Result, cached bool, err error) {
	if w.chain != nil && len(w.steps) > 0 && w.at() == len(w.steps) {
		return &component.Result{Status: component.StatusSuccess}, true, nil
	}
	w.last = time.Now()
	for pauses := 0; ; pauses++ {
		if pauses > 2*len(w.steps)+1 { // after each step and each component
			return nil, false, errors.New("the guest pauses without end")
		}
		w.pause(&req)
		result, err := s.run(ctx, req, events)
		if err != nil || result.Status == component.StatusFailed {
			return result, false, err
		}
		if w.off == "" {
			if err := w.saveSteps(ctx, s, result); err != nil {
				return nil, false, err
			}
		}
		if result.Status != component.StatusPaused {
			return result, false, nil
		}
		req.Resume = result.State
	}
}

// resume gives the state from which a request goes on where a layer ends, nil if that is at its beginning.
func (w *warmth) resume(l *layer.Layer, req component.Request) (*component.State, error) {
	if l.Position == 0 || l.Position == len(w.steps) {
		return nil, nil
	}
	var state component.State
	if err := json.Unmarshal(l.State, &state); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoState, err)
	}
	fitting, err := state.For(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoState, err)
	}
	if w.position(fitting) != l.Position {
		return nil, fmt.Errorf("%w: it goes on elsewhere", errNoState)
	}
	return fitting, nil
}

// pause says when a request must give the opportunity to save a layer.
func (w *warmth) pause(req *component.Request) {
	req.PauseAfterDocument, req.PauseAfterMS = false, 0
	req.Redact = w.reads.redact()
	if w.off == "" {
		req.PauseAfterDocument = true
		req.PauseAfterMS = max(1, (w.saving.pays() - time.Since(w.last)).Milliseconds())
	}
}

// saveSteps makes a layer of what was done since the last one, whose reads it takes.
func (w *warmth) saveSteps(ctx context.Context, s subject, result *component.Result) error {
	from, to := w.at(), len(w.steps)
	if result.State != nil {
		to = w.position(result.State)
	}
	if to < from {
		return errors.New("the guest says that it is at a step before its layer's")
	}
	if s := result.State; s != nil && !s.Ended && s.Contains(w.secrets()) {
		return nil // what later steps refer to would lie in the layer's record
	}
	noted, spoiled := w.reads.take()
	if spoiled == "" && w.tells(noted) {
		spoiled = "a secret is in the name of what was read"
	}
	if spoiled != "" {
		w.giveUp(spoiled)
		return nil
	}
	if from == to {
		return nil
	}
	last := w.steps[to-1]
	segment := layer.Segment{
		Steps: w.digests(from, to), Reads: noted, Component: last.component,
		Components: w.finishedComponents(to)[len(w.finishedComponents(from)):],
	}
	if to < len(w.steps) && w.steps[to].document == last.document {
		segment.Step = last.name
	}
	return w.save(ctx, s, segment, result.State, time.Since(w.last))
}

// tells reports whether the names of reads, which are written down, tell a secret.
func (w *warmth) tells(noted []layer.Read) bool {
	for _, secret := range w.secrets() {
		if secret != "" && slices.ContainsFunc(noted, func(r layer.Read) bool { return strings.Contains(r.Name, secret) }) {
			return true
		}
	}
	return false
}

// save makes a layer of the subject as it is now. took is how long it took to come here from the layer before. A layer that cannot be saved
// costs the layer only, and those that would stand on it; the error is what the subject did not survive.
func (w *warmth) save(ctx context.Context, s subject, segment layer.Segment, state *component.State, took time.Duration) error {
	start := time.Now()
	saved, lost, err := w.trySave(ctx, s, segment, state, took)
	if err != nil {
		return err
	}
	if lost != nil {
		w.giveUp(lost.Error())
		return nil
	}
	cost := time.Since(start)
	w.saving.saved(cost, took, segment.Step != "")
	w.last = time.Now()
	w.tell(Event{Type: LayerSaved, Layer: w.layerEvent(saved), DurationMS: cost.Milliseconds()})
	return nil
}

func (w *warmth) trySave(ctx context.Context, s subject, segment layer.Segment, state *component.State, took time.Duration) (_ *layer.Layer, lost, err error) {
	draft, lost := w.store.Begin(ctx, w.chain, w.room)
	if lost != nil {
		return nil, lost, nil
	}
	l, lost, err := s.snapshot(ctx, draft)
	if lost != nil || err != nil {
		draft.Abort()
		return nil, lost, err
	}
	l.Root, l.Base, l.Segment, l.Cost = w.root, w.base, segment, took
	if state != nil {
		if l.State, lost = json.Marshal(state.WithoutParameters()); lost != nil {
			draft.Abort()
			return nil, lost, nil
		}
	}
	chain, lost := draft.Commit(ctx, l)
	if lost != nil {
		return nil, lost, nil
	}
	w.chain.Close()
	w.chain = chain
	s.stand(chain)
	return chain.Last(), nil, nil
}

// giveUp saves no more layers: what comes next would have none to stand on.
func (w *warmth) giveUp(why string) {
	if w.off == "" {
		w.off = why
		w.warn("no more layers are saved: %s", why)
	}
}

func (w *warmth) warn(format string, args ...any) {
	w.tell(Event{Type: Warning, Detail: fmt.Sprintf(format, args...)})
}
