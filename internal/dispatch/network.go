package dispatch

import (
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
	"trireme/internal/object/network"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/wire"
)

// networkItems returns what a node needs for the tenants' networks that a pod is on:
// each network, and all its members.
func networkItems(p *corev1.Pod) (refs []item) {
	asked, err := network.Selections(p)
	if err != nil {
		return nil // the pod's user was told by allocate
	}
	for _, s := range asked {
		refs = append(refs,
			item{tables.CustomObjects.ID(), tables.NetworkKey(s.Key).String()},
			item{tables.NetworkMembers.ID(), network.ID(s.Key)})
	}
	return refs
}

// assignment carries a row as sessions name it, raw nil where it has gone. Of custom
// objects these are networks: sendFloating has the others.
func assignment(i item, raw []byte) *wire.Assignment {
	if i.table == tables.CustomObjects.ID() {
		return wire.NewAssignment(network.Table, tables.ParseCustomKey(i.objectKey()).Key, raw)
	}
	return wire.NewAssignment(string(i.table), i.objectKey(), raw)
}

// sendMembers sends all members of a network, by its ID.
func (s *session) sendMembers(out *outbox, snap *store.Snapshot, id string) error {
	s.members[id] = map[string]bool{}
	for row := range tables.NetworkMembers.Rows(snap, id) {
		if err := s.sendMember(out, snap, item{tables.NetworkMembers.ID(), row.Key().String()}); err != nil {
			return err
		}
	}
	return nil
}

// sendMember sends one node's members of a network that the agent knows.
func (s *session) sendMember(out *outbox, snap *store.Snapshot, i item) error {
	key := i.objectKey()
	nodes := s.members[key.Namespace]
	if nodes == nil {
		return nil
	}
	if _, ok := tables.NetworkMembers.Row(snap, key); ok {
		nodes[key.Name] = true
	} else if !nodes[key.Name] {
		return nil
	} else {
		delete(nodes, key.Name)
	}
	return s.sendRow(out, snap, i)
}

// dropMembers takes a network's members away.
func (s *session) dropMembers(out *outbox, id string) error {
	for node := range s.members[id] {
		if err := out.put(wire.NewAssignment(network.MembersTable, object.Key{Namespace: id, Name: node}, nil)); err != nil {
			return err
		}
	}
	delete(s.members, id)
	return nil
}
