package schedule

import (
	"cmp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/loop"
	"trireme/internal/object"
	"trireme/internal/object/mesos"
	"trireme/internal/share"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/tell"
)

// Config configures the scheduler. The zero value is useful.
type Config struct {
	// Name is the spec.schedulerName it serves. Empty: default-scheduler.
	Name string
}

const (
	// placesMax is how many pods one step places, so that others get their turn.
	placesMax = 2000
	// classesMax bounds the classes kept between steps.
	classesMax = 512
)

// Scheduler is the loop.
type Scheduler struct {
	cfg     Config
	cell    *cell
	classes map[uint64]*class
	queue   map[object.Key]*waiting
	budgets map[string][]*budget // that victims were asked about in this step, by namespace
	step    uint64               // number of this step
	lent    []*lent              // offers, in order; nil: nobody asked yet in this step
	spare   object.Demand        // what nobody has, where guarantees are to be kept
}

// waiting is a pod without a node.
type waiting struct {
	key      object.Key
	uid      types.UID
	class    uint64
	priority int32
	created  time.Time
	gated    bool
	accepted bool // it is of a framework, which was lent the room for it
	tenant   *share.Node
	bound    bool // a limit or a guarantee spoke against it
	// since is the cell's mark when no node took it; it is not looked at again
	// before the cell has improved. -1: not tried yet.
	since int
}

// New returns the scheduler.
func New(cfg Config) *Scheduler {
	if cfg.Name == "" {
		cfg.Name = corev1.DefaultSchedulerName
	}
	s := &Scheduler{cfg: cfg}
	s.reset()
	return s
}

var _ loop.Reconciler = (*Scheduler)(nil)

func (s *Scheduler) reset() {
	s.cell, s.classes, s.queue = newCell(), map[uint64]*class{}, map[object.Key]*waiting{}
}

func (s *Scheduler) Name() string { return "schedule/pods" }

func (s *Scheduler) Reads() []store.TableID {
	return []store.TableID{
		tables.Pods.ID(), tables.Nodes.ID(), tables.PersistentVolumes.ID(), tables.PersistentVolumeClaims.ID(), tables.StorageClasses.ID(),
		tables.PodDisruptionBudgets.ID(), tables.CSINodes.ID(), tables.CSIDrivers.ID(), tables.CSIStorageCapacities.ID(), tables.Services.ID(),
		tables.CustomObjects.ID(), tables.Namespaces.ID(), tables.MesosOffers.ID(),
	}
}

func (s *Scheduler) Writes() []store.TableID {
	return []store.TableID{tables.Pods.ID(), tables.PersistentVolumes.ID(), tables.PersistentVolumeClaims.ID(), tables.Events.ID()}
}

// Reconcile takes in what changed and places the pods that wait, the most important first, and
// of these the oldest of the tenant that stands lowest.
func (s *Scheduler) Reconcile(tx *store.Tx) (time.Time, error) {
	s.takeIn(tx)
	if len(s.classes) > classesMax {
		s.classes = map[uint64]*class{}
		s.cell.near.Sweep(s.cell.everyPod())
	}
	s.budgets, s.lent = map[string][]*budget{}, nil
	s.step++
	next := s.cell.age(tx.Now())
	if len(s.cell.guaranteed) > 0 {
		s.spare = s.cell.spare()
	}
	if s.cell.moved {
		s.cell.moved = false
		for _, w := range s.queue {
			if w.bound {
				w.since, w.bound = -1, false
			}
		}
	}
	turns := &turns{cell: s.cell, list: s.ready()}
	defer turns.end()
	left := placesMax
	for w := turns.next(); w != nil && left > 0; w = turns.next() {
		p, ok := tables.Pods.Get(tx, w.key)
		if !ok {
			s.forget(w.key)
			continue
		}
		left -= s.place(tx, p, w)
	}
	if len(s.queue) == 0 {
		next = time.Time{}
	}
	return next, nil
}

