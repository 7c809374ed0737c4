package schedule

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"trireme/internal/object"
)

// filter says why a pod of the class may not run on the node; nil: it may. The
// reasons are in the words of Kubernetes' scheduler plug-ins.
type filter func(c *class, n *node) []string

// rules are the filters in the order of their cost. They are the truth: what is faster must agree with them.
var rules = []rule{
	{refuses: filterExists, row: true}, {refuses: filterReady, row: true}, {refuses: filterSchedulable, row: true}, {refuses: filterTaints, row: true},
	{refuses: filterAffinity, row: true}, {refuses: filterPlacement, row: true}, {refuses: filterOwners},
	{refuses: filterPorts, room: true}, {refuses: filterDynamicPorts, room: true}, {refuses: filterResources, room: true, resources: true},
	{refuses: filterReserved, room: true}, {refuses: filterLent, room: true}, {refuses: filterVolumes},
	{refuses: filterPods, room: true}, {refuses: filterFixed},
}

type rule struct {
	refuses filter
	row     bool // it looks at nothing but the node's row, and says one thing (frame.go)
	room    bool // it may let the pod in once others have left the node
	// resources: it is filterResources.
	resources bool
}

func filterExists(_ *class, n *node) []string {
	if n.row == nil {
		return []string{"node(s) were not found"}
	}
	if n.row.DeletionTimestamp != nil {
		return []string{"node(s) were being deleted"}
	}
	return nil
}

// filterReady wants an agent that keeps its session and says that it can run
// pods, or a pod that does not mind.
func filterReady(c *class, n *node) []string {
	if object.NodeReady(n.row) {
		return nil
	}
	if c.tolerates(&corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}) {
		return nil
	}
	return []string{"node(s) were not ready"}
}

func filterSchedulable(c *class, n *node) []string {
	if n.row.Spec.Unschedulable && !c.tolerates(&corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}) {
		return []string{"node(s) were unschedulable"}
	}
	return nil
}

func filterTaints(c *class, n *node) []string {
	for i := range n.row.Spec.Taints {
		t := &n.row.Spec.Taints[i]
		if t.Effect == corev1.TaintEffectPreferNoSchedule || t.Key == corev1.TaintNodeUnschedulable || c.tolerates(t) {
			continue
		}
		return []string{fmt.Sprintf("node(s) had untolerated taint {%s: %s}", t.Key, t.Value)}
	}
	return nil
}

func (c *class) tolerates(t *corev1.Taint) bool {
	for i := range c.pod.Spec.Tolerations {
		if c.pod.Spec.Tolerations[i].ToleratesTaint(logr.Discard(), t, false) {
			return true
		}
	}
	return false
}

const (
	otherDomain = "node(s) were not in the domain of the pod's gang"
	otherNode   = "node(s) didn't match Pod's node affinity/selector"
	notAdded    = "node(s) didn't match scheduler-enforced node affinity"
)

func filterAffinity(c *class, n *node) []string {
	if c.added != nil {
		if ok, err := c.added.Match(n.row); err != nil || !ok {
			return []string{notAdded}
		}
	}
	ok, err := c.required.Match(n.row)
	switch {
	case err != nil:
		return []string{"node affinity: " + err.Error()}
	case !ok:
		return []string{otherNode}
	}
	return nil
}

func filterPorts(c *class, n *node) []string {
	if slices.ContainsFunc(c.ports, n.Bound) {
		return []string{"node(s) didn't have free ports for the requested pod ports"}
	}
	return nil
}

// filterDynamicPorts wants as many ports as the pod leaves to be chosen (object, DynamicPort).
func filterDynamicPorts(c *class, n *node) []string {
	if len(c.dynamic) == 0 {
		return nil
	}
	free := object.DynamicPortMax - object.DynamicPortMin + 1
	for p := range n.Ports {
		if p.Port >= object.DynamicPortMin && p.Port <= object.DynamicPortMax {
			free--
		}
	}
	if int(free) < len(c.dynamic) {
		return []string{"node(s) didn't have free ports for the requested pod ports"}
	}
	return nil
}

func filterResources(c *class, n *node) []string {
	lack := n.Lacks(c.demand)
	for i, name := range lack {
		if lack[i] = "Insufficient " + name; name == "pods" {
			lack[i] = "Too many pods"
		}
	}
	slices.Sort(lack)
	return lack
}

// refusals returns the first filter's words on the node, nil if a pod of the class
// fits beside those for whom room is kept there.
func (c *class) refusals(n *node) []string { return c.refusalsOf(object.Key{}, n) }

