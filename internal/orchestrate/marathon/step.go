package marathon

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	ours "trireme/internal/object/marathon"
	"trireme/internal/orchestrate/reap"
	"trireme/internal/orchestrate/sow"
	"trireme/internal/rollout"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/tell"
)

// teller is whom events come from.
const teller = "marathon"

// retryRefused is when an instance is tried again that was refused, such as by quota.
const retryRefused = 10 * time.Second

// step is one look at an app.
type step struct {
	loop *Apps
	tx   *store.Tx
	app  *ours.App // shared
	key  object.Key
	room int       // writes of pods that are left to this step
	next time.Time // when to look again; zero: when something changes

	d          *ours.Definition // that instances follow now
	generation string
	status     ours.Status
	model      *corev1.Pod // of a new instance; nil: not made yet
	live       []instance  // to run or running
	going      []instance  // on their way out
	ended      []instance  // by themselves, oldest first
}

// instance is a pod of the app.
type instance struct {
	key  object.Key
	head *tables.PodHead
	away bool // its node is
}

func (s *step) run() error {
	if reap.Terminating(s.tx, s.key.Namespace) {
		return nil
	}
	s.status = s.app.Status
	s.d = &s.app.Spec
	if h := s.loop.holding(s.app); h != nil && !h.Reached(s.app.Spec.ID) {
		if s.d = s.app.Status.Applied; s.d == nil {
			return nil
		}
	}
	if err := s.loop.bad[s.key]; err != nil && s.d == &s.app.Spec {
		s.warn("Invalid", err.Error())
		return nil
	}
	s.generation = s.d.Generation()
	s.gather()
	s.count()
	s.forget()
	settled := s.size()
	s.endpoints()
	if s.d == &s.app.Spec {
		s.ingress()
		s.autoscale()
	}
	s.status.Applied, s.status.Settled = s.d, ""
	s.status.Replicas, s.status.Selector = int32(len(s.live)), ours.AppLabel+"="+s.key.Name
	if settled && s.d == &s.app.Spec {
		s.status.Settled = s.app.Spec.Version
	}
	return s.write()
}

func (s *step) wake(at time.Time) {
	if s.next.IsZero() || at.Before(s.next) {
		s.next = at
	}
}

// gather sorts the app's pods.
func (s *step) gather() {
	for row := range tables.Pods.By(s.tx, tables.OwnerIndex, string(s.app.UID)) {
		i := instance{key: row.Key(), head: row.Head()}
		if i.head.Owner != s.app.UID {
			continue
		}
		since, away := s.awaySince(i.head.Node)
		i.away = away
		switch {
		case i.head.Ended() && !i.head.Deleting:
			s.ended = append(s.ended, i)
		case i.head.Deleting:
			s.going = append(s.going, i)
		case away && s.inactive(since):
			s.going = append(s.going, i)
		case !away && s.stuck(i):
			s.remove(i)
			s.going = append(s.going, i)
		default:
			s.live = append(s.live, i)
		}
	}
	slices.SortFunc(s.ended, func(a, b instance) int {
		return cmp.Or(endOf(a).Compare(endOf(b)), a.key.Compare(b.key))
	})
	slices.SortFunc(s.live, func(a, b instance) int {
		return cmp.Or(a.head.Created.Compare(b.head.Created), a.key.Compare(b.key))
	})
}

// awaySince returns since when the node is away; false: it is not, or there is none.
func (s *step) awaySince(node string) (time.Time, bool) {
	if node == "" {
		return time.Time{}, false
	}
	n, ok := tables.Nodes.Get(s.tx, object.Key{Name: node})
	if !ok {
		return time.Time{}, true
	}
	return object.NodeReadySince(&n.Status), !object.NodeReady(n)
}

// inactive reports whether an instance that is away so long is replaced.
func (s *step) inactive(since time.Time) bool {
	if s.d.Unreachable.Disabled {
		return false
	}
	at := since.Add(time.Duration(s.d.Unreachable.InactiveAfterSeconds) * time.Second)
	if s.tx.Now().Before(at) {
		s.wake(at)
		return false
	}
	return true
}

// stagingMax is how long an instance may be about to run (§12, launch timeout).
const stagingMax = 5 * time.Minute

// stuck reports whether an instance that has a node does not come to run there.
func (s *step) stuck(i instance) bool {
	if i.head.Node == "" || i.head.Phase != corev1.PodPending {
		return false
	}
	from := i.head.Created
	if !s.tx.Now().Before(from.Add(stagingMax)) { // it may have waited for its node
		if p, ok := tables.Pods.Get(s.tx, i.key); ok {
			if c := object.PodCondition(p, corev1.PodScheduled); c != nil && c.Status == corev1.ConditionTrue {
				from = c.LastTransitionTime.Time
			}
		}
	}
	at := from.Add(stagingMax)
	if s.tx.Now().Before(at) {
		s.wake(at)
		return false
	}
	return true
}

// endOf returns when the instance ended, as well as it is known.
func endOf(i instance) time.Time {
	if i.head.EndedAt.IsZero() {
		return i.head.Created
	}
	return i.head.EndedAt
}

// policy maps the upgrade strategy (§12). Where it leaves no room to move at all, an app may
// exceed by one; one with volumes of its own gives one up.
func (s *step) policy() rollout.Policy {
	n, u := s.d.Count(), s.d.UpgradeStrategy
	healthy := int(math.Ceil(float64(n)**u.MinimumHealthCapacity - 1e-9))
	most := int(math.Floor(float64(n)*(1+*u.MaximumOverCapacity) + 1e-9))
	p := rollout.Policy{Desired: n, Surge: most - n, Unavailable: n - healthy}
	if p.Surge == 0 && p.Unavailable == 0 {
		if s.d.Resident() {
			p.Unavailable = 1
		} else {
			p.Surge = 1
		}
	}
	return p
}

