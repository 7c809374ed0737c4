package rebalance

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
	"trireme/internal/object/swarm"
	"trireme/internal/tables"
)

// pod is one that may be moved.
type pod struct {
	key  object.Key
	head *tables.PodHead
}

// view is an owner's pods as they are.
type view struct {
	owner    *owner
	pods     []pod
	on       map[string][]pod
	restless bool      // some come or go
	fresh    time.Time // when the last of them came, or became ready
	placed   map[string]time.Time
	model    *corev1.Pod // one of them
	asks     *swarm.Placement
}

func (s *step) view(o *owner) *view {
	v := &view{owner: o, on: map[string][]pod{}, placed: map[string]time.Time{}}
	for row := range tables.Pods.By(s.tx, tables.OwnerIndex, string(o.uid)) {
		h := row.Head()
		desired := h.Labels[swarm.DesiredLabel]
		switch {
		case h.Owner != o.uid:
			continue
		case h.Ended() && !h.Deleting, desired == swarm.Shutdown && h.Ended():
			continue
		case h.Deleting, desired != "", !h.Ready, h.Node == "", h.UnderReview:
			v.restless = true
		}
		v.fresh = latest(v.fresh, h.Created, h.ReadySince)
		v.pods = append(v.pods, pod{row.Key(), h})
		v.on[h.Node] = append(v.on[h.Node], v.pods[len(v.pods)-1])
	}
	return v
}

func latest(list ...time.Time) (out time.Time) {
	for _, t := range list {
		if t.After(out) {
			out = t
		}
	}
	return out
}

// placedOn returns when the last of the owner's pods on the node got there.
func (s *step) placedOn(v *view, node string) time.Time {
	if at, ok := v.placed[node]; ok {
		return at
	}
	var last time.Time
	for _, p := range v.on[node] {
		at := p.head.Created
		if o, ok := tables.Pods.Get(s.tx, p.key); ok {
			if c := object.PodCondition(o, corev1.PodScheduled); c != nil {
				at = latest(at, c.LastTransitionTime.Time)
			}
		}
		last = latest(last, at)
	}
	v.placed[node] = last
	return last
}

// sorted returns the node's pods, first those whose loss costs least: by what they say themselves,
// then the newest.
func (v *view) sorted(node string) []pod {
	return slices.SortedFunc(slices.Values(v.on[node]), func(a, b pod) int {
		return cmp.Or(cmp.Compare(a.head.DeletionCost, b.head.DeletionCost), b.head.Created.Compare(a.head.Created), a.key.Compare(b.key))
	})
}

// held reports whether the pod has something of its node, or has data that may be on it.
func held(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Spec.Volumes, func(v corev1.Volume) bool {
		return v.PersistentVolumeClaim != nil || v.Ephemeral != nil || v.HostPath != nil || v.CSI != nil && v.CSI.Driver == swarm.VolumeDriver
	})
}
