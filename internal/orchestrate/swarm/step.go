package swarm

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/moby/moby/api/types/swarm"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	ours "trireme/internal/object/swarm"
	"trireme/internal/orchestrate/reap"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/tell"
)

// teller is whom events come from.
const teller = "swarm-orchestrator"

// retryRefused is when a pod is tried again that was refused, such as by quota.
const retryRefused = 10 * time.Second

// step is one look at a service.
type step struct {
	loop *Loop
	tx   *store.Tx
	svc  *ours.Service // shared
	key  object.Key
	room int       // writes of pods that are left to this step
	next time.Time // when to look again; zero: when something changes

	generation string
	slots      map[string]*slot
	nodes      map[string]*corev1.Node // of a global service, by slot
	found      []ours.File             // that it refers to; nil: not looked for yet
}

// task is a pod of the service.
type task struct {
	key  object.Key
	head *tables.PodHead
}

// slot is a place for one task.
type slot struct {
	name  string
	live  []task // to run or running, oldest first
	going []task // being deleted
	ended []task // oldest first
}

func (s *step) run() error {
	s.generation = s.svc.Generation()
	if reap.Terminating(s.tx, s.key.Namespace) {
		return nil
	}
	s.endpoints()
	s.gather()
	wanted := s.wanted()
	s.drop(wanted)
	update := s.update(wanted)
	for _, name := range wanted {
		s.fill(s.slots[name])
	}
	s.forget()
	return s.write(update)
}

func (s *step) wake(at time.Time) {
	if s.next.IsZero() || at.Before(s.next) {
		s.next = at
	}
}

// gather sorts the service's pods into slots.
func (s *step) gather() {
	s.slots = map[string]*slot{}
	for row := range tables.Pods.By(s.tx, tables.OwnerIndex, string(s.svc.UID)) {
		h := row.Head()
		if h.Owner != s.svc.UID {
			continue
		}
		t, sl := task{row.Key(), h}, s.slot(h.Labels[ours.SlotLabel])
		switch {
		case h.Deleting:
			sl.going = append(sl.going, t)
		case h.Ended():
			sl.ended = append(sl.ended, t)
		default:
			sl.live = append(sl.live, t)
		}
	}
	for _, sl := range s.slots {
		slices.SortFunc(sl.live, older)
		slices.SortFunc(sl.ended, older)
	}
}

func older(a, b task) int {
	return cmp.Or(a.head.Created.Compare(b.head.Created), a.key.Compare(b.key))
}

func (s *step) slot(name string) *slot {
	if s.slots[name] == nil {
		s.slots[name] = &slot{name: name}
	}
	return s.slots[name]
}

// wanted returns the slots that are to have a task, in order.
func (s *step) wanted() []string {
	n, replicated := s.svc.Replicas()
	if !replicated {
		return s.wantedNodes()
	}
	var have []string
	for name, sl := range s.slots {
		if len(sl.live) > 0 {
			have = append(have, name)
		}
	}
	if len(have) > n {
		s.rank(have)
		have = have[:n]
	}
	// Slots whose task has ended go on before others are begun.
	for _, ended := range []bool{true, false} {
		for i := 1; len(have) < n && i <= n+len(s.slots); i++ {
			name := strconv.Itoa(i)
			sl := s.slots[name]
			if slices.Contains(have, name) || ended != (sl != nil && len(sl.ended) > 0) {
				continue
			}
			s.slot(name)
			have = append(have, name)
		}
	}
	slices.SortFunc(have, byNumber)
	return have
}

func byNumber(a, b string) int {
	return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
}

// rank orders slots by what their loss costs, the dearest first: those that run, those
// on nodes with few tasks of the service, the lowest number.
func (s *step) rank(names []string) {
	crowd := map[string]int{}
	for _, name := range names {
		crowd[s.slots[name].live[0].head.Node]++
	}
	runs := func(name string) int {
		if s.slots[name].live[0].head.Ready {
			return 0
		}
		return 1
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(
			cmp.Compare(runs(a), runs(b)),
			cmp.Compare(crowd[s.slots[a].live[0].head.Node], crowd[s.slots[b].live[0].head.Node]),
			byNumber(a, b),
		)
	})
}

