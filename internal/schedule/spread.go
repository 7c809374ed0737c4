package schedule

import (
	"iter"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
	"trireme/internal/object/marathon"
	"trireme/internal/object/swarm"
	"trireme/internal/schedule/neighbours"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// ownLabels tell pods of one maker apart. They do not divide a class as long as no selector mentions them.
var ownLabels = []string{
	appsv1.StatefulSetPodNameLabel, appsv1.PodIndexLabel, batchv1.JobCompletionIndexAnnotation, swarm.SlotLabel, marathon.SlotLabel,
}

// company is what the pods that are there mean to those of a class. All of it is said by groups of nodes: those in the same
// domains of all the keys that matter to the class, each node alone where one of these is its name.
type company struct {
	*neighbours.View
	asks *neighbours.Asks
	// rate is what they count in points: by default a wish of weight 100 as much as a wish for a node, for each pod; a pod
	// more in a domain that is to be kept even as much as an owner's pod more on a node.
	rate neighbours.Rate
}

// group returns the number of the node's group, 0 for nodes that are not there.
func (a *company) group(n *node) int32 { return a.Group(n.near) }

// groups returns the points of each group now; refused: its nodes do not take the pods. Valid until it is asked again.
func (a *company) groups() []int64 { return a.Groups(a.rate) }

// score is the plain answer that groups must agree with.
func (a *company) score(n *node) int64 { return a.rate.Points(a.Pull(n.near)) }

// setCompany reads what the class's pods ask of others. As long as no pod of the cell asks anything of any, nobody has company.
func (cl *class) setCompany(c *cell) {
	p := cl.pod
	asks := c.near.Read(p)
	spreads := cl.spreads()
	if c.near.Awake() || len(spreads) > 0 {
		cl.near = &company{c.near.View(p, asks, spreads), asks, cl.rates.company}
		cl.lies = len(spreads) > 0 || asks.Clings(p.Namespace, p.Labels)
	}
}

// company is what its pods ask of others; nil: nothing.
func (cl *class) company() *neighbours.Asks {
	if cl.near == nil {
		return nil
	}
	return cl.near.asks
}

// spreads reads the pod's topology spread constraints.
func (cl *class) spreads() (out []neighbours.Spread) {
	list := cl.pod.Spec.TopologySpreadConstraints
	for i := range list {
		t := &list[i]
		s := neighbours.Spread{Key: t.TopologyKey, Pods: t.LabelSelector, LabelKeys: t.MatchLabelKeys, MaxSkew: int64(t.MaxSkew), Hard: t.WhenUnsatisfiable == corev1.DoNotSchedule}
		if t.MinDomains != nil {
			s.MinDomains = int64(*t.MinDomains)
		}
		affinity := t.NodeAffinityPolicy == nil || *t.NodeAffinityPolicy == corev1.NodeInclusionPolicyHonor
		taints := t.NodeTaintsPolicy != nil && *t.NodeTaintsPolicy == corev1.NodeInclusionPolicyHonor
		s.Scope, s.Include = cl.scope(affinity, taints)
		out = append(out, s)
	}
	return out
}

// scope returns which nodes a constraint counts that honours node affinity or taints, and a name that classes share which
// count the same.
func (cl *class) scope(affinity, taints bool) (string, func(*corev1.Node) bool) {
	p, view := cl.pod, corev1.PodSpec{}
	if affinity {
		view.NodeSelector = p.Spec.NodeSelector
		if a := p.Spec.Affinity; a != nil && a.NodeAffinity != nil {
			view.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution}}
		}
		affinity = len(view.NodeSelector) > 0 || view.Affinity != nil
	}
	if !affinity && !taints {
		return "", nil
	}
	name := "a"
	if taints {
		name, view.Tolerations = "t", p.Spec.Tolerations
	}
	b, err := view.Marshal()
	if err != nil {
		panic("schedule: encoding a pod: " + err.Error())
	}
	return name + string(b), func(n *corev1.Node) bool {
		if affinity {
			if ok, err := cl.required.Match(n); err != nil || !ok {
				return false
			}
		}
		return !taints || !cl.kept(n)
	}
}

// kept reports whether a taint keeps pods of the class off the node.
func (cl *class) kept(n *corev1.Node) bool {
	at := &node{row: n}
	return len(filterTaints(cl, at)) > 0 || len(filterSchedulable(cl, at)) > 0
}