// refusalsOf is refusals of the pod for which the room that is kept for it counts
// as free.
func (c *class) refusalsOf(pod object.Key, n *node) []string {
	later := n.beside(c.priority, pod)
	for _, f := range rules {
		why := f.refuses(c, n)
		if len(why) == 0 && f.room && later != n {
			why = f.refuses(c, later)
		}
		if len(why) > 0 {
			return why
		}
	}
	return nil
}

// Score weighs, in points, unless the pod's profile says otherwise (strategy.go): an owner's pods are spread first; then the node with
// the most left is taken. Soft wishes move a node by less than one pod does. Points are whole numbers, so that
// it does not matter in which order they are added.
const (
	point             = 1_000_000
	spreadPoints      = 1000 * point
	leastPoints       = 100 * point
	affinityPoints    = 200 * point
	preferTaintPoints = 300 * point
)

// score says how well a node fits that passed the filters; more is better.
func (c *class) score(n *node) int64 {
	s := n.Spot()
	p := c.roomPoints(&s)
	if c.shaped {
		p = c.shapedPoints(n)
	}
	if p += c.wishes(n.row); !c.lies {
		p -= c.rates.kin * c.cell.kin[c.owner][n.slot]
	}
	if c.near != nil {
		p += c.near.score(n)
	}
	return p
}

// wishes are the points of what the node's row has or lacks that pods would like to have or not.
func (c *class) wishes(n *corev1.Node) (p int64) {
	if c.preferred != nil && c.weight > 0 {
		p += int64(float64(c.rates.affinity) * float64(c.preferred.Score(n)) / float64(c.weight))
	}
	for i := range n.Spec.Taints {
		if t := &n.Spec.Taints[i]; t.Effect == corev1.TaintEffectPreferNoSchedule && !c.tolerates(t) {
			p -= c.rates.taint
		}
	}
	return p
}

// wishesMost is a bound of what wishes returns.
func (c *class) wishesMost() int64 {
	if c.preferred != nil {
		return c.rates.affinity
	}
	return 0
}

// affinities prepares the class's node affinity, with what its profile adds.
func (c *class) affinities() {
	c.required = nodeaffinity.GetRequiredNodeAffinity(c.pod)
	var terms []corev1.PreferredSchedulingTerm
	if a := c.pod.Spec.Affinity; a != nil && a.NodeAffinity != nil {
		terms = a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution
	}
	if a := c.profile.Added; a != nil {
		if a.RequiredDuringSchedulingIgnoredDuringExecution != nil {
			c.added = nodeaffinity.NewLazyErrorNodeSelector(a.RequiredDuringSchedulingIgnoredDuringExecution)
		}
		terms = slices.Concat(terms, a.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if len(terms) == 0 {
		return
	}
	preferred, err := nodeaffinity.NewPreferredSchedulingTerms(terms)
	if err != nil {
		return // validation refused it, or an older release wrote it: no wish
	}
	c.preferred = preferred
	for _, t := range terms {
		c.weight += int64(t.Weight)
	}
}

// message says why no node takes a pod of the class, in the words of
// Kubernetes' scheduler: reasons counted and sorted. It notes what would have one take it.
func message(cl *class, c *cell) string {
	counts, h := map[string]int{}, ways{}
	all, f := 0, c.frame(cl)
	for _, n := range c.list {
		if n == nil || n.row == nil {
			continue
		}
		all++
		if !cl.domain.Has(n.row) {
			counts[otherDomain]++
			continue
		}
		if !cl.asks(n) {
			counts[otherNode]++
			continue
		}
		if f != nil {
			if _, why := f.judge(cl, n); why != "" {
				counts[why]++
				h.take(cl, n, true)
				continue
			}
		}
		for _, r := range cl.refusals(n) {
			counts[r]++
		}
		h.take(cl, n, f == nil && cl.static(n) != "")
	}
	cl.hint = h.say(cl)
	if all == 0 {
		return "no nodes available to schedule pods"
	}
	if cl.volumes != nil && cl.volumes.Refused() != "" {
		return fmt.Sprintf("0/%d nodes are available: %s.", all, cl.volumes.Refused())
	}
	var parts []string
	for _, r := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%d %s", counts[r], r))
	}
	slices.Sort(parts)
	return fmt.Sprintf("0/%d nodes are available: %s.", all, strings.Join(parts, ", "))
}
