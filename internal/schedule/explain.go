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
	c := newCell()
	for n := range tables.Nodes.All(r) {
		c.setNode(n.Name, n)
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
	var out []Reason
	for n := range tables.Nodes.All(r) {
		out = append(out, Reason{n.Name, cl.refusalsOf(object.KeyOf(p), c.nodes[n.Name])})
	}
	return out
}