// The words of Kubernetes' plug-ins InterPodAffinity and PodTopologySpread.
var verdicts = map[neighbours.Verdict][]string{
	neighbours.Fits:       nil,
	neighbours.Unlabelled: {"node(s) didn't match pod topology spread constraints (missing required label)"},
	neighbours.Skewed:     {"node(s) didn't match pod topology spread constraints"},
	neighbours.Alone:      {"node(s) didn't match pod affinity rules"},
	neighbours.Repelled:   {"node(s) didn't match pod anti-affinity rules"},
	neighbours.Unwelcome:  {"node(s) didn't satisfy existing pods anti-affinity rules"},
}

// filterPods asks the pods that are on the node's side, and with them those that it has room kept for.
func filterPods(c *class, n *node) []string {
	if c.near == nil {
		return nil
	}
	if len(n.guests) == 0 {
		return verdicts[c.near.Judge(n.near)]
	}
	c.cell.near.Try(true)
	for _, u := range n.guests {
		c.cell.near.Add(&u.near, n.near)
	}
	v := c.near.Judge(n.near)
	for _, u := range n.guests {
		c.cell.near.Remove(&u.near)
	}
	c.cell.near.Try(false)
	return verdicts[v]
}

// filterFixed refuses nodes that no pod's going can make fit: those without a domain that is asked for, and those where
// others are missing.
func filterFixed(c *class, n *node) []string {
	switch {
	case c.near == nil:
		return nil
	case !c.near.Labelled(n.near):
		return verdicts[neighbours.Unlabelled]
	case !c.near.Accompanied(n.near):
		return verdicts[neighbours.Alone]
	}
	return nil
}

// meet tells the classes of all that wait apart again where a selector has mentioned what divides them, for the first time.
func (s *Scheduler) meet(tx *store.Tx) {
	if !s.cell.settleCompany() {
		return
	}
	s.classes = map[uint64]*class{}
	for _, key := range s.queue.Keys() {
		if p, ok := tables.Pods.Get(tx, key); ok {
			s.enqueue(tx, p, key)
		}
	}
}

// settleCompany counts all pods anew where that has become necessary, and says so: classes have to be told apart again.
func (c *cell) settleCompany() bool {
	if !c.near.Stale() {
		return false
	}
	c.near.Recount(c.everyPod())
	return true
}

func (c *cell) everyPod() iter.Seq[*neighbours.Pod] {
	return func(yield func(*neighbours.Pod) bool) {
		for _, uses := range []map[object.Key]*use{c.uses, c.nominated} {
			for _, u := range uses {
				if !yield(&u.near) {
					return
				}
			}
		}
	}
}

// pod returns how the pod is counted by what others ask of them.
func (c *cell) pod(p *corev1.Pod) neighbours.Pod {
	return c.near.Of(p.Namespace, p.Labels, c.near.Read(p))
}

// setNamespaces takes in the labels of namespaces that changed.
func (c *cell) setNamespaces(r store.Reader, changed iter.Seq[object.Key]) {
	for key := range changed {
		var labels map[string]string
		if n, ok := tables.Namespaces.Get(r, key); ok {
			labels = n.Labels
		}
		c.near.SetNamespace(key.Name, labels)
	}
	for _, n := range c.list {
		if n != nil {
			c.told(n)
			return
		}
	}
}

// asksOf returns what a pod with a node asks of others, decoding it only if it does.
func asksOf(c *cell, r store.Reader, key object.Key, h *tables.PodHead) *neighbours.Asks {
	if !h.About {
		return nil
	}
	p, _ := tables.Pods.Get(r, key)
	return c.near.Read(p)
}

// without has a trial's node be without those that are leaving it and those of lower priority, as far as pods ask of each other,
// until the function that it returns is called.
func (c *cell) without(n *node, priority int32) (end func()) {
	c.near.Try(true)
	for _, u := range n.held {
		if u.leaving || u.priority < priority {
			c.near.Remove(&u.near)
		}
	}
	return func() {
		for _, u := range n.held {
			if u.leaving || u.priority < priority {
				c.near.Remove(&u.near)
				c.near.Add(&u.near, n.near)
			}
		}
		c.near.Try(false)
	}
}

// bring puts a pod onto the copy of a node that a trial has, and send takes it off again.
func (c *cell) bring(n *node, u *use) {
	if n.add(u, 1); c.near.Awake() {
		c.near.Add(&u.near, n.near)
	}
}

func (c *cell) send(n *node, u *use) {
	if n.add(u, -1); c.near.Awake() {
		c.near.Remove(&u.near)
	}
}
