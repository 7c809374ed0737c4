package schedule

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/loop"
	"trireme/internal/object"
	"trireme/internal/object/mesos"
	"trireme/internal/schedule/budget"
	"trireme/internal/schedule/gang"
	"trireme/internal/schedule/profile"
	"trireme/internal/schedule/queue"
	"trireme/internal/schedule/room"
	"trireme/internal/schedule/volumes"
	"trireme/internal/share"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/tell"
)

// Config configures the scheduler. The zero value is useful.
type Config struct {
	// Profiles are how the pods are placed that name each as their spec.schedulerName. Empty: those of default-scheduler, by default.
	Profiles []profile.Profile
}

const (
	// placesMax is how many pods one step places, so that others get their turn.
	placesMax = 2000
	// classesMax bounds the classes kept between steps.
	classesMax = 512
	// nodesPerPlace is how many nodes that were asked in vain count as one placement.
	nodesPerPlace = 100
)

// Scheduler is the loop.
type Scheduler struct {
	cfg     Config
	cell    *cell
	classes map[uint64]*class
	queue   *queue.Queue
	gangs   *gang.Groups
	exact   int                        // as queue.New has it
	wrote   map[object.Key]*corev1.Pod // pods that wait, as the last step wrote them
	budgets budget.Step
	step    uint64        // number of this step
	lent    []*lent       // offers, in order; nil: nobody asked yet in this step
	spare   object.Demand // what nobody has, where guarantees are to be kept
}

// New returns the scheduler.
func New(cfg Config) *Scheduler {
	s := &Scheduler{cfg: cfg, exact: queue.ExactLooks}
	s.reset()
	return s
}

var _ loop.Reconciler = (*Scheduler)(nil)

func (s *Scheduler) reset() {
	s.cell, s.classes, s.queue, s.wrote = newCell(s.cfg.Profiles), map[uint64]*class{}, queue.New(s.exact), nil
	s.gangs = gang.New()
}

func (s *Scheduler) Name() string { return "schedule/pods" }

func (s *Scheduler) Reads() []store.TableID {
	return []store.TableID{
		tables.Pods.ID(), tables.Nodes.ID(), tables.PersistentVolumes.ID(), tables.PersistentVolumeClaims.ID(), tables.StorageClasses.ID(),
		tables.PodDisruptionBudgets.ID(), tables.CSINodes.ID(), tables.CSIDrivers.ID(), tables.CSIStorageCapacities.ID(), tables.Services.ID(),
		tables.CustomObjects.ID(), tables.Namespaces.ID(), tables.MesosOffers.ID(), tables.PodGroups.ID(),
	}
}

func (s *Scheduler) Writes() []store.TableID {
	return []store.TableID{tables.Pods.ID(), tables.PersistentVolumes.ID(), tables.PersistentVolumeClaims.ID(), tables.PodGroups.ID(), tables.Events.ID()}
}

