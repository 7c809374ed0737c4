package marathon

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/mesos/resource"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/object"
	"trireme/internal/object/marathon"
	"trireme/internal/object/mesos"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Bounds of what one answer tells of offers that were not used: apps, and nodes of each.
const (
	unusedApps  = 16
	unusedNodes = 100
)

// unused tells of apps that wait which nodes do not take them, and why: one node is one offer.
type unused struct {
	c    *call
	snap *store.Snapshot // all of it: whoever may list nodes may know
	left int             // apps that may still be told of
}

// unusedOffer is one as Marathon shows it.
type unusedOffer struct {
	Offer     offerInfo `json:"offer"`
	Reason    []string  `json:"reason"`
	Timestamp string    `json:"timestamp"`
}

type offerInfo struct {
	ID         string      `json:"id"`
	AgentID    string      `json:"agentId"`
	Hostname   string      `json:"hostname"`
	Resources  []scalar    `json:"resources"`
	Attributes []attribute `json:"attributes"`
}

type scalar struct {
	Name   string  `json:"name"`
	Role   string  `json:"role"`
	Scalar float64 `json:"scalar"`
}

type attribute struct {
	Name   string   `json:"name"`
	Text   *string  `json:"text,omitempty"`
	Scalar *float64 `json:"scalar,omitempty"`
}

// newUnused begins to tell where it is asked for; nil: it is not.
func (c *call) newUnused() *unused {
	if !slices.Contains(c.query()["embed"], "lastUnusedOffers") {
		return nil
	}
	u := &unused{c: c, left: unusedApps}
	if c.rights.May("list", "", "nodes", object.Key{}) {
		u.snap = c.door.store.Snapshot()
	}
	return u
}

// embed adds what there is to tell to an app's item of the queue.
func (u *unused) embed(a *marathon.App, item map[string]any) {
	if u == nil {
		return
	}
	out := []unusedOffer{}
	if pod := u.waits(a); pod != nil {
		u.left--
		out = u.offers(pod)
	}
	item["lastUnusedOffers"] = out
}

// waits returns a pod of the app that has no node; nil: there is none, or no more is told.
func (u *unused) waits(a *marathon.App) *corev1.Pod {
	if u.snap == nil || u.left == 0 {
		return nil
	}
	for row := range tables.Pods.By(u.snap, tables.OwnerIndex, string(a.UID)) {
		if h := row.Head(); h.Owner == a.UID && h.Node == "" && !h.Ended() && !h.Deleting {
			return row.Object()
		}
	}
	return nil
}

func (u *unused) offers(pod *corev1.Pod) []unusedOffer {
	out, now := []unusedOffer{}, marathon.Stamp(time.Now())
	for name, why := range u.c.door.cfg.Refusals(u.snap, pod) {
		node, ok := tables.Nodes.Get(u.snap, object.Key{Name: name})
		if !ok || len(why) == 0 {
			continue
		}
		one := unusedOffer{Offer: u.node(node), Reason: []string{}, Timestamp: now}
		for _, text := range why {
			if reason := reasonOf(text); reason != "" && !slices.Contains(one.Reason, reason) {
				one.Reason = append(one.Reason, reason)
			}
		}
		if out = append(out, one); len(out) == unusedNodes {
			break
		}
	}
	return out
}

// node tells what is free of a node.
func (u *unused) node(n *corev1.Node) offerInfo {
	out := offerInfo{ID: n.Name, Hostname: n.Name, Attributes: []attribute{}}
	if address := mesos.Address(n); address != "" {
		out.Hostname = address
	}
	agent, ok := tables.MesosAgent(u.snap, n.Name)
	if ok {
		out.AgentID = agent.Status.ID
		for _, a := range mesos.Attributes(n, agent) {
			one := attribute{Name: a.GetName()}
			switch {
			case a.GetType() == mesosv1.Value_SCALAR:
				value := a.GetScalar().GetValue()
				one.Scalar = &value
			case a.Text != nil:
				one.Text = a.Text.Value
			}
			out.Attributes = append(out.Attributes, one)
		}
	}
	can, _ := object.CapacityOf(n.Status.Allocatable)
	for row := range tables.Pods.By(u.snap, tables.PodsByNode, n.Name) {
		if h := row.Head(); !h.Ended() {
			can.CPUMilli -= h.Demand.CPUMilli
			can.MemoryBytes -= h.Demand.MemoryBytes
			can.EphemeralBytes -= h.Demand.EphemeralBytes
		}
	}
	for _, r := range []resource.Resource{
		resource.Of(resource.CPUs, can.CPUMilli), resource.Of(resource.Mem, resource.Megabytes(can.MemoryBytes)), resource.Of(resource.Disk, resource.Megabytes(can.EphemeralBytes)),
	} {
		out.Resources = append(out.Resources, scalar{r.Name, mesos.Everyone, resource.Number(max(0, r.Scalar))})
	}
	return out
}
