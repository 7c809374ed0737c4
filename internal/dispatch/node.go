package dispatch

import (
	"context"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Reasons of node conditions. The first two are what tools look for.
const (
	reasonUnknown = "NodeStatusUnknown"
	reasonReady   = "KubeletReady"
	reasonAway    = "NodeNotReady"
)

// watchEvery is how often sessions and nodes without one are looked at.
const watchEvery = time.Second

// pruneEvery is how often old events are dropped.
const pruneEvery = time.Minute

// hello makes the node's row or brings it up to date: a session makes it ready. It
// returns whether the node had been given up.
func (d *Dispatcher) hello(ctx context.Context, said *corev1.Node) (away bool, err error) {
	_, err = d.store.Update(ctx, func(tx *store.Tx) error {
		key := object.Key{Name: said.Name}
		old, ok := tables.Nodes.Get(tx, key)
		if away = ok && object.NodeReadiness(&old.Status) == corev1.ConditionUnknown; away {
			trustPods(tx, old, said)
		}
		next := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: said.Name}}
		if ok {
			next = old.DeepCopy()
		}
		next.Labels = merge(next.Labels, said.Labels)
		next.Annotations = merge(next.Annotations, said.Annotations)
		maps.DeleteFunc(next.Annotations, func(k, v string) bool { // what it says no more
			_, ok := said.Annotations[k]
			return ok && v == ""
		})
		if d.cfg.Overlay != "" {
			next.Annotations = merge(next.Annotations, map[string]string{object.OverlayAnnotation: d.cfg.Overlay})
		}
		next.Labels = merge(map[string]string{
			corev1.LabelHostname:   said.Name,
			corev1.LabelOSStable:   said.Status.NodeInfo.OperatingSystem,
			corev1.LabelArchStable: said.Status.NodeInfo.Architecture,
		}, next.Labels)
		next.Status = nodeStatus(&next.Status, &said.Status, tx.Now())
		if ok && equality.Semantic.DeepEqual(old, next) {
			return nil
		}
		tables.Nodes.Put(tx, next)
		return nil
	})
	return away, err
}

// nodeStatus writes a node's status if it changed.
func (d *Dispatcher) nodeStatus(ctx context.Context, name string, said *corev1.NodeStatus) error {
	_, err := d.store.Update(ctx, func(tx *store.Tx) error {
		old, ok := tables.Nodes.Get(tx, object.Key{Name: name})
		if !ok {
			return nil // deleted by a user: it comes back with the next hello
		}
		status := nodeStatus(&old.Status, said, tx.Now())
		if equality.Semantic.DeepEqual(old.Status, status) {
			return nil
		}
		next := old.DeepCopy()
		next.Status = status
		tables.Nodes.Put(tx, next)
		return nil
	})
	return err
}

// nodeStatus returns the status a node has with a session: what it says, Ready
// true where it says nothing of that. Times move only when a condition does.
func nodeStatus(old, said *corev1.NodeStatus, now time.Time) corev1.NodeStatus {
	next := *said.DeepCopy()
	object.KeepExtended(&next, old)
	if object.NodeReadiness(&next) == "" {
		next.Conditions = append(next.Conditions, corev1.NodeCondition{
			Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: reasonReady, Message: "the node's agent is connected",
		})
	}
	at := metav1.NewTime(now.Truncate(time.Second))
	for i := range next.Conditions {
		c := &next.Conditions[i]
		c.LastHeartbeatTime, c.LastTransitionTime = at, at
		for _, o := range old.Conditions {
			if o.Type != c.Type || o.Status != c.Status {
				continue
			}
			c.LastTransitionTime = o.LastTransitionTime
			if o.Reason == c.Reason && o.Message == c.Message {
				c.LastHeartbeatTime = o.LastHeartbeatTime // heartbeats are not written
			}
		}
	}
	return next
}

