package schedule

import (
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
	"trireme/internal/schedule/profile"
	"trireme/internal/store"
)

// Engine is the scheduler's engine alone: a cell and its classes, without a queue, turns or a store to
// write to. It belongs to one goroutine.
type Engine struct {
	r       store.Reader
	cell    *cell
	classes map[uint64]*class
}

// NewEngine returns an engine without nodes. What pods need to know beside nodes and each other (claims,
// tenants) it reads from r; services it does not know.
func NewEngine(r store.Reader, profiles ...profile.Profile) *Engine {
	e := &Engine{r: r, cell: newCell(profiles), classes: map[uint64]*class{}}
	e.cell.readTenants(r)
	return e
}

// SetNode takes in a node.
func (e *Engine) SetNode(n *corev1.Node) { e.cell.setNode(n.Name, n) }

// Place returns the node on which the pod is from now on: the one that its spec names, or the best for it. Without one it
// says why.
func (e *Engine) Place(p *corev1.Pod) (name, why string) {
	if e.cell.near.Expect(p); e.cell.settleCompany() {
		clear(e.classes)
	}
	id := e.cell.keyOf(p)
	cl := e.classes[id]
	if cl == nil {
		if len(e.classes) >= classesMax {
			clear(e.classes)
			e.cell.near.Sweep(e.cell.everyPod())
		}
		cl = newClass(e.r, p, e.cell)
		e.classes[id] = cl
	}
	if p.Spec.NodeName != "" {
		e.cell.take(e.cell.node(p.Spec.NodeName), useOf(cl, p))
		return p.Spec.NodeName, ""
	}
	n := cl.best(e.cell)
	if n == nil {
		return "", cl.why
	}
	e.cell.take(n, useOf(cl, p))
	return n.name, ""
}

// Remove takes a pod from its node.
func (e *Engine) Remove(p *corev1.Pod) { e.cell.release(object.KeyOf(p)) }
