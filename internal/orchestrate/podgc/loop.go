package podgc

import (
	"maps"
	"slices"
	"time"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// quarantine is how long a node may be missing before its pods go.
const quarantine = 40 * time.Second

// Loop removes pods without a node.
type Loop struct {
	missing map[string]time.Time // nodes that pods name and that do not exist: since when
}

// New returns the loop.
func New() *Loop { return &Loop{missing: map[string]time.Time{}} }

// The methods of loop.Reconciler.

func (l *Loop) Name() string { return "orchestrate/podgc" }

func (l *Loop) Reads() []store.TableID {
	return []store.TableID{tables.Pods.ID(), tables.Nodes.ID()}
}

func (l *Loop) Writes() []store.TableID { return []store.TableID{tables.Pods.ID()} }

func (l *Loop) Reconcile(tx *store.Tx) (next time.Time, err error) {
	if tx.FullPass() {
		maps.DeleteFunc(l.missing, func(node string, _ time.Time) bool { return exists(tx, node) })
	}
	for key := range tables.Pods.Changed(tx) {
		l.observePod(tx, key)
	}
	for key := range tables.Nodes.Changed(tx) {
		l.observeNode(tx, key.Name)
	}
	for _, node := range slices.Sorted(maps.Keys(l.missing)) {
		at := l.missing[node].Add(quarantine)
		switch {
		case !tx.Now().Before(at):
			removeAll(tx, node)
			delete(l.missing, node)
		case next.IsZero() || at.Before(next):
			next = at
		}
	}
	return next, nil
}

func exists(tx *store.Tx, node string) bool {
	_, ok := tables.Nodes.Row(tx, object.Key{Name: node})
	return ok
}

func (l *Loop) observePod(tx *store.Tx, key object.Key) {
	row, ok := tables.Pods.Row(tx, key)
	if !ok {
		return
	}
	h := row.Head()
	if h.Node != "" && exists(tx, h.Node) {
		return
	}
	switch {
	case h.Deleting:
		remove(tx, key)
	case h.Node != "":
		l.miss(tx, h.Node)
	}
}

// miss notes that a node that pods name is not there.
func (l *Loop) miss(tx *store.Tx, node string) {
	if _, known := l.missing[node]; !known {
		l.missing[node] = tx.Now()
	}
}

func (l *Loop) observeNode(tx *store.Tx, node string) {
	if exists(tx, node) {
		delete(l.missing, node)
		return
	}
	for _, key := range on(tx, node) {
		if row, _ := tables.Pods.Row(tx, key); row.Head().Deleting {
			remove(tx, key)
		} else {
			l.miss(tx, node)
		}
	}
}

func on(tx *store.Tx, node string) []object.Key {
	var keys []object.Key
	for row := range tables.Pods.By(tx, tables.PodsByNode, node) {
		keys = append(keys, row.Key())
	}
	slices.SortFunc(keys, object.Key.Compare)
	return keys
}

func removeAll(tx *store.Tx, node string) {
	for _, key := range on(tx, node) {
		remove(tx, key)
	}
}

// remove takes the pod's row away, or marks it where finalizers hold it: nobody
// is left to wait for.
func remove(tx *store.Tx, key object.Key) {
	pod, ok := tables.Pods.Get(tx, key)
	if !ok {
		return
	}
	next := pod.DeepCopy()
	gone, changed := object.Deletion{Now: tx.Now(), GraceSeconds: new(int64)}.Mark(next)
	switch {
	case gone:
		tables.Pods.Delete(tx, key)
	case changed:
		tables.Pods.Put(tx, next)
	}
}