// size starts and ends instances, and reports whether all is as it should be.
func (s *step) size() bool {
	fresh := rollout.Group{Name: s.generation, New: true}
	old := rollout.Group{Name: "old"}
	for _, i := range s.live {
		g := &old
		if s.current(i) {
			g = &fresh
		}
		g.Size++
		g.Existing++
		if i.head.Ready && !i.away {
			g.Available++
		}
	}
	in := rollout.Input{Policy: s.policy(), Groups: []rollout.Group{old, fresh}, Now: s.tx.Now()}
	plan := rollout.Step(in)
	s.end(old.Size-plan.Sizes[0], func(i instance) bool { return !s.current(i) })
	s.end(fresh.Size-plan.Sizes[1], s.current)
	s.start(plan.Sizes[1] - fresh.Size)
	if !plan.Next.IsZero() {
		s.wake(plan.Next)
	}
	leaving := slices.ContainsFunc(s.going, func(i instance) bool { return !i.away })
	return !leaving && old.Size == 0 && fresh.Size == s.d.Count() && fresh.Available == s.d.Count()
}

func (s *step) current(i instance) bool { return i.head.Labels[ours.GenerationLabel] == s.generation }

// end ends so many of the instances that are chosen: those that do least, and of equals
// those that the app's kill selection says (§11).
func (s *step) end(n int, chosen func(instance) bool) {
	if n <= 0 {
		return
	}
	victims := slices.DeleteFunc(slices.Clone(s.live), func(i instance) bool { return !chosen(i) })
	rank := func(i instance) int {
		switch {
		case i.away:
			return 0
		case i.head.Node == "":
			return 1
		case i.head.Phase != corev1.PodRunning:
			return 2
		case !i.head.Ready:
			return 3
		}
		return 4
	}
	crowd := s.crowds()
	slices.SortStableFunc(victims, func(a, b instance) int {
		age := a.head.Created.Compare(b.head.Created)
		if s.d.KillSelection != "OLDEST_FIRST" {
			age = -age
		}
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(crowd[b.key], crowd[a.key]), age, a.key.Compare(b.key))
	})
	for _, i := range victims[:min(n, len(victims))] {
		s.remove(i)
	}
}

// crowds ranks instances by how many others of the app were on their node before them, so
// that those that end leave the rest spread.
func (s *step) crowds() map[object.Key]int {
	onNode, before := map[string]int{}, map[object.Key]int{}
	for _, i := range s.live {
		before[i.key] = onNode[i.head.Node]
		onNode[i.head.Node]++
	}
	return before
}

func (s *step) remove(i instance) {
	if reap.Delete(s.tx, tables.Pods, i.key, metav1.DeletePropagationBackground) {
		s.room--
	}
}

// start makes so many new instances, when it is time.
func (s *step) start(n int) {
	if n <= 0 {
		return
	}
	if b := s.status.Backoff; b != nil && b.Generation == s.generation && s.tx.Now().Before(b.Until.Time) {
		s.wake(b.Until.Time)
		return
	}
	for range n {
		if s.room <= 0 {
			s.loop.agenda.Mark(s.key)
			return
		}
		if err := s.make(); err != nil {
			s.wake(s.tx.Now().Add(retryRefused))
			s.warn("FailedCreate", fmt.Sprintf("an instance of %s cannot be made: %v", s.d.ID, err))
			return
		}
	}
}

// make puts a new pod.
func (s *step) make() error {
	if s.model == nil {
		template, err := s.d.Template()
		if err != nil {
			return err
		}
		model := sow.FromTemplate(s.app, ours.AppKind, template)
		if err := s.loop.rules.Ready(s.tx, model); err != nil {
			return err
		}
		s.model = model
	}
	pod := *s.model // shallow: what instances share is not changed
	if s.d.Resident() {
		slot, free := s.slot()
		if !free {
			return nil // one that is on its way out has it
		}
		if err := s.settle(&pod, slot); err != nil {
			return err
		}
	}
	pod.UID = s.tx.NewID()
	prefix := s.key.Name + "-"
	for pod.Name = s.tx.NewName(prefix); s.taken(&pod); {
		pod.Name = s.tx.NewName(prefix)
	}
	if err := s.loop.rules.Put(s.tx, &pod); err != nil {
		return err
	}
	s.room--
	s.loop.pods[object.KeyOf(&pod)] = s.key
	return nil
}

func (s *step) taken(pod *corev1.Pod) bool {
	key := object.KeyOf(pod)
	_, ok := tables.Pods.Row(s.tx, key)
	return ok || tables.Pods.Removed(s.tx, key)
}

// write writes how the app stands, if that is news.
func (s *step) write() error {
	if equality.Semantic.DeepEqual(s.app.Status, s.status) {
		return nil
	}
	tree, err := ours.Tree(s.status)
	if err != nil {
		return err
	}
	at := tables.MarathonKey(ours.Apps, s.key)
	row, ok := tables.CustomObjects.Row(s.tx, at)
	if !ok {
		return nil
	}
	next := row.Object().DeepCopy()
	if equality.Semantic.DeepEqual(next.Object["status"], tree) {
		return nil
	}
	next.Object["status"] = tree
	tables.CustomObjects.PutAt(s.tx, at, next)
	return nil
}

func (s *step) warn(reason, message string) {
	if row, ok := tables.CustomObjects.Row(s.tx, tables.MarathonKey(ours.Apps, s.key)); ok {
		tell.Once(s.tx, tables.CustomObjects, row.Object(), tell.Event{From: teller, Type: corev1.EventTypeWarning, Reason: reason, Message: message})
	}
}
