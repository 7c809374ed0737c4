package schedule

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
	"trireme/internal/schedule/gang"
	"trireme/internal/schedule/queue"
	"trireme/internal/schedule/room"
	"trireme/internal/schedule/volumes"
	"trireme/internal/share"
	"trireme/internal/store"
)

// placed is a pod that a trial has put on a node, or for which it keeps room there.
type placed struct {
	gang.Member
	cl *class
	n  *node
	u  *use
}

// trial is one try to find nodes for a gang. It changes the cell; undo puts it back.
type trial struct {
	s       *Scheduler
	domain  *gang.Place
	evicts  bool // it keeps room for all, and takes from others what it lacks
	classes map[uint64]*class
	got     []placed
	gave    []*use // room that was kept for members, and is not while it is tried
	victims []victim
	why     string // somebody has no node
}

type victim struct {
	u  *use
	by *corev1.Pod
}

// try puts as many of the pods on nodes as are needed, or as fit.
func (s *Scheduler) try(tx *store.Tx, d *gang.Place, list []gang.Member, need int, evicts bool) *trial {
	t := &trial{s: s, domain: d, evicts: evicts, classes: map[uint64]*class{}}
	for _, m := range list {
		if len(t.got) < need {
			t.seat(tx, m)
		}
	}
	return t
}

// seat finds a node for the pod.
func (t *trial) seat(tx *store.Tx, m gang.Member) {
	c := t.s.cell
	cl := t.classes[m.Kind]
	if cl == nil {
		cl = newClass(tx, c.effective(m.Row), c)
		cl.domain = t.domain
		t.classes[m.Kind] = cl
	}
	n := cl.promisedNode()
	if n == nil {
		n = cl.nominatedNode(c, m.Key)
	}
	if kept := c.nominated[m.Key]; kept != nil {
		c.unnominate(m.Key)
		t.gave = append(t.gave, kept)
	}
	if n == nil || !cl.asks(n) {
		n = cl.best(c)
	}
	if n == nil && t.evicts {
		if best := t.s.cheapest(tx, cl, m.Key); best != nil {
			n = best.node
			for _, u := range best.victims {
				u.leaving = true
				t.s.budgets.Spend(tx, u.key, 1)
				t.victims = append(t.victims, victim{u, m.Row})
			}
		}
	}
	if n == nil {
		t.why = cl.why
		return
	}
	if len(cl.dynamic) > 0 && !t.evicts {
		numbers, ok := n.Choose(tx, m.Row.UID, cl.dynamic)
		if !ok {
			t.why = room.NoPorts
			return
		}
		m.Row = object.AssignPorts(m.Row, cl.dynamic, numbers)
	}
	u := useOf(cl, m.Row)
	if t.evicts {
		c.keep(n, u)
	} else {
		c.take(n, u)
	}
	t.got = append(t.got, placed{m, cl, n, u})
}

// looksAround reports whether more than nodes that get better may let in who has no node.
func (t *trial) looksAround() bool {
	for _, cl := range t.classes {
		if cl.near != nil || cl.volumes != nil {
			return true
		}
	}
	return strings.Contains(t.why, roomLent)
}

// undo puts the cell back.
func (t *trial) undo(tx *store.Tx) {
	for _, g := range t.got {
		if t.evicts {
			t.s.cell.unnominate(g.Key)
		} else {
			t.s.cell.remove(g.u)
		}
	}
	t.spare(tx)
	for _, u := range t.gave {
		t.s.cell.keep(t.s.cell.node(u.node.name), u)
	}
}

// spare takes back that the victims leave.
func (t *trial) spare(tx *store.Tx) {
	for _, v := range t.victims {
		v.u.leaving = false
		t.s.budgets.Spend(tx, v.u.key, -1)
	}
}

// commit writes the nodes of all. Where a volume has to be made or chosen first it puts the cell back and returns that.
func (t *trial) commit(tx *store.Tx, l *queue.Line, g *gang.Group) (wait string) {
	s := t.s
	for _, m := range t.got {
		why, fresh := m.cl.settleVolumes(tx, m.n)
		if !fresh {
			why = volumes.NoneToBind
		}
		if wait == "" {
			wait = why
		}
	}
	if wait != "" {
		t.undo(tx)
		return wait
	}
	l.Placed()
	for _, m := range t.got {
		s.queue.Leave(m.Key)
		s.spare = share.Plus(s.spare, m.cl.demand, -1)
		s.write(tx, m.Row, m.Pod, verdict{node: m.n.name})
		s.gangs.Place(m.Key, g.Key.Name, m.n.name)
	}
	for _, u := range t.gave {
		if s.cell.improve(u.node); s.queue.Pod(u.key) != nil {
			s.promise(tx, u.key, "")
		}
	}
	s.regroup(tx)
	return ""
}

// evict deletes the victims, and keeps the room for the gang.
func (t *trial) evict(tx *store.Tx) {
	t.spare(tx)
	for _, v := range t.victims {
		t.s.evict(tx, v.u, v.by)
	}
	for _, m := range t.got {
		t.s.outbid(tx, m.n, m.cl.priority)
		t.s.promise(tx, m.Key, m.n.name)
	}
}
