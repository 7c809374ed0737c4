package dispatch

import (
	"slices"

	"trireme/internal/object"
	"trireme/internal/object/floating"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/wire"
)

// floatingNodes returns the nodes that answer, or did so before the event, for the
// floating IP that it is about; none where it is about another custom object.
func floatingNodes(e *store.Event) (nodes []string) {
	if _, ok := tables.FloatingIPKey(e.Key()); !ok {
		return nil
	}
	for _, o := range []store.Object{e.Object(), e.Old()} {
		if ip, ok := tables.AsFloatingIP(o); ok && ip.Status.Node != "" && !slices.Contains(nodes, ip.Status.Node) {
			nodes = append(nodes, ip.Status.Node)
		}
	}
	return nodes
}

// sendFloating sends a floating IP that the node answers for, or that it does so no
// more. The key is the one in CustomObjects.
func (s *session) sendFloating(out *outbox, snap *store.Snapshot, at string) error {
	key, ok := tables.FloatingIPKey(object.ParseKey(at))
	if !ok {
		return nil
	}
	row, ok := tables.CustomObjects.Row(snap, object.ParseKey(at))
	here := ok && slices.Contains(row.Indexed(tables.FloatingByNode), s.node)
	if !here {
		if !s.fips[at] {
			return nil
		}
		delete(s.fips, at)
		return out.put(wire.NewAssignment(floating.Table, key, nil))
	}
	s.fips[at] = true
	return out.put(wire.NewAssignment(floating.Table, key, row.Encoded()))
}