// takeIn brings cell and queue up to the tables.
func (s *Scheduler) takeIn(tx *store.Tx) {
	switch {
	case tx.FullPass():
		s.reset()
		s.cell.readTenants(tx)
	case !s.settled(tx):
		s.cell.readTenants(tx)
		for _, w := range s.queue {
			w.since, w.tenant = -1, s.cell.tenant(tx, w.key.Namespace)
		}
		s.classes = map[uint64]*class{}
	}
	s.cell.setNamespaces(tx, tables.Namespaces.Changed(tx))
	for key := range tables.Nodes.Changed(tx) {
		n, _ := tables.Nodes.Get(tx, key)
		s.cell.setNode(key.Name, n)
	}
	for key := range tables.CustomObjects.Changed(tx) {
		if plural, name, ok := tables.IsMesos(key); ok && plural == mesos.Agents.Resource {
			s.cell.setAgent(tx, name)
		}
	}
	for key := range tables.MesosOffers.Changed(tx) {
		o, _ := tables.MesosOffers.Get(tx, key)
		s.cell.setOffer(tx, key.Name, o)
	}
	for key := range tables.CSINodes.Changed(tx) {
		n, _ := tables.CSINodes.Get(tx, key)
		s.cell.setLimits(key.Name, n)
	}
	for key := range tables.Pods.Changed(tx) {
		row, ok := tables.Pods.Row(tx, key)
		if !ok {
			s.cell.setPod(tx, key, nil)
			s.forget(key)
			continue
		}
		h := row.Head()
		s.cell.setPod(tx, key, h)
		if !h.Waits {
			s.forget(key)
			continue
		}
		s.enqueue(tx, row.Object(), key)
	}
	s.takeInVolumes(tx)
	s.meet(tx)
}

func (s *Scheduler) enqueue(tx *store.Tx, p *corev1.Pod, key object.Key) {
	if p.Spec.SchedulerName != s.cfg.Name {
		s.forget(key)
		return
	}
	s.cell.near.Expect(p)
	w := &waiting{
		key: key, uid: p.UID, class: s.cell.keyOf(p), priority: object.PodPriority(p), created: p.CreationTimestamp.Time,
		gated: len(p.Spec.SchedulingGates) > 0, since: -1, tenant: s.cell.tenant(tx, p.Namespace),
	}
	if w.accepted = accepted(p); w.accepted {
		delete(s.cell.slow, p.Labels[mesos.FrameworkLabel])
	}
	if old := s.queue[key]; old != nil && old.uid == w.uid && old.class == w.class && old.gated == w.gated {
		w.since, w.bound = old.since, old.bound // our own write of its condition
	}
	s.queue[key] = w
	s.cell.nominate(p)
	if s.classes[w.class] == nil {
		s.classes[w.class] = newClass(tx, p, s.cell)
	}
}

// forget drops a pod that waits for no node, and what was kept for it.
func (s *Scheduler) forget(key object.Key) {
	delete(s.queue, key)
	if n := s.cell.unnominate(key); n != nil {
		s.cell.improve(n)
	}
}

// ready returns the pods worth trying, in the order of the queue.
func (s *Scheduler) ready() []*waiting {
	var list []*waiting
	for _, w := range s.queue {
		if w.since != s.cell.mark() {
			list = append(list, w)
		}
	}
	slices.SortFunc(list, func(a, b *waiting) int {
		if c := cmp.Compare(b.priority, a.priority); c != 0 {
			return c
		}
		if a.accepted != b.accepted {
			if a.accepted {
				return -1
			}
			return 1
		}
		if c := a.created.Compare(b.created); c != 0 {
			return c
		}
		return cmp.Compare(a.key.String(), b.key.String())
	})
	return list
}

