package swarm

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

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

	label, current string // the label of tasks of what the service is now, and its value
	placement      *ours.Placement
	alike          bool        // its tasks differ in nothing but their slots
	model          *corev1.Pod // of tasks that are alike; nil: not made yet
	slots          map[string]*slot
	nodes          map[string]*corev1.Node // of a service with a task on every node, those wanted, by slot
	known          map[string]bool         // of such a service: the slots of all nodes
	found          []ours.File             // that it refers to; nil: not looked for yet
	moves          bool                    // some of its tasks are to be moved
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
	going []task // on their way out
	ended []task // by themselves, oldest first
	kept  []task // that were ended, oldest first
}

func (s *step) run() error {
	if reap.Terminating(s.tx, s.key.Namespace) {
		return nil
	}
	s.label, s.current = s.svc.Current()
	s.alike = s.svc.Alike()
	var err error
	if s.placement, err = s.svc.Placement(); err != nil { // doors refuse it
		s.warn("FailedCreate", err.Error())
		return nil
	}
	s.endpoints()
	s.autoscale()
	if s.svc.Job() {
		return s.runJob()
	}
	s.gather()
	wanted := s.wanted()
	s.drop(wanted)
	s.leave()
	update := s.update(wanted)
	s.move(wanted, update)
	for _, name := range wanted {
		s.fill(s.slots[name])
	}
	s.forget()
	return s.write(ours.Status{Update: update})
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
		switch standOf(h) {
		case going:
			sl.going = append(sl.going, t)
		case kept:
			sl.kept = append(sl.kept, t)
		case over:
			sl.ended = append(sl.ended, t)
		case live:
			sl.live = append(sl.live, t)
			s.moves = s.moves || moves(h)
		}
	}
	for _, sl := range s.slots {
		slices.SortFunc(sl.live, older)
		slices.SortFunc(sl.ended, older)
	}
	s.release()
}

// stand is how a task stands in its slot.
type stand uint8

// The stands.
const (
	live  stand = iota // it runs or is to
	going              // on its way out
	over               // it ended by itself
	kept               // it was ended, and stays as history
)

func standOf(h *tables.PodHead) stand {
	shut := h.Labels[ours.DesiredLabel] == ours.Shutdown
	switch {
	case h.Deleting, shut && !h.Ended():
		return going
	case shut:
		return kept
	case h.Ended():
		return over
	}
	return live
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
	is := set(have)
	// Slots whose task has ended go on before others are begun.
	for _, ended := range []bool{true, false} {
		for i := 1; len(have) < n && i <= n+len(s.slots); i++ {
			name := strconv.Itoa(i)
			sl := s.slots[name]
			if is[name] || ended != (sl != nil && len(sl.ended) > 0) {
				continue
			}
			s.slot(name)
			have, is[name] = append(have, name), true
		}
	}
	slices.SortFunc(have, byNumber)
	return have
}

func set(names []string) map[string]bool {
	is := make(map[string]bool, len(names))
	for _, name := range names {
		is[name] = true
	}
	return is
}

func byNumber(a, b string) int {
	return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
}

// rank orders slots by what their loss costs, the dearest first: those that run, the first
// of each node before the second of any, the lowest number.
func (s *step) rank(names []string) {
	runs := func(name string) int {
		if s.slots[name].live[0].head.Ready {
			return 0
		}
		return 1
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(runs(a), runs(b)), byNumber(a, b)) })
	onNode, before := map[string]int{}, map[string]int{} // of each slot, how many its node has before it
	for _, name := range names {
		node := s.slots[name].live[0].head.Node
		before[name] = onNode[node]
		onNode[node]++
	}
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(runs(a), runs(b)), cmp.Compare(before[a], before[b])) })
}

// fill gives an empty slot a task, unless its node takes none.
func (s *step) fill(sl *slot) {
	if n := s.nodes[sl.name]; len(sl.live) > 0 || s.blocked(sl) || n != nil && !mayRun(n) {
		return
	}
	s.start(sl)
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