// drop ends the tasks of slots that are not wanted, and takes their history away.
func (s *step) drop(wanted []string) {
	for _, name := range slices.Sorted(maps.Keys(s.slots)) {
		if sl := s.slots[name]; !slices.Contains(wanted, name) {
			for _, t := range slices.Concat(sl.live, sl.ended) {
				s.end(t)
			}
			sl.live, sl.ended = nil, nil
		}
	}
}

func (s *step) end(t task) {
	if reap.Delete(s.tx, tables.Pods, t.key, metav1.DeletePropagationBackground) {
		s.room--
	}
}

// forget takes away what a slot has more than its history.
func (s *step) forget() {
	for _, name := range slices.Sorted(maps.Keys(s.slots)) {
		sl := s.slots[name]
		keep := max(ours.HistoryMax-max(len(sl.live), 1), 0)
		for _, t := range sl.ended[:max(len(sl.ended)-keep, 0)] {
			s.end(t)
		}
	}
}

// fill gives an empty slot a task.
func (s *step) fill(sl *slot) {
	if len(sl.live) == 0 && !s.blocked(sl) {
		s.start(sl)
	}
}

// start puts a new task into the slot, when it is time.
func (s *step) start(sl *slot) {
	if s.room <= 0 {
		s.loop.agenda.Mark(s.key)
		return
	}
	if len(sl.ended) > 0 {
		at, again := s.restartAt(sl)
		if !again {
			return
		}
		if s.tx.Now().Before(at) {
			s.wake(at)
			return
		}
	}
	s.make(sl)
}

// blocked reports whether a task that is on its way out still has the slot. On a node
// that is away nobody knows when it ends.
func (s *step) blocked(sl *slot) bool {
	return slices.ContainsFunc(sl.going, func(t task) bool {
		n, ok := tables.Nodes.Get(s.tx, object.Key{Name: t.head.Node})
		return ok && object.NodeReady(n)
	})
}

// restartAt says when a task may take the place of the last one that ended in the slot;
// false: never, until the service is changed.
func (s *step) restartAt(sl *slot) (time.Time, bool) {
	last := sl.ended[len(sl.ended)-1]
	if last.head.Labels[ours.GenerationLabel] != s.generation {
		return time.Time{}, true
	}
	p := s.svc.Spec.TaskTemplate.RestartPolicy
	if p == nil {
		p = &swarm.RestartPolicy{}
	}
	failed := last.head.Phase == corev1.PodFailed
	if p.Condition == swarm.RestartPolicyConditionNone || p.Condition == swarm.RestartPolicyConditionOnFailure && !failed {
		return time.Time{}, false
	}
	if p.MaxAttempts != nil && *p.MaxAttempts > 0 && s.attempts(sl, p.Window) > int(*p.MaxAttempts) {
		return time.Time{}, false
	}
	delay := defaultRestartDelay
	if p.Delay != nil {
		delay = *p.Delay
	}
	return ended(last).Add(delay), true
}

// defaultRestartDelay is how long a slot waits (Docker Engine API, RestartPolicy).
const defaultRestartDelay = 5 * time.Second

// attempts counts the tasks of this generation that ended in the slot, those within the
// window where there is one: the first of them is no attempt to start again.
func (s *step) attempts(sl *slot, window *time.Duration) (n int) {
	for _, t := range sl.ended {
		if t.head.Labels[ours.GenerationLabel] != s.generation {
			continue
		}
		if window == nil || *window <= 0 || s.tx.Now().Sub(ended(t)) < *window {
			n++
		}
	}
	return n
}

// ended returns when the task ended, as well as it is known.
func ended(t task) time.Time {
	if t.head.EndedAt.IsZero() {
		return t.head.Created
	}
	return t.head.EndedAt
}

func (s *step) tell(kind, reason, message string) {
	if row, ok := tables.CustomObjects.Row(s.tx, tables.SwarmKey(s.key)); ok {
		tell.Once(s.tx, tables.CustomObjects, row.Object(), tell.Event{From: teller, Type: kind, Reason: reason, Message: message})
	}
}

func (s *step) warn(reason, message string) { s.tell(corev1.EventTypeWarning, reason, message) }

// make puts a new pod into the slot.
func (s *step) make(sl *slot) {
	if err := s.tryMake(sl); err != nil {
		s.wake(s.tx.Now().Add(retryRefused))
		s.warn("FailedCreate", fmt.Sprintf("task %s.%s cannot be made: %v", s.svc.Spec.Name, sl.name, err))
	}
}
