package schedule

import (
	"maps"
	"math"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"trireme/internal/object"
	"trireme/internal/object/claim"
	"trireme/internal/object/mesos"
	"trireme/internal/object/swarm"
	"trireme/internal/schedule/gang"
	"trireme/internal/schedule/key"
	"trireme/internal/schedule/profile"
	"trireme/internal/schedule/volumes"
	"trireme/internal/share"
	"trireme/internal/store"
)

// class is the pods that no filter and no score can tell apart.
type class struct {
	cell     *cell
	pod      *corev1.Pod // one of them
	owner    types.UID
	tenant   *share.Node
	priority int32
	demand   object.Demand
	// What is asked of the demand's largest parts: how much has to be free, and what counts. Of nothing
	// less than nothing may be free.
	cpu, memory           int64
	cpuAsked, memoryAsked float64
	ports                 []object.HostPort
	dynamic               []object.DynamicPort
	profile               *profile.Profile
	rates                 rates
	shaped, packs         bool // its profile says what of the room counts; a node may get better by being taken
	required              nodeaffinity.RequiredNodeAffinity
	added                 *nodeaffinity.LazyErrorNodeSelector // by the profile; nil: nothing
	preferred             *nodeaffinity.PreferredSchedulingTerms
	weight                int64 // sum of preferred's weights
	volumes               *volumes.Asks
	domain                *gang.Place // nodes that its gang is on; nil: any
	only                  string      // the one node that it may run on, by name; empty: any
	placement             *swarm.Placement
	malformed             string            // what is wrong with the placement
	leaves                map[string]*class // of a class that is spread, by group of nodes
	group                 string            // of a leaf
	whole                 *class            // that it is a leaf of; nil: of none

	asked   uint64   // what it asks of nodes' rows, hashed
	special bool     // rules have a say that are neither of rows nor plain numbers
	near    *company // nil: the pods that are there mean nothing to it
	moved   uint64   // near's count when the class was found full
	lies    bool     // it says itself how its pods are to lie: its owner's are not spread
	form    uint64   // of near's groups, when the heap was made

	looks int
	heap  *heap // nil: it was not asked for twice
	mark  int   // how far the cell's improvements were read
	// followed is how far the cell's changes are in the heap, where nodes get better by being taken.
	followed int
	// full: no node took a pod of the class when the mark was read.
	full bool
	why  string
	hint string // what would let one in, as a sentence; empty: nobody knows
	// tried is the mark up to which no eviction would have helped; -1: not tried yet.
	tried int
	// reclaimed is the step in which nothing that is lent would do.
	reclaimed uint64
}

func newClass(r store.Reader, p *corev1.Pod, c *cell) *class {
	cl := &class{cell: c, mark: c.mark(), pod: p, tenant: c.tenant(r, p.Namespace), priority: object.PodPriority(p), tried: -1, demand: object.DemandOf(p), ports: object.HostPorts(p), dynamic: object.DynamicPorts(p), asked: frameKey(p), volumes: volumes.Of(r, p, c.claimed)}
	if ref := metav1.GetControllerOfNoCopy(p); ref != nil {
		cl.owner = ref.UID
	}
	cl.cpu, cl.memory, cl.cpuAsked, cl.memoryAsked = atLeast(cl.demand.CPUMilli), atLeast(cl.demand.MemoryBytes), float64(cl.demand.CPUMilli), float64(cl.demand.MemoryBytes)
	pr := c.profileOf(p)
	if pr == nil {
		pr = &byDefault[0] // another scheduler's: it is asked about all the same
	}
	cl.setProfile(pr)
	cl.affinities()
	cl.only = onlyNode(p)
	cl.setPlacement()
	cl.setCompany(c)
	cl.lies = cl.lies || !pr.Owners
	cl.special = len(cl.ports)+len(cl.dynamic)+len(cl.demand.Extended) > 0 || cl.demand.EphemeralBytes > 0 || cl.volumes != nil ||
		cl.placement != nil && cl.placement.MaxPerNode > 0
	return cl
}

func atLeast(want int64) int64 {
	if want <= 0 {
		return math.MinInt64
	}
	return want
}

// onlyNode returns the node that a pod names in a required node affinity, as the
// pods of daemon sets do: the others need not be looked at. Empty: none.
func onlyNode(p *corev1.Pod) string {
	a := p.Spec.Affinity
	if a == nil || a.NodeAffinity == nil || a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return ""
	}
	terms := a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	if len(terms) != 1 {
		return ""
	}
	for _, f := range terms[0].MatchFields {
		if f.Key == metav1.ObjectNameField && f.Operator == corev1.NodeSelectorOpIn && len(f.Values) == 1 {
			return f.Values[0]
		}
	}
	return ""
}

