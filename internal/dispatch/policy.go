package dispatch

import (
	"maps"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"

	"trireme/internal/object"
	"trireme/internal/object/peers"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/wire"
)

// selecting is what one set has to find out about network policies.
type selecting struct {
	namespaces map[string]bool // whose pods on the node came, went or changed labels
	policies   map[string]bool // that changed
}

// policyItem and groupItem name what a session holds of policies in refs: a policy,
// and all parts of a group.
func policyItem(key string) item { return item{tables.NetworkPolicies.ID(), key} }

func groupItem(id string) item { return item{tables.PeerGroups.ID(), id} }

// nodesOf returns the nodes of the pods that a policy selects.
func (d *Dispatcher) nodesOf(p *networkingv1.NetworkPolicy) map[string]bool {
	nodes := map[string]bool{}
	read := peers.Read(p)
	for row := range tables.Pods.Rows(d.store.Snapshot(), p.Namespace) {
		if h := row.Head(); h.Node != "" && !nodes[h.Node] && isolated(&read, row) {
			nodes[h.Node] = true
		}
	}
	return nodes
}

// isolated reports whether a policy is about a pod: it is not where that lives in its
// node's network.
func isolated(p *peers.Policy, row podRow) bool {
	h := row.Head()
	return !h.HostNetwork && p.Selects(row.Key().Namespace, h.Labels)
}

// sendPolicies sends the policies that select pods of the node and the groups these
// name, and takes away those that do not any more. A policy leaves in the same set
// as the pods it selects: an agent never has one without the other.
func (s *session) sendPolicies(out *outbox, snap *store.Snapshot, look selecting) error {
	if len(look.namespaces) == 0 && len(look.policies) == 0 {
		return nil
	}
	for ns := range look.namespaces {
		for row := range tables.NetworkPolicies.Rows(snap, ns) {
			look.policies[row.Key().String()] = true
		}
	}
	for key := range s.policies {
		if look.namespaces[object.ParseKey(key).Namespace] {
			look.policies[key] = true
		}
	}
	if len(look.policies) == 0 {
		return nil
	}
	pods := map[string][]podRow{} // of the node, by namespace
	for row := range tables.Pods.By(snap, tables.PodsByNode, s.node) {
		ns := row.Key().Namespace
		pods[ns] = append(pods[ns], row)
	}
	for _, key := range slices.Sorted(maps.Keys(look.policies)) {
		p, ok := tables.NetworkPolicies.Get(snap, object.ParseKey(key))
		if ok {
			read := peers.Read(p)
			ok = slices.ContainsFunc(pods[p.Namespace], func(row podRow) bool { return isolated(&read, row) })
		}
		if err := s.sendPolicy(out, key, ok); err != nil {
			return err
		}
	}
	return nil
}

// sendPolicy sends a policy of the node's pods and its groups, or that it is none any
// more. What is sent is read after the session has registered for its changes.
func (s *session) sendPolicy(out *outbox, key string, here bool) error {
	i := policyItem(key)
	was, had := s.policies[key]
	if !here && !had {
		return nil
	}
	if here && !had {
		s.refs[i]++
		s.d.needRef(s, i)
	}
	p, ok := tables.NetworkPolicies.Get(s.d.store.Snapshot(), i.objectKey())
	var groups []string
	if here && ok { // if it has gone meanwhile, its going is marked
		read := peers.Read(p)
		groups = slices.Sorted(maps.Keys(read.Groups()))
	}
	for _, id := range groups {
		if err := s.needGroup(out, id); err != nil {
			return err
		}
	}
	s.policies[key] = groups
	if !here {
		delete(s.policies, key)
		delete(s.refs, i)
		s.d.dropRef(s, i)
		if err := out.put(wire.NewAssignment(string(i.table), i.objectKey(), nil)); err != nil {
			return err
		}
	} else if err := s.sendRow(out, s.d.store.Snapshot(), i); err != nil {
		return err
	}
	for _, id := range was {
		if err := s.releaseGroup(out, id); err != nil {
			return err
		}
	}
	return nil
}

func (i item) objectKey() object.Key { return object.ParseKey(i.key) }

// needGroup counts one more policy that names a group, and sends it with the first.
func (s *session) needGroup(out *outbox, id string) error {
	i := groupItem(id)
	s.refs[i]++
	if s.refs[i] > 1 {
		return nil
	}
	s.d.needRef(s, i)
	s.parts[id] = map[string]bool{}
	for row := range tables.PeerGroups.Rows(s.d.store.Snapshot(), id) {
		s.parts[id][row.Key().Name] = true
		if err := out.put(wire.NewAssignment(string(i.table), row.Key(), row.Raw())); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) releaseGroup(out *outbox, id string) error {
	i := groupItem(id)
	if s.refs[i]--; s.refs[i] > 0 {
		return nil
	}
	delete(s.refs, i)
	s.d.dropRef(s, i)
	for node := range s.parts[id] {
		if err := out.put(wire.NewAssignment(string(i.table), object.Key{Namespace: id, Name: node}, nil)); err != nil {
			return err
		}
	}
	delete(s.parts, id)
	return nil
}

// sendPart sends a part of a group that the agent holds.
func (s *session) sendPart(out *outbox, snap *store.Snapshot, i item) error {
	key := i.objectKey()
	parts := s.parts[key.Namespace]
	if parts == nil {
		return nil
	}
	if _, ok := tables.PeerGroups.Row(snap, key); ok {
		parts[key.Name] = true
	} else if !parts[key.Name] {
		return nil
	} else {
		delete(parts, key.Name)
	}
	return s.sendRow(out, snap, i)
}
