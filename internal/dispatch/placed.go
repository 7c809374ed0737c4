package dispatch

import (
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"trireme/internal/object"
	"trireme/internal/object/floating"
	"trireme/internal/object/snapshot"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/wire"
)

// placed are the custom objects that go to the one node that they are on: floating IPs that
// it answers for, and contents of snapshots that it has or is to make.
var placed = []placedKind{
	{tables.FloatingByNode, floating.Table, tables.FloatingIPKey},
	{tables.SnapshotsByNode, snapshot.Table, contentKey},
}

// placedKind is one of them: where its nodes are found, what sessions call it, and its own key.
type placedKind struct {
	index, table string
	key          func(at object.Key) (object.Key, bool)
}

func contentKey(at object.Key) (object.Key, bool) {
	resource, key, ok := tables.IsSnapshot(at)
	return key, ok && resource == tables.VolumeSnapshotContents
}

// placedNodes returns the nodes that a custom object is on, or was before the event. Others
// than those that may be on one are not decoded.
func placedNodes(e *store.Event) (nodes []string) {
	if !slices.ContainsFunc(placed, func(p placedKind) bool { _, ok := p.key(e.Key()); return ok }) {
		return nil
	}
	for _, o := range []store.Object{e.Object(), e.Old()} {
		u, ok := o.(*unstructured.Unstructured)
		if !ok || u == nil {
			continue
		}
		for _, node := range tables.NodesOf(u) {
			if !slices.Contains(nodes, node) {
				nodes = append(nodes, node)
			}
		}
	}
	return nodes
}

// sendPlaced sends a custom object that is on the node, or that it is there no more. The key
// is the one in CustomObjects.
func (s *session) sendPlaced(out *outbox, snap *store.Snapshot, at string) error {
	for _, p := range placed {
		key, ok := p.key(object.ParseKey(at))
		if !ok {
			continue
		}
		row, ok := tables.CustomObjects.Row(snap, object.ParseKey(at))
		here := ok && slices.Contains(row.Indexed(p.index), s.node)
		if !here {
			if !s.placed[at] {
				return nil
			}
			delete(s.placed, at)
			return out.put(wire.NewAssignment(p.table, key, nil))
		}
		s.placed[at] = true
		return out.put(wire.NewAssignment(p.table, key, row.Encoded()))
	}
	return nil
}
