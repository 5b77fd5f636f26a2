// Package layer keeps saved states of a guest while it is being built, so that the next build pays only for what changed.
//
// A layer is a guest, stopped after some of the steps of its build: the disk, as a qcow2 overlay on the disk of the layer below, and the
// memory, as QEMU's migration stream. Layers form trees. A root is a booted base with nothing of any recipe in it; each layer above was
// made by going on from the one below with further steps. The package knows nothing of VMs or recipes: steps are digests, states are
// JSON of the caller's own, disks and memory are files.
//
// # What a layer is good for
//
// [Store.Find] walks down from the roots that have the same [Root], as long as the steps of the layers are the first ones of the build at
// hand and what those steps read from the host ([Read]) is the same today. The longest way wins, over the newest of several runs of a
// step. If the last layer's memory was made by the same machine, the guest is resumed from it; else it is booted from the layer's disk.
// [Layer.Key] is a MAC over all of that.
//
//	store, err := layer.Open(filepath.Join(home, "layers"), layer.Options{})
//	…
//	chain, err := store.Find(ctx, layer.Query{Root: root, Steps: steps, MaxAge: 24 * time.Hour, Until: -1, Check: check})
//	if chain != nil && errors.Is(chain.Verify(ctx), layer.ErrDamaged) { … find again … }
//	defer chain.Close() // until then nobody removes it
//	… resume from chain.OpenMemory() over chain.Images(), run more steps …
//	draft, err := store.Begin(ctx, chain, need)
//	defer draft.Abort()
//	… write the guest's memory to draft.Memory() …
//	err = draft.AddDisk(overlay)
//	longer, err := draft.Commit(ctx, layer.Layer{Segment: layer.Segment{Steps: done}, Cost: took})
//
// # On the disk
//
// A layer is the folder ID with layer.json, state.json, its disks and memory. It is made in a hidden folder and appears by rename, with
// everything in it; layer.json holds the length and hash of every file. So whatever a killed process leaves is never taken for a layer, and
// what a power failure tears is found by [Chain.Verify]. Both records carry a MAC of the store's secret key: a damaged or foreign one
// is no record.
//
// Any number of processes may share a store. Who uses a layer holds a shared lock (flock(2)) on its folder, and on those of all layers below;
// who removes one needs the exclusive lock. Locks end with their process, so they are never stale.
//
// # Size
//
// [Store.Begin] makes room: it removes what was used least recently until the store keeps its budget and the file system some free space.
// Layers that others build on stay, but may lose their memory; so may, at last, those below the one that the new layer stands on.
// [Draft.Commit] counts what the layer has become.
package layer
