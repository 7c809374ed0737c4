package rebalance

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
	"trireme/internal/object/swarm"
	"trireme/internal/policy"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/tell"
)

// fullerBy is by how many thousandths one node is fuller than another from which pods of an owner
// move that lie evenly as they are.
const fullerBy = 200

// step is one look at all owners whose time has come.
type step struct {
	tx  *store.Tx
	all map[string]*place // nil: not read yet
}

// move is a pod that is to leave a node for another.
type move struct {
	pod      pod
	from, to string
	why      string
}

// plan returns what to move now, and when a node is to be looked at that has come lately.
func (s *step) plan(v *view, opt *object.Rebalance) (list []move, again time.Time) {
	targets, again := s.targets(v, opt.Pause)
	if len(targets) == 0 || !s.read(v) {
		return nil, again
	}
	for range opt.Max {
		m, ok := s.best(v, targets)
		if !ok {
			break
		}
		list = append(list, m)
		s.all[m.from].count(m.pod.head.Demand, -1)
		s.all[m.to].count(m.pod.head.Demand, 1)
		v.on[m.from] = slices.DeleteFunc(v.on[m.from], func(p pod) bool { return p.key == m.pod.key })
		v.on[m.to] = append(v.on[m.to], m.pod)
	}
	return list, again
}

// targets returns the nodes that were opened after the oldest of the pods came, and have been for
// the pause; again: when the next of them will have been.
func (s *step) targets(v *view, pause time.Duration) (names []string, again time.Time) {
	oldest := s.tx.Now()
	for _, p := range v.pods {
		if p.head.Created.Before(oldest) {
			oldest = p.head.Created
		}
	}
	for name, p := range s.places() {
		at := p.since.Add(pause)
		switch {
		case p.since.IsZero() || !p.since.After(oldest):
		case !s.tx.Now().Before(at):
			names = append(names, name)
		case again.IsZero() || at.Before(again):
			again = at
		}
	}
	return names, again
}

// read reads one of the pods, which stands for all, and reports whether such may be moved.
func (s *step) read(v *view) bool {
	if len(v.pods) == 0 {
		return false
	}
	o, ok := tables.Pods.Get(s.tx, v.pods[0].key)
	if !ok || held(o) {
		return false
	}
	asks, err := swarm.ReadPlacement(o.Annotations[swarm.PlacementAnnotation])
	v.model, v.asks = o, asks
	return err == nil
}

// best returns the move that helps most.
func (s *step) best(v *view, targets []string) (move, bool) {
	for _, name := range targets {
		s.all[name].read(s.tx)
	}
	sources := slices.DeleteFunc(slices.Collect(maps.Keys(v.on)), func(name string) bool { return s.all[name] == nil || len(v.on[name]) == 0 })
	for _, name := range sources {
		s.all[name].read(s.tx)
	}
	order := func(a, b string) int {
		return cmp.Or(cmp.Compare(len(v.on[a]), len(v.on[b])), cmp.Compare(s.all[a].fullness(), s.all[b].fullness()), cmp.Compare(a, b))
	}
	slices.SortFunc(targets, order)
	slices.SortFunc(sources, func(a, b string) int { return -order(a, b) })
	for _, from := range sources {
		for _, to := range targets {
			if len(v.on[from]) <= len(v.on[to]) {
				break
			}
			if why := s.better(v, from, to); why != "" {
				return move{v.sorted(from)[0], from, to, why}, true
			}
		}
	}
	return move{}, false
}

// better says why a pod on one node is better off on the other; "": it is not.
func (s *step) better(v *view, from, to string) string {
	a, b := s.all[from], s.all[to]
	if !b.since.After(s.placedOn(v, from)) || !b.takes(v.model, v.asks) || !s.spreads(v, a, b) {
		return ""
	}
	if most := v.placementMax(); most > 0 && int64(len(v.on[to])) >= most {
		return ""
	}
	has, had := len(v.on[from]), len(v.on[to])
	if has >= had+2 {
		return fmt.Sprintf("node %s has %d pods of %s %s, node %s, which has come since, %d", from, has, v.owner.kind, v.owner.name, to, had)
	}
	d, was := v.sorted(from)[0].head.Demand, [2]int64{a.fullness(), b.fullness()}
	a.count(d, -1)
	b.count(d, 1)
	stays := a.fullness() >= b.fullness()
	a.count(d, 1)
	b.count(d, -1)
	if !stays || was[0]-was[1] < fullerBy {
		return ""
	}
	return fmt.Sprintf("of node %s %d%% are asked for, of node %s, which has come since, %d%%", from, was[0]/10, to, was[1]/10)
}

// placementMax is how many of the owner's pods a node takes; 0: any number.
func (v *view) placementMax() int64 {
	if v.asks == nil {
		return 0
	}
	return v.asks.MaxPerNode
}

// spreads reports whether the spread over groups of nodes that the pods ask for stays as good.
func (s *step) spreads(v *view, from, to *place) bool {
	if v.asks == nil || len(v.asks.Spread) == 0 {
		return true
	}
	for levels := range v.asks.Spread {
		a, b := v.asks.Group(from.node, levels+1), v.asks.Group(to.node, levels+1)
		if a == b {
			continue
		}
		counts := map[string]int{}
		for name, pods := range v.on {
			if p := s.all[name]; p != nil {
				counts[v.asks.Group(p.node, levels+1)] += len(pods)
			}
		}
		return counts[a] > counts[b]
	}
	return true
}

// move has the pod leave its node, and reports whether it may.
func (s *step) move(o *owner, m move) bool {
	p, ok := tables.Pods.Get(s.tx, m.pod.key)
	if !ok {
		return false
	}
	if err := s.end(o, p, m.why); err != nil {
		why := err.Error()
		if guarded := (*policy.Guarded)(nil); errors.As(err, &guarded) {
			why = guarded.Why
		}
		tell.Once(s.tx, tables.Pods, p, tell.Event{From: teller, Type: corev1.EventTypeNormal, Reason: "RebalanceHeld", Message: why})
		return false
	}
	tell.About(s.tx, tables.Pods, p, tell.Event{From: teller, Type: corev1.EventTypeNormal, Reason: "Rebalanced", Message: "leaves its node: " + m.why})
	return true
}

// end evicts the pod, or has its service replace it.
func (s *step) end(o *owner, p *corev1.Pod, why string) error {
	if o.kind != swarm.Kind.Kind {
		return policy.Evict(s.tx, policy.Eviction{Pod: object.KeyOf(p), Cause: object.Disruption{Reason: "Rebalanced", Message: why}})
	}
	if err := policy.Disrupt(s.tx, p); err != nil {
		return err
	}
	next := p.DeepCopy()
	next.Labels[swarm.DesiredLabel] = swarm.Move
	tables.Pods.Put(s.tx, next)
	return nil
}
