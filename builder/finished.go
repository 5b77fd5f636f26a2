package builder

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/ingot-image/ingot/builder/layer"
)

// AllComponents is the name in Options.NoCache that stands for every layer, the warm base's too.
const AllComponents = "*"

// finishedImage is what is remembered of an image that was finished: if the same is asked for again, and nothing has happened to its files,
// it is the answer.
type finishedImage struct {
	Manifest string                  `json:"manifest"` // path
	Files    map[string]fileIdentity `json:"files"`    // of the manifest and the image's files, by path
	Reads    []layer.Read            `json:"reads"`    // of its tests
}

// fileIdentity tells a file from another one, and from itself before a change.
type fileIdentity struct {
	Device   uint64 `json:"device"`
	Inode    uint64 `json:"inode"`
	Size     int64  `json:"size"`
	Modified int64  `json:"modified"` // nanoseconds
	Changed  int64  `json:"changed"`
}

func identify(path string) (fileIdentity, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return fileIdentity{}, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() {
		return fileIdentity{}, fmt.Errorf("%s is not a regular file", path)
	}
	return fileIdentity{uint64(st.Dev), st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano()}, nil
}

// finishedKey is the key of the image that comes of a layer: all that is done after the components decides it, too. Of layers with the same
// key each has an image of its own: another run may have had other packages from the network, and its tests may have failed.
func (j *job) finishedKey(l *layer.Layer) (string, error) {
	parts := []string{"finished", layerForm, l.ID, l.Key, j.plan.Digest(), j.options.Test, j.rehearsed(), j.output,
		finaliseScript, packageScript, j.accelerator.Name, j.qemuVersion}
	tests, err := j.plan.keys(j.warm.store, "test")
	if err != nil {
		return "", err
	}
	for _, t := range tests {
		parts = append(parts, t.digest)
	}
	return j.warm.store.Sum(parts...), nil
}

// reuse looks for the finished image of exactly this plan. Nothing is changed by it, and nothing made.
func (j *job) reuse(ctx context.Context) (*Manifest, error) {
	w := j.warm
	if w == nil || len(j.options.NoCache) > 0 {
		return nil, nil
	}
	planned, err := j.builder.Bases().Plan(ctx, source(j.plan.ParentImage))
	if err != nil || !planned.Cached {
		return nil, err
	}
	parent, _, err := j.builder.parentImage(ctx, j.plan.ParentImage, nil, nil)
	if err != nil {
		return nil, err
	}
	if _, err := j.newGuest(parent, &machine{config: j.config()}); err != nil {
		return nil, err
	}
	q := *j.query(w)
	q.Longest = true // no guest is to go on from it
	chain, err := w.store.Find(ctx, q)
	if err != nil && ctx.Err() == nil { // without layers it is only built again
		w.warn("no finished image is looked for: %v", err)
		return nil, nil
	}
	if err != nil || chain == nil {
		return nil, err
	}
	defer chain.Close()
	last := chain.Last()
	if last.Position != len(w.steps) {
		return nil, nil
	}
	key, err := j.finishedKey(last)
	if err != nil {
		return nil, err
	}
	data, ok := w.store.Finished(key)
	if !ok {
		return nil, nil
	}
	var image finishedImage
	if err := json.Unmarshal(data, &image); err != nil {
		return nil, nil
	}
	for path, was := range image.Files {
		if is, err := identify(path); err != nil || is != was {
			return nil, nil
		}
	}
	if same, err := w.tested.current(ctx, image.Reads); err != nil || !same {
		return nil, err
	}
	data, err = os.ReadFile(image.Manifest)
	if err != nil {
		return nil, nil
	}
	var m Manifest
	if err := json.Unmarshal(data, &m); err != nil || len(m.Outputs) == 0 {
		return nil, nil
	}
	j.event(Event{Type: ImageReused, Image: j.plan.ResourceName() + "/" + m.Version, Folder: j.output})
	return &m, nil
}

// remember notes a finished image under the layer that it came of. Without that it is only built again.
func (j *job) remember(m *Manifest) {
	if w := j.warm; w != nil && w.chain != nil && w.at() == len(w.steps) {
		if err := j.tryRemember(m); err != nil {
			w.warn("the image is not remembered: %v", err)
		}
	}
}

func (j *job) tryRemember(m *Manifest) error {
	w := j.warm
	image := finishedImage{Manifest: filepath.Join(j.output, j.fileName(".json")), Files: map[string]fileIdentity{}}
	spoiled := ""
	if image.Reads, spoiled = w.tested.take(); spoiled != "" || w.tells(image.Reads) {
		return nil // its tests would have to run again anyway
	}
	paths := []string{image.Manifest}
	for _, o := range m.Outputs {
		paths = append(paths, filepath.Join(j.output, o.Path))
	}
	for _, path := range paths {
		id, err := identify(path)
		if err != nil {
			return err
		}
		image.Files[path] = id
	}
	data, err := json.Marshal(image)
	if err != nil {
		return err
	}
	key, err := j.finishedKey(w.chain.Last())
	if err != nil {
		return err
	}
	return w.store.SetFinished(key, data)
}
