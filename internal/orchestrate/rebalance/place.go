package rebalance

import (
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"trireme/internal/object"
	"trireme/internal/object/swarm"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// place is a node with what it has to give.
type place struct {
	node  *corev1.Node
	since time.Time // it takes pods; zero: it takes none, or nobody knows

	known   bool // what is below
	can     object.Demand
	canPods int64
	cpu     int64 // asked for by its pods
	memory  int64
	pods    int64
	ports   []object.HostPort
}

// open reports whether the node takes pods of those who have no special rights there.
func open(n *corev1.Node) bool {
	return object.NodeReady(n) && !n.Spec.Unschedulable && n.DeletionTimestamp == nil && !swarm.Drained(n)
}

// places returns all nodes, by name.
func (s *step) places() map[string]*place {
	if s.all == nil {
		s.all = map[string]*place{}
		for n := range tables.Nodes.All(s.tx) {
			p := &place{node: n}
			if at, err := time.Parse(time.RFC3339, n.Annotations[object.OpenSinceAnnotation]); err == nil && open(n) {
				p.since = at
			}
			s.all[n.Name] = p
		}
	}
	return s.all
}

// read takes in what the node's pods ask for.
func (p *place) read(r store.Reader) {
	if p.known {
		return
	}
	p.known = true
	p.can, p.canPods = object.CapacityOf(p.node.Status.Allocatable)
	for row := range tables.Pods.By(r, tables.PodsByNode, p.node.Name) {
		h := row.Head()
		if h.Ended() {
			continue
		}
		p.count(h.Demand, 1)
		if h.HostPorts {
			p.ports = append(p.ports, object.HostPorts(row.Object())...)
		}
	}
}

func (p *place) count(d object.Demand, sign int64) {
	p.cpu += sign * d.CPUMilli
	p.memory += sign * d.MemoryBytes
	p.pods += sign
}

// fullness is what is asked for of what there is, in thousandths: of the resource of which most is.
func (p *place) fullness() int64 {
	of := func(used, can int64) int64 {
		if can <= 0 {
			return 1000
		}
		return used * 1000 / can
	}
	return max(of(p.cpu, p.can.CPUMilli), of(p.memory/1024, p.can.MemoryBytes/1024))
}

// takes reports whether the scheduler may give the node such a pod, as far as this loop can say: what
// pods ask of the pods around them it does not know.
func (p *place) takes(o *corev1.Pod, asks *swarm.Placement) bool {
	d := object.DemandOf(o)
	if p.pods+1 > p.canPods || d.CPUMilli > p.can.CPUMilli-p.cpu || d.MemoryBytes > p.can.MemoryBytes-p.memory {
		return false
	}
	for name, n := range d.Extended {
		if n > p.can.Extended[name] {
			return false
		}
	}
	for _, port := range object.HostPorts(o) {
		for _, have := range p.ports {
			if have.Clashes(port) {
				return false
			}
		}
	}
	for i := range p.node.Spec.Taints {
		if t := &p.node.Spec.Taints[i]; t.Effect != corev1.TaintEffectPreferNoSchedule && !tolerates(o, t) {
			return false
		}
	}
	ok, err := nodeaffinity.GetRequiredNodeAffinity(o).Match(p.node)
	return ok && err == nil && asks.Fits(p.node) && asks.Runs(p.node)
}

func tolerates(o *corev1.Pod, t *corev1.Taint) bool {
	for i := range o.Spec.Tolerations {
		if o.Spec.Tolerations[i].ToleratesTaint(logr.Discard(), t, false) {
			return true
		}
	}
	return false
}