// merge returns base with over's entries in it, less those that are empty.
func merge(base, over map[string]string) map[string]string {
	out := make(map[string]string, len(base)+len(over))
	for _, m := range []map[string]string{base, over} {
		for k, v := range m {
			if v != "" || k != corev1.LabelOSStable && k != corev1.LabelArchStable {
				out[k] = v
			}
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// watchNodes cuts silent sessions and writes which nodes are away too long.
func (d *Dispatcher) watchNodes(ctx context.Context) error {
	tick := time.NewTicker(min(watchEvery, d.cfg.Grace/3))
	defer tick.Stop()
	pruned := d.cfg.Now()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		d.tellManagers()
		now := d.cfg.Now()
		away := d.away(now)
		if len(away) > 0 {
			if err := d.markAway(ctx, away); err != nil {
				return err
			}
		}
		if now.Sub(pruned) >= pruneEvery {
			pruned = now
			if err := d.pruneEvents(ctx); err != nil {
				return err
			}
		}
	}
}

// away cuts the sessions that are silent for longer than the grace and returns
// the nodes that have none for as long and are not known as away yet.
func (d *Dispatcher) away(now time.Time) []string {
	d.mu.Lock()
	for _, s := range d.sessions {
		if !s.busy.Load() && now.Sub(s.seen()) > d.cfg.Grace {
			s.cancel(kind.New(kind.Timeout, "node %s has said nothing for %s", s.node, d.cfg.Grace))
		}
	}
	lost := func(name string) bool {
		if d.sessions[name] != nil {
			return false
		}
		since, ok := d.lost[name]
		if !ok {
			since = d.started // a new leader gives everybody one grace period
		}
		return now.Sub(since) > d.cfg.Grace
	}
	defer d.mu.Unlock()
	head := d.store.Head()
	for name := range d.lost {
		if _, ok := tables.Nodes.Row(head, object.Key{Name: name}); !ok {
			delete(d.lost, name)
		}
	}
	var names []string
	for n := range tables.Nodes.All(head) {
		if lost(n.Name) && object.NodeReadiness(&n.Status) != corev1.ConditionUnknown {
			names = append(names, n.Name)
		}
	}
	return names
}

// markAway makes the nodes' conditions Unknown and their pods not ready.
func (d *Dispatcher) markAway(ctx context.Context, names []string) error {
	d.cfg.Log.Warn("nodes are away", "nodes", names)
	_, err := d.store.Update(ctx, func(tx *store.Tx) error {
		at := metav1.NewTime(tx.Now().Truncate(time.Second))
		for _, name := range names {
			old, ok := tables.Nodes.Get(tx, object.Key{Name: name})
			if !ok || d.connected(name) {
				continue
			}
			next := old.DeepCopy()
			setUnknown(next, at)
			tables.Nodes.Put(tx, next)
			var keys []object.Key
			for row := range tables.Pods.By(tx, tables.PodsByNode, name) {
				if row.Head().Ready {
					keys = append(keys, row.Key())
				}
			}
			for _, key := range keys {
				old, _ := tables.Pods.Get(tx, key)
				pod := *old
				if unready(&pod, reasonAway, at) {
					tables.Pods.Put(tx, &pod)
				}
			}
		}
		return nil
	})
	return err
}

func (d *Dispatcher) connected(name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sessions[name] != nil
}

func setUnknown(n *corev1.Node, at metav1.Time) {
	for i := range n.Status.Conditions {
		c := &n.Status.Conditions[i]
		if c.Status != corev1.ConditionUnknown {
			c.Status, c.Reason, c.Message = corev1.ConditionUnknown, reasonUnknown, "the node's agent is not heard from"
			c.LastTransitionTime = at
		}
	}
	if object.NodeReadiness(&n.Status) == "" {
		n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{
			Type: corev1.NodeReady, Status: corev1.ConditionUnknown, Reason: reasonUnknown,
			Message: "the node's agent is not heard from", LastTransitionTime: at,
		})
	}
}