// asks reports whether the class leaves it open that a pod runs on the node.
func (cl *class) asks(n *node) bool {
	if cl.whole != nil && cl.whole.groupOf(n) != cl.group {
		return false
	}
	return (cl.only == "" || cl.only == n.name) && cl.domain.Has(n.row)
}

// stuck reports whether no node takes a pod of the class, and none has got better since that was found.
func (cl *class) stuck(c *cell) bool {
	return cl.full && cl.mark == c.mark() && (cl.near == nil || cl.near.Better() == cl.moved)
}

// best returns the node that a pod of the class should go to, nil if none takes it.
func (cl *class) best(c *cell) *node {
	if cl.leaves != nil {
		return cl.bestSpread(c)
	}
	if cl.stuck(c) {
		return nil
	}
	n := cl.find(c)
	cl.mark, cl.full = c.mark(), n == nil
	if n == nil {
		if cl.near != nil {
			cl.moved = cl.near.Better()
		}
		cl.why = message(cl, c)
	}
	return n
}

// find looks for the best node. A class that is asked once scans; the second time it makes a heap, which only pays then.
// One that was full need not look at nodes that have not got better.
func (cl *class) find(c *cell) *node {
	if cl.only != "" {
		if n := c.nodes[cl.only]; n != nil && cl.asks(n) && cl.refusals(n) == nil {
			return n
		}
		return nil
	}
	read := cl.mark >= c.base
	if cl.heap == nil && cl.full && read && cl.near == nil {
		return cl.scanImproved(c)
	}
	if cl.looks++; cl.looks == 1 {
		return cl.scan(c)
	}
	l := cl.look(c)
	switch {
	case cl.heap == nil || !read || cl.near != nil && cl.near.Form() != cl.form || cl.packs && !cl.heap.follow(l):
		cl.heap = newHeap(l)
		if cl.near != nil {
			cl.form = cl.near.Form()
		}
	case cl.mark < c.mark() && !cl.packs:
		cl.heap.catchUp(l)
	}
	cl.followed = c.changedBase + len(c.changed)
	if cl.near != nil && cl.near.Better() != cl.moved {
		cl.moved = cl.near.Better()
		for _, u := range c.nominated { // beside these more may be let in than was when the heap let go of their nodes
			cl.heap.renew(l, u.node.slot)
		}
	}
	return cl.heap.best(l)
}

// keyOf names a pod's class: a hash of all that filters and scores look at.
func (c *cell) keyOf(p *corev1.Pod) uint64 {
	h, s := key.New(), &p.Spec
	h.String(s.SchedulerName)
	// Replicas of one owner share it; the template's own parts follow.
	owner := ""
	if ref := metav1.GetControllerOfNoCopy(p); ref != nil {
		owner = string(ref.UID)
	}
	h.String(owner)
	h.Demand(object.DemandOf(p))
	ports := object.HostPorts(p)
	h.Number(int64(len(ports)))
	for _, port := range ports {
		h.String(port.Address)
		h.String(string(port.Protocol))
		h.Number(int64(port.Port))
	}
	h.Texts(s.NodeSelector)
	if s.Affinity != nil {
		h.Bytes(s.Affinity.Marshal())
	}
	h.Tolerations(s.Tolerations)
	h.Number(int64(len(s.TopologySpreadConstraints)))
	for i := range s.TopologySpreadConstraints {
		h.Bytes(s.TopologySpreadConstraints[i].Marshal())
	}
	h.String(p.Namespace) // whose it is
	h.String(p.Labels[mesos.FrameworkLabel])
	for _, k := range slices.Sorted(maps.Keys(p.Labels)) {
		if !c.near.Skips(k) {
			h.String(k)
			h.String(p.Labels[k])
		}
	}
	h.Number(-1)
	h.String(p.Annotations[swarm.PlacementAnnotation])
	h.String(p.Annotations[object.DynamicPortsAnnotation])
	h.Number(int64(object.PodPriority(p))) // whom room is kept for
	if s.PreemptionPolicy != nil {
		h.String(string(*s.PreemptionPolicy))
	}
	if len(claim.OfPod(p)) > 0 {
		h.String(string(p.UID)) // what its claims ask for is its own
	}
	return h.Sum64()
}
