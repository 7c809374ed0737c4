package schedule

import (
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/schedule/neighbours"
	"trireme/internal/schedule/profile"
	"trireme/internal/schedule/room"
)

// rates are what the parts of a class's score count, in points.
type rates struct {
	left     float64 // a part that is left of cpu, memory or pods
	room     int64   // room that is worth most by a shape
	kin      int64   // one more pod of the owner
	affinity int64   // all that is preferred of nodes
	taint    int64
	company  neighbours.Rate
}

// setProfile reads how the class's pods are placed.
func (cl *class) setProfile(p *profile.Profile) {
	cl.profile = p
	w := &p.Weights
	cl.rates = rates{
		left: leastPoints / 3 * float64(w.Room), room: leastPoints * w.Room, kin: spreadPoints / 2 * w.Spread, affinity: affinityPoints / 2 * w.Nodes, taint: preferTaintPoints / 3 * w.Taints,
		company: neighbours.Rate{Refused: refused, Pull: affinityPoints / 200 * w.Company, Skew: spreadPoints / 2 * float64(w.Spread)},
	}
	if p.Strategy == profile.Most {
		cl.rates.left = -cl.rates.left
	}
	cl.shaped, cl.packs = len(p.Resources) > 0, p.Strategy != profile.Least
}

// roomPoints are what the node's room is worth with one pod more, unless the profile says which resources count: then
// shapedPoints are.
func (cl *class) roomPoints(s *room.Spot) int64 {
	return int64(cl.rates.left * s.Left(cl.cpuAsked, cl.memoryAsked))
}

// shapedPoints are what the node's room is worth by the resources that the profile says count. One that the node does not have, or an
// extended one that the pod does not ask for, counts nothing (Kubernetes, NodeResourcesFit).
func (cl *class) shapedPoints(n *node) int64 {
	return int64(float64(cl.rates.room) * cl.profile.RoomWorth(&n.Room, cl.demand))
}

// setProfiles takes in how pods are placed, by their schedulers' names; none: all by the default.
func (c *cell) setProfiles(list []profile.Profile) {
	if len(list) == 0 {
		list = byDefault
	}
	c.profiles = map[string]*profile.Profile{}
	for i := range list {
		c.profiles[list[i].Name] = &list[i]
		c.follows = c.follows || list[i].Strategy != profile.Least
	}
}

// profileOf returns how a pod is placed; nil: somebody else does that.
func (c *cell) profileOf(p *corev1.Pod) *profile.Profile { return c.profiles[p.Spec.SchedulerName] }

// changedMax bounds the list of nodes that have changed.
const changedMax = 4096

// note notes that a node has changed, for classes to which a node may get better by being taken.
func (c *cell) note(slot int32) {
	if len(c.changed) >= changedMax {
		c.changedBase += len(c.changed) / 2
		c.changed = append(c.changed[:0], c.changed[len(c.changed)/2:]...)
	}
	c.changed = append(c.changed, slot)
}

// follow looks again at the nodes that have changed since the class last looked. false: they are not all known any more.
func (h *heap) follow(l *look) bool {
	c := l.cell
	if l.followed < c.changedBase {
		return false
	}
	for _, slot := range c.changed[l.followed-c.changedBase:] {
		h.renew(l, slot)
	}
	return true
}
