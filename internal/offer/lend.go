package offer

import (
	"container/heap"
	"time"

	"google.golang.org/protobuf/proto"

	"trireme/internal/loop"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/object"
	"trireme/internal/object/mesos"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Capabilities that say what a framework can be offered.
const (
	gpuCap        = mesosv1.FrameworkInfo_Capability_GPU_RESOURCES
	sharedCap     = mesosv1.FrameworkInfo_Capability_SHARED_RESOURCES
	revocableCap  = mesosv1.FrameworkInfo_Capability_REVOCABLE_RESOURCES
	refinementCap = mesosv1.FrameworkInfo_Capability_RESERVATION_REFINEMENT
	regionCap     = mesosv1.FrameworkInfo_Capability_REGION_AWARE
)

// lend makes the offers that can be made and returns when to look again.
func (l *Loop) lend(tx *store.Tx) time.Time {
	now := tx.Now()
	all := !now.Before(l.cycled.Add(l.cfg.Interval))
	if all {
		l.cycled = now
	}
	more := l.engine.Cycle(all, loop.StepWritesMax, func(m Made) string {
		o := &mesos.Offer{
			Framework: m.Framework, Role: m.Role, Node: m.Agent.Node, Agent: m.Agent.ID,
			Resources: m.List.AllocatedTo(m.Role).Messages(true), Unavailability: m.Agent.Unavailability, Made: now,
		}
		o.Name = l.nextID(tx)
		tables.MesosOffers.Put(tx, o)
		return o.Name
	})
	next := l.deadlines.next()
	if more {
		return now
	}
	if again := l.cycled.Add(l.cfg.Interval); l.engine.Later() && (next.IsZero() || again.Before(next)) {
		next = again
	}
	return next
}

// nextID returns an id that no offer has had: numbers begin with the time, so that those of two
// leaders do not meet.
func (l *Loop) nextID(tx *store.Tx) string {
	for {
		l.last = max(l.last+1, tx.Now().UnixMicro())
		id := mesos.OfferID(l.master, l.last)
		if _, ok := tables.MesosOffers.Row(tx, object.Key{Name: id}); !ok {
			return id
		}
	}
}

// expire rescinds offers that were not answered in time, and forgets refusals whose time is over.
func (l *Loop) expire(tx *store.Tx) {
	for id, at := l.deadlines.due(tx.Now()); id != ""; id, at = l.deadlines.due(tx.Now()) {
		o, ok := tables.MesosOffers.Get(tx, object.Key{Name: id})
		if !ok || o.Inverse && !o.Refused {
			continue // an inverse offer stands until it is answered or its reason is gone
		}
		if due := o.Until; o.Refused && due.After(at) || !o.Refused && o.Made.Add(l.cfg.Timeout).After(at) {
			continue // it was changed; that time is noted
		}
		l.takeBack(tx, id)
	}
}

// ask makes an inverse offer to each framework that has something of an agent that is going to be
// unavailable, and takes back those whose reason is gone.
func (l *Loop) ask(tx *store.Tx) {
	for _, name := range sorted(l.inverse) {
		if n := l.nodes[name]; n != nil && n.row != nil && n.agent != nil {
			l.askNode(tx, n)
		}
	}
}

func (l *Loop) askNode(tx *store.Tx, n *node) {
	want := map[string]bool{}
	if n.agent.Spec.Unavailability.M != nil && n.agent.Status.ID != "" {
		for _, u := range n.pods {
			if id, ok := l.ids[u.framework]; ok {
				want[id] = true
			}
		}
		if a := l.engine.agents[n.name]; a != nil {
			for _, o := range a.lent {
				want[o.Framework] = true
			}
		}
	}
	for row := range tables.MesosOffers.By(tx, tables.MesosByNode, n.name) {
		o := row.Object()
		if !o.Inverse {
			continue
		}
		if !want[o.Framework] {
			l.takeBack(tx, o.Name)
		}
		delete(want, o.Framework)
	}
	if n.agent.Spec.Unavailability.M == nil {
		delete(l.inverse, n.name)
	}
	for _, id := range sorted(want) {
		if l.frameworks[id] == nil {
			continue
		}
		o := &mesos.Offer{Framework: id, Node: n.name, Agent: n.agent.Status.ID, Inverse: true, Unavailability: n.agent.Spec.Unavailability.M, Made: tx.Now()}
		o.Name = l.nextID(tx)
		tables.MesosOffers.Put(tx, o)
	}
}

func sameTime(a, b *mesosv1.Unavailability) bool { return a == b || proto.Equal(a, b) }

// deadlines are when offers are due, the first one first. One that is no longer so stays until it
// comes to the top.
type deadlines []deadline

type deadline struct {
	at time.Time
	id string
}

// Len implements heap.Interface.
func (d deadlines) Len() int { return len(d) }

// Less implements heap.Interface.
func (d deadlines) Less(i, j int) bool {
	if !d[i].at.Equal(d[j].at) {
		return d[i].at.Before(d[j].at)
	}
	return d[i].id < d[j].id
}

// Swap implements heap.Interface.
func (d deadlines) Swap(i, j int) { d[i], d[j] = d[j], d[i] }

// Push implements heap.Interface.
func (d *deadlines) Push(x any) { *d = append(*d, x.(deadline)) }

// Pop implements heap.Interface.
func (d *deadlines) Pop() any {
	last := (*d)[len(*d)-1]
	*d = (*d)[:len(*d)-1]
	return last
}

func (d *deadlines) at(t time.Time, id string) { heap.Push(d, deadline{t, id}) }

// due takes out who is due, "" where nobody is.
func (d *deadlines) due(now time.Time) (id string, at time.Time) {
	if len(*d) == 0 || now.Before((*d)[0].at) {
		return "", time.Time{}
	}
	first := heap.Pop(d).(deadline)
	return first.id, first.at
}

func (d deadlines) next() time.Time {
	if len(d) == 0 {
		return time.Time{}
	}
	return d[0].at
}
