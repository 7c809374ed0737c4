package schedule

import (
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Reason is why a node does not take a pod.
type Reason struct {
	Node    string
	Reasons []string // empty: it would take it
}

// Explain asks every node, in the order of names, about a pod that need not be
// in the tables. It returns as well what would let one take it that does not, as a sentence; empty: nothing that is easily said.
func Explain(r store.Reader, p *corev1.Pod) (reasons []Reason, hint string) {
	c := newCell(nil)
	c.readTenants(r)
	for n := range tables.Namespaces.All(r) {
		c.near.SetNamespace(n.Name, n.Labels)
	}
	for n := range tables.Nodes.All(r) {
		c.setNode(n.Name, n)
	}
	for a := range tables.MesosAgents(r) {
		c.setAgent(r, a.Name)
	}
	for o := range tables.MesosOffers.All(r) {
		c.setOffer(r, o.Name, o)
	}
	for n := range tables.CSINodes.All(r) {
		c.setLimits(n.Name, n)
	}
	for v := range tables.PersistentVolumes.All(r) {
		c.setStored(object.KeyOf(v), v)
	}
	for row := range tables.Pods.Rows(r, "") {
		c.setPod(r, row.Key(), row.Head())
	}
	for row := range tables.Pods.By(r, tables.PodsByNode, "") {
		c.nominate(row.Object())
	}
	cl, found := newClass(r, p, c), ways{}
	c.settleCompany()
	kept := c.bound(cl.tenant, cl.demand, c.spare())
	for n := range tables.Nodes.All(r) {
		at := c.nodes[n.Name]
		why := cl.refusalsOf(object.KeyOf(p), at)
		if kept != "" {
			why = []string{kept}
		}
		if len(why) > 0 && cl.asks(at) {
			found.take(cl, at, cl.static(at) != "")
		}
		reasons = append(reasons, Reason{n.Name, why})
	}
	if kept == "" {
		hint = found.say(cl)
	}
	return reasons, hint
}