// place gives the pod a node, or says why it has none and makes room for it if it
// may. It returns what that cost of the step, 0 if it wrote nothing.
func (s *Scheduler) place(tx *store.Tx, p *corev1.Pod, w *waiting) (cost int) {
	cond := corev1.PodCondition{
		Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Time{Time: tx.Now().Truncate(time.Second)},
	}
	name, nominated := "", p.Status.NominatedNodeName
	if len(p.Spec.SchedulingGates) > 0 {
		cond.Status, cond.Reason, cond.Message = corev1.ConditionFalse, corev1.PodReasonSchedulingGated, "Scheduling is blocked due to non-empty scheduling gates"
		w.since = s.cell.mark()
	} else if cl, n, why := s.choose(tx, p, w); n != nil {
		name, nominated = n.name, ""
		if len(cl.dynamic) > 0 {
			numbers, _ := choosePorts(tx, n, p.UID, cl.dynamic)
			p = object.AssignPorts(p, cl.dynamic, numbers)
		}
		s.cell.take(n, useOf(cl, p))
		s.spare = share.Plus(s.spare, cl.demand, -1)
		if kept := s.cell.unnominate(w.key); kept != nil && kept != n {
			s.cell.improve(kept)
		}
	} else {
		cond.Status, cond.Reason, cond.Message = corev1.ConditionFalse, corev1.PodReasonUnschedulable, why
		w.since = s.cell.mark() // before evictions, which may give it room at once
		if cl != nil {
			nominated, cost = s.preempt(tx, p, cl)
		}
	}
	// A shallow copy: rows are immutable, what is not changed is shared.
	next := *p
	next.Status.Conditions = slices.Clone(p.Status.Conditions)
	said := !object.SetPodCondition(&next, cond)
	if said && name == "" && nominated == p.Status.NominatedNodeName {
		return cost
	}
	next.Spec.NodeName, next.Status.NominatedNodeName = name, nominated
	if name != "" {
		delete(s.queue, w.key)
	}
	tables.Pods.Put(tx, &next)
	if !said || name != "" {
		s.tell(tx, &next, cond)
	}
	return cost + 1
}

func useOf(cl *class, p *corev1.Pod) *use {
	return &use{
		key: object.KeyOf(p), uid: p.UID, demand: cl.demand, owner: cl.owner, ports: object.HostPorts(p), claims: claimKeys(p),
		created: p.CreationTimestamp.Unix(), priority: cl.priority, tenant: cl.tenant, near: cl.cell.near.Of(p.Namespace, p.Labels, cl.company()),
	}
}

// choose finds the pod its node and binds the claims that waited for that; nil:
// it says why there is none yet. The class is nil where to evict other pods would
// not help.
func (s *Scheduler) choose(tx *store.Tx, p *corev1.Pod, w *waiting) (*class, *node, string) {
	for range 2 {
		cl := s.classes[w.class]
		if cl == nil {
			cl = newClass(tx, p, s.cell)
			s.classes[w.class] = cl
		}
		if why := s.cell.bound(cl.tenant, cl.demand, s.spare); why != "" {
			w.bound = true
			return nil, nil, why
		}
		n := cl.promisedNode()
		if n == nil {
			n = cl.nominatedNode(s.cell, w.key)
		}
		if n == nil {
			n = cl.best(s.cell)
		}
		if n == nil && s.reclaim(cl, cl.tenant) {
			n = cl.best(s.cell)
		}
		if n == nil {
			return cl, nil, cl.why
		}
		wait, fresh := cl.settleVolumes(tx, n)
		switch {
		case wait != "":
			return nil, nil, wait
		case fresh:
			if _, ok := choosePorts(tx, n, p.UID, cl.dynamic); !ok {
				return nil, nil, noPorts
			}
			return cl, n, ""
		}
		delete(s.classes, w.class) // another pod took a volume in this very step
	}
	return nil, nil, noneToBind
}

// tell says in an event where the pod goes, or why nowhere.
func (s *Scheduler) tell(tx *store.Tx, p *corev1.Pod, c corev1.PodCondition) {
	if strings.HasPrefix(c.Message, waitingFor) {
		return // the claims' events tell
	}
	e := tell.Event{From: s.cfg.Name, Type: corev1.EventTypeWarning, Reason: "FailedScheduling", Message: c.Message}
	if p.Spec.NodeName != "" {
		e.Type, e.Reason = corev1.EventTypeNormal, "Scheduled"
		e.Message = "Successfully assigned " + object.KeyOf(p).String() + " to " + p.Spec.NodeName
	}
	tell.About(tx, tables.Pods, p, e)
}
