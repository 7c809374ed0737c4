package schedule

import (
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
)

// nominate keeps the room that a waiting pod's status.nominatedNodeName names.
func (c *cell) nominate(p *corev1.Pod) {
	key, name := object.KeyOf(p), p.Status.NominatedNodeName
	if old := c.nominated[key]; old != nil {
		if old.uid == p.UID && old.node.name == name {
			return
		}
		c.improve(c.unnominate(key))
	}
	if name == "" {
		return
	}
	c.keep(c.node(name), &use{key: key, uid: p.UID, demand: object.DemandOf(p), ports: object.HostPorts(p), priority: object.PodPriority(p), near: c.pod(p)})
}

// keep keeps room on the node for a pod that waits for it, and no other.
func (c *cell) keep(n *node, u *use) {
	u.node = n
	n.nominated[u.key], c.nominated[u.key] = u, u
	c.touch(n)
}

// unnominate gives up the room that is kept for the pod. It returns the node where
// that was, for the caller to improve unless the pod took the room; nil: none was.
func (c *cell) unnominate(pod object.Key) *node {
	u := c.nominated[pod]
	if u == nil {
		return nil
	}
	delete(c.nominated, pod)
	delete(u.node.nominated, pod)
	c.touch(u.node)
	c.drop(u.node)
	return u.node
}

// nominatedNode returns the node where room is kept for the pod, if it fits now.
func (cl *class) nominatedNode(c *cell, pod object.Key) *node {
	u := c.nominated[pod]
	if u == nil || cl.refusalsOf(pod, u.node) != nil {
		return nil
	}
	return u.node
}

// beside returns the node as it will be for a pod of the priority: those that are
// leaving have left, and others of at least that priority have the room that is kept
// for them. The node itself where none is kept.
func (n *node) beside(priority int32, pod object.Key) *node {
	out := n
	for key, u := range n.nominated {
		if u.priority < priority || key == pod {
			continue
		}
		if out == n {
			out = n.settled()
		}
		out.add(u, 1)
		out.guests = append(out.guests, u)
	}
	return out
}

// settled returns a copy of the node, to add and remove pods of, from which those
// that are leaving have left. What only scores look at is not in it.
func (n *node) settled() *node {
	out := *n
	out.Room = n.Room.Clone()
	for _, u := range n.held {
		if u.leaving {
			out.add(u, -1)
		}
	}
	return &out
}
