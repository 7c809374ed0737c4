package mesos

import (
	"google.golang.org/protobuf/proto"

	"trireme/internal/mesos/resource"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/object"
	"trireme/internal/object/mesos"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// view makes messages of the offers of one framework, from one look at the tables.
type view struct {
	snap       *store.Snapshot
	f          *mesos.Framework
	multi      bool // it knows roles
	refinement bool // it knows stacks of reservations
	nodes      map[string]*mesosv1.Offer
}

func newView(snap *store.Snapshot, f *mesos.Framework) *view {
	return &view{
		snap: snap, f: f, multi: f.Has(mesosv1.FrameworkInfo_Capability_MULTI_ROLE), refinement: f.Has(mesosv1.FrameworkInfo_Capability_RESERVATION_REFINEMENT),
		nodes: map[string]*mesosv1.Offer{},
	}
}

// offer returns the message of an offer; nil: its agent has just gone.
func (v *view) offer(o *mesos.Offer) *mesosv1.Offer {
	common := v.node(o.Node)
	if common == nil {
		return nil
	}
	list, err := resource.From("resources", o.Resources)
	if err != nil {
		return nil // who made it checked it
	}
	m := &mesosv1.Offer{
		Id: &mesosv1.OfferID{Value: proto.String(o.Name)}, FrameworkId: &mesosv1.FrameworkID{Value: proto.String(o.Framework)},
		AgentId: &mesosv1.AgentID{Value: proto.String(o.Agent)}, Hostname: common.Hostname, Url: common.Url, Domain: common.Domain,
		Attributes: common.Attributes, ExecutorIds: common.ExecutorIds, Unavailability: o.Unavailability,
	}
	role := ""
	if v.multi {
		role = o.Role
		m.AllocationInfo = &mesosv1.Resource_AllocationInfo{Role: &role}
	}
	m.Resources = list.AllocatedTo(role).Messages(v.refinement)
	return m
}

func (v *view) inverse(o *mesos.Offer) *mesosv1.InverseOffer {
	m := &mesosv1.InverseOffer{
		Id: &mesosv1.OfferID{Value: proto.String(o.Name)}, FrameworkId: &mesosv1.FrameworkID{Value: proto.String(o.Framework)},
		AgentId: &mesosv1.AgentID{Value: proto.String(o.Agent)}, Unavailability: o.Unavailability, Resources: o.Resources,
	}
	if common := v.node(o.Node); common != nil {
		m.Url = common.Url
	}
	return m
}

// node returns what all offers of a node to the framework have in common.
func (v *view) node(name string) *mesosv1.Offer {
	if have, ok := v.nodes[name]; ok {
		return have
	}
	v.nodes[name] = nil
	node, ok := tables.Nodes.Get(v.snap, object.Key{Name: name})
	agent, is := tables.MesosAgent(v.snap, name)
	if !ok || !is {
		return nil
	}
	m := &mesosv1.Offer{
		Hostname: proto.String(node.Name), Attributes: mesos.Attributes(node, agent), Domain: mesos.Domain(node),
		Url: &mesosv1.URL{Scheme: proto.String("http"), Path: proto.String("/slave(1)"), Address: &mesosv1.Address{
			Hostname: proto.String(node.Name), Ip: proto.String(mesos.Address(node)), Port: proto.Int32(mesos.AgentPort),
		}},
	}
	seen := map[string]bool{}
	for row := range tables.MesosTasks.By(v.snap, tables.MesosByNode, name) {
		t := row.Object()
		if id := t.ExecutorID(); t.Namespace == v.f.Spec.ID && t.Executor != nil && t.Completed == nil && !seen[id] {
			seen[id] = true
			m.ExecutorIds = append(m.ExecutorIds, &mesosv1.ExecutorID{Value: proto.String(id)})
		}
	}
	for row := range tables.Pods.By(v.snap, tables.PodsByNode, name) { // those that have no task now
		h := row.Head()
		if h.Labels[mesos.FrameworkLabel] != v.f.Name || h.Deleting || h.Ended() {
			continue
		}
		if id := mesos.ExecutorOf(row.Object()).GetExecutorId().GetValue(); id != "" && !seen[id] {
			seen[id] = true
			m.ExecutorIds = append(m.ExecutorIds, &mesosv1.ExecutorID{Value: proto.String(id)})
		}
	}
	v.nodes[name] = m
	return m
}
