package schedule

import (
	"cmp"
	"container/heap"
	"encoding/binary"
	"hash/fnv"
	"math"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"trireme/internal/object"
	"trireme/internal/object/claim"
	"trireme/internal/object/mesos"
	"trireme/internal/object/swarm"
	"trireme/internal/share"
	"trireme/internal/store"
)

// class is the pods that no filter and no score can tell apart.
type class struct {
	pod       *corev1.Pod // one of them
	owner     types.UID
	tenant    *share.Node
	priority  int32
	demand    object.Demand
	ports     []object.HostPort
	dynamic   []object.DynamicPort
	required  nodeaffinity.RequiredNodeAffinity
	preferred *nodeaffinity.PreferredSchedulingTerms
	weight    int64 // sum of preferred's weights
	volumes   *volumes
	only      string // the one node that it may run on, by name; empty: any
	placement *swarm.Placement
	malformed string            // what is wrong with the placement
	leaves    map[string]*class // of a class that is spread, by group of nodes
	group     string            // of a leaf
	whole     *class            // that it is a leaf of; nil: of none

	heap places
	at   map[*node]*place
	mark int // how far the cell's improvements were read
	// full: no node took a pod of the class when the mark was read.
	full bool
	why  string
	// tried is the mark up to which no eviction would have helped; -1: not tried yet.
	tried int
	// reclaimed is the step in which nothing that is lent would do.
	reclaimed uint64
}

// place is a node as the class sees it.
type place struct {
	node    *node
	version uint64 // of the node when it was scored
	score   float64
	index   int
}

// refused is the score of a node that does not fit.
var refused = math.Inf(-1)

// places is a heap, the best first; equal scores go by name, so that the same
// cell gives the same choice.
type places []*place

func (p places) Len() int { return len(p) }

func (p places) Less(i, j int) bool {
	if c := cmp.Compare(p[i].score, p[j].score); c != 0 {
		return c > 0
	}
	return p[i].node.name < p[j].node.name
}

func (p places) Swap(i, j int) {
	p[i], p[j] = p[j], p[i]
	p[i].index, p[j].index = i, j
}

// Push implements heap.Interface.
func (p *places) Push(x any) {
	pl := x.(*place)
	pl.index = len(*p)
	*p = append(*p, pl)
}

// Pop implements heap.Interface.
func (p *places) Pop() any {
	old := *p
	last := old[len(old)-1]
	*p = old[:len(old)-1]
	return last
}

func newClass(r store.Reader, p *corev1.Pod, c *cell) *class {
	cl := &class{pod: p, tenant: c.tenant(r, p.Namespace), priority: object.PodPriority(p), tried: -1, demand: object.DemandOf(p), ports: object.HostPorts(p), dynamic: object.DynamicPorts(p), at: map[*node]*place{}, volumes: volumesOf(r, p, c)}
	if ref := metav1.GetControllerOfNoCopy(p); ref != nil {
		cl.owner = ref.UID
	}
	cl.affinities()
	cl.only = onlyNode(p)
	cl.setPlacement(c)
	return cl
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
	return cl.only == "" || cl.only == n.name
}

// rebuild scores every node that the class may run on.
func (cl *class) rebuild(c *cell) {
	nodes := c.nodes
	if cl.only != "" {
		nodes = map[string]*node{}
		if n := c.nodes[cl.only]; n != nil {
			nodes[cl.only] = n
		}
	}
	cl.heap, cl.at = cl.heap[:0], make(map[*node]*place, len(nodes))
	for _, n := range nodes {
		if !cl.asks(n) {
			continue
		}
		pl := &place{node: n, index: len(cl.heap)}
		cl.rate(pl)
		cl.heap = append(cl.heap, pl)
		cl.at[n] = pl
	}
	heap.Init(&cl.heap)
	cl.mark, cl.full = c.mark(), false
}

func (cl *class) rate(pl *place) {
	pl.version, pl.score = pl.node.version, refused
	if cl.asks(pl.node) && cl.refusals(pl.node) == nil {
		pl.score = cl.score(pl.node)
	}
}

// catchUp scores again the nodes that have got better since the class last
// looked.
func (cl *class) catchUp(c *cell) {
	switch {
	case cl.mark == c.mark():
		return
	case cl.mark < c.base:
		cl.rebuild(c)
		return
	}
	for _, n := range c.improved[cl.mark-c.base:] {
		if c.nodes[n.name] != n || !cl.asks(n) {
			continue // gone since; its place sinks when it comes to the top
		}
		pl := cl.at[n]
		if pl == nil {
			pl = &place{node: n}
			cl.at[n] = pl
			cl.rate(pl)
			heap.Push(&cl.heap, pl)
			continue
		}
		cl.rate(pl)
		heap.Fix(&cl.heap, pl.index)
	}
	cl.mark, cl.full = c.mark(), false
}

// best returns the node that a pod of the class should go to, nil if none takes
// it.
func (cl *class) best(c *cell) *node {
	if cl.leaves != nil {
		return cl.bestSpread(c)
	}
	cl.catchUp(c)
	for !cl.full && len(cl.heap) > 0 {
		top := cl.heap[0]
		if top.version == top.node.version {
			if top.score == refused {
				break
			}
			return top.node
		}
		cl.rate(top)
		heap.Fix(&cl.heap, 0)
	}
	if !cl.full {
		cl.full, cl.why = true, message(cl, c.nodes)
	}
	return nil
}

// keyOf names a pod's class: a hash of all that filters and scores look at.
func keyOf(p *corev1.Pod) uint64 {
	h := fnv.New64a()
	write := func(b []byte, err error) {
		if err != nil {
			panic("schedule: encoding a pod: " + err.Error())
		}
		var size [8]byte
		binary.LittleEndian.PutUint64(size[:], uint64(len(b)))
		h.Write(size[:])
		h.Write(b)
	}
	// Replicas of one owner share it; the template's own parts follow.
	s := &p.Spec
	view := corev1.PodSpec{NodeSelector: s.NodeSelector, Affinity: s.Affinity, Tolerations: s.Tolerations, Overhead: s.Overhead, Resources: s.Resources, TopologySpreadConstraints: s.TopologySpreadConstraints}
	view.InitContainers, view.Containers = demands(s.InitContainers), demands(s.Containers)
	write(view.Marshal())
	owner := ""
	if ref := metav1.GetControllerOfNoCopy(p); ref != nil {
		owner = string(ref.UID)
	}
	write([]byte(owner), nil)
	write([]byte(p.Namespace), nil) // whose it is
	write([]byte(p.Labels[mesos.FrameworkLabel]), nil)
	write([]byte(p.Annotations[swarm.PlacementAnnotation]), nil)
	write([]byte(p.Annotations[object.DynamicPortsAnnotation]), nil)
	write([]byte(strconv.Itoa(int(object.PodPriority(p)))), nil) // whom room is kept for
	if len(claim.OfPod(p)) > 0 {
		write([]byte(p.UID), nil) // what its claims ask for is its own
	}
	write([]byte(strconv.Itoa(len(s.InitContainers))), nil)
	return h.Sum64()
}

// demands keeps of containers what a node must give.
func demands(list []corev1.Container) []corev1.Container {
	out := make([]corev1.Container, len(list))
	for i := range list {
		out[i] = corev1.Container{Resources: corev1.ResourceRequirements{Requests: list[i].Resources.Requests}, RestartPolicy: list[i].RestartPolicy}
		for _, p := range list[i].Ports {
			if p.HostPort != 0 {
				out[i].Ports = append(out[i].Ports, p)
			}
		}
	}
	return out
}
