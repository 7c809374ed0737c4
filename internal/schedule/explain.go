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
// in the tables.
func Explain(r store.Reader, p *corev1.Pod) []Reason {
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
	cl := newClass(r, p, c)
	c.settleCompany()
	var out []Reason
	kept := c.bound(cl.tenant, cl.demand, c.spare())
	for n := range tables.Nodes.All(r) {
		why := cl.refusalsOf(object.KeyOf(p), c.nodes[n.Name])
		if kept != "" {
			why = []string{kept}
		}
		out = append(out, Reason{n.Name, why})
	}
	return out
}