// Reconcile takes in what changed and places the pods that wait, the most important first, and
// of these the oldest of the tenant that stands lowest.
func (s *Scheduler) Reconcile(tx *store.Tx) (time.Time, error) {
	s.takeIn(tx)
	if len(s.classes) > classesMax {
		s.classes = map[uint64]*class{}
		s.cell.near.Sweep(s.cell.everyPod())
	}
	s.budgets, s.lent = budget.Step{}, nil
	s.step++
	next := s.cell.age(tx.Now())
	if s.cell.bounds.Guarantee() {
		s.spare = s.cell.spare()
	}
	for _, at := range []time.Time{s.overdue(tx), s.queue.Wake(view{s.cell, s.spare}, tx.Now())} {
		if !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	s.tellOthers(tx, s.placeAll(tx))
	switch {
	case s.queue.Len() == 0:
		next = time.Time{}
	case s.queue.Waits():
		next = tx.Now()
	}
	return next, nil
}

// placeAll gives the pods whose turn it is their nodes, and returns what is left of the step.
func (s *Scheduler) placeAll(tx *store.Tx) int {
	left, failures := placesMax, queue.FailuresMax
	defer s.queue.End()
	for left > 0 {
		l := s.queue.Next(s.cell.tree, failures > 0)
		if l == nil {
			break
		}
		w := l.First()
		p, ok := tables.Pods.Get(tx, w.Key)
		if !ok {
			s.forget(w.Key)
			continue
		}
		if left -= s.place(tx, p, w); l.Shut() {
			failures -= len(s.cell.nodes)
			left -= len(s.cell.nodes) / nodesPerPlace
		}
	}
	return left
}

// takeIn brings cell and queue up to the tables.
func (s *Scheduler) takeIn(tx *store.Tx) {
	switch {
	case tx.FullPass():
		s.reset()
		s.cell.readTenants(tx)
	case !s.settled(tx):
		s.cell.readTenants(tx)
		for l := range s.queue.Lines() {
			l.Tenant = s.cell.tenant(tx, l.First().Key.Namespace)
			s.queue.Knock(l)
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
	s.takeInServices(tx)
	for key := range tables.PodGroups.Changed(tx) {
		row, _ := tables.PodGroups.Get(tx, key)
		s.gangs.Set(key, row)
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
			if h.Group != "" && h.Node != "" && !h.Deleting && h.Phase != corev1.PodFailed {
				s.gangs.Place(key, h.Group, h.Node)
			}
			continue
		}
		s.enqueue(tx, row.Object(), key)
	}
	s.takeInVolumes(tx)
	s.wrote = map[object.Key]*corev1.Pod{}
	s.regroup(tx)
	s.meet(tx)
}

const gatesClosed = "Scheduling is blocked due to non-empty scheduling gates"

// verdict is what is written of a pod.
type verdict struct {
	node        string // empty: none, for this reason
	reason, why string
	nominated   string
}

// place gives the pod, the first of its line, a node, or says why it has none and makes room for it if
// it may. It returns what that cost of the step.
func (s *Scheduler) place(tx *store.Tx, p *corev1.Pod, w *queue.Pod) (cost int) {
	l := w.Line()
	if s.together(w.Key) {
		return s.placeGang(tx, l, s.gangs.Of(w.Key))
	}
	cl, n, why := s.choose(tx, p, w)
	if n != nil {
		if len(cl.dynamic) > 0 {
			numbers, _ := n.Choose(tx, p.UID, cl.dynamic)
			p = object.AssignPorts(p, cl.dynamic, numbers)
		}
		l.Placed()
		s.queue.Leave(w.Key)
		s.cell.take(n, useOf(cl, p))
		s.spare = share.Plus(s.spare, cl.demand, -1)
		if kept := s.cell.unnominate(w.Key); kept != nil && kept != n {
			s.cell.improve(kept)
		}
		return s.write(tx, p, w, verdict{node: n.name})
	}
	by := s.obstacle(cl, l, why)
	v := verdict{reason: corev1.PodReasonUnschedulable, why: why, nominated: p.Status.NominatedNodeName}
	if cl != nil {
		v.nominated, cost = s.preempt(tx, p, cl)
	}
	cost += s.write(tx, p, w, v)
	if own := s.cell.nominated[w.Key] != nil; own != l.Own {
		s.queue.Move(w, own, func() *queue.Line { return s.lineOf(tx, s.cell.effective(p)) })
		if l = w.Line(); !own {
			return cost // the others of its class say whether it is looked at
		}
	}
	s.queue.Shut(view{s.cell, s.spare}, l, why, by)
	return cost
}

// write writes what the verdict on a pod changes, and returns how many rows that were.
func (s *Scheduler) write(tx *store.Tx, p *corev1.Pod, w *queue.Pod, v verdict) int {
	cond := corev1.PodCondition{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: v.reason, Message: v.why, LastTransitionTime: metav1.Time{Time: tx.Now().Truncate(time.Second)},
	}
	if v.node != "" {
		cond.Status = corev1.ConditionTrue
	}
	w.Told = true
	// A shallow copy: rows are immutable, what is not changed is shared.
	next := *p
	next.Status.Conditions = slices.Clone(p.Status.Conditions)
	said := !object.SetPodCondition(&next, cond)
	if said && v.node == "" && v.nominated == p.Status.NominatedNodeName {
		return 0
	}
	next.Spec.NodeName, next.Status.NominatedNodeName = v.node, v.nominated
	tables.Pods.Put(tx, &next)
	if v.node == "" {
		s.wrote[w.Key] = &next
	}
	if !said || v.node != "" {
		s.tell(tx, &next, w, cond)
	}
	return 1
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
func (s *Scheduler) choose(tx *store.Tx, p *corev1.Pod, w *queue.Pod) (*class, *node, string) {
	for range 2 {
		cl := s.classes[w.Class]
		if cl == nil {
			cl = newClass(tx, s.cell.effective(p), s.cell)
			cl.domain = s.home(s.gangs.Of(w.Key))
			s.classes[w.Class] = cl
		}
		if why := s.cell.bound(cl.tenant, cl.demand, s.spare); why != "" {
			return nil, nil, why
		}
		n := cl.promisedNode()
		if n == nil {
			n = cl.nominatedNode(s.cell, w.Key)
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
			if _, ok := n.Choose(tx, p.UID, cl.dynamic); !ok {
				return nil, nil, room.NoPorts
			}
			return cl, n, ""
		}
		delete(s.classes, w.Class) // another pod took a volume in this very step
	}
	return nil, nil, volumes.NoneToBind
}

// tell says in an event where the pod goes, or why nowhere and what would change that.
func (s *Scheduler) tell(tx *store.Tx, p *corev1.Pod, w *queue.Pod, c corev1.PodCondition) {
	if strings.HasPrefix(c.Message, volumes.WaitingFor) {
		return // the claims' events tell
	}
	e := tell.Event{From: p.Spec.SchedulerName, Type: corev1.EventTypeWarning, Reason: "FailedScheduling", Message: c.Message}
	if p.Spec.NodeName != "" {
		e.Type, e.Reason = corev1.EventTypeNormal, "Scheduled"
		e.Message = "Successfully assigned " + object.KeyOf(p).String() + " to " + p.Spec.NodeName
	} else if cl := s.classes[w.Class]; cl != nil && cl.why == c.Message && cl.hint != "" {
		e.Message += " " + cl.hint
	}
	tell.About(tx, tables.Pods, p, e)
}
