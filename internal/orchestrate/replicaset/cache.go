package replicaset

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object"
	"trireme/internal/orchestrate/own"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// counts are a set's pods by what they are. Active pods have neither ended nor
// been asked to; the others but ending are parts of active. Unseen are those that are
// under review.
type counts struct{ active, unseen, labeled, ready, available, ending int }

func (c *counts) add(d counts, sign int) {
	c.active += sign * d.active
	c.unseen += sign * d.unseen
	c.labeled += sign * d.labeled
	c.ready += sign * d.ready
	c.available += sign * d.available
	c.ending += sign * d.ending
}

// set is what the loop knows of one set.
type set struct {
	uid        types.UID
	key        object.Key
	generation int64
	selector   labels.Selector // nil: matches nothing
	template   labels.Set
	minReady   time.Duration

	count  counts
	next   time.Time           // when the next ready pod becomes available
	told   time.Time           // when its status was written last
	strays map[object.Key]bool // pods it owns and does not select
	adopts map[object.Key]bool // pods it selects that had no owner when last seen
}

// take reads the set's spec and reports whether its pods must be counted anew.
func (s *set) take(rs *appsv1.ReplicaSet) (recount bool) {
	if s.template != nil && s.generation == rs.Generation {
		return false
	}
	s.generation = rs.Generation
	s.template = labels.Set(rs.Spec.Template.Labels)
	if s.template == nil {
		s.template = labels.Set{}
	}
	s.minReady = time.Duration(rs.Spec.MinReadySeconds) * time.Second
	s.selector = nil
	if sel, err := metav1.LabelSelectorAsSelector(rs.Spec.Selector); err == nil && !sel.Empty() {
		s.selector = sel
	}
	return true
}

func (s *set) matches(l map[string]string) bool {
	return s.selector != nil && s.selector.Matches(labels.Set(l))
}

// one returns what a pod adds to the set's counts, and when that changes by
// itself; zero: never.
func (s *set) one(h *tables.PodHead, now time.Time) (c counts, at time.Time) {
	switch {
	case h.Ended():
		return c, at
	case h.Deleting:
		c.ending = 1
		return c, at
	}
	c.active = 1
	if h.UnderReview {
		c.unseen = 1
		return c, at
	}
	if contains(h.Labels, s.template) {
		c.labeled = 1
	}
	if h.Ready {
		c.ready = 1
		if at = h.ReadySince.Add(s.minReady); s.minReady == 0 || !now.Before(at) {
			c.available, at = 1, time.Time{}
		}
	}
	return c, at
}

func contains(have, want map[string]string) bool {
	for k, v := range want {
		if have[k] != v {
			return false
		}
	}
	return true
}

// cache is everything the loop keeps between steps.
type cache struct {
	sets      map[types.UID]*set
	byKey     map[object.Key]*set
	namespace map[string]map[types.UID]*set
	pods      map[object.Key]podState
	orphans   map[string]map[object.Key]bool // pods without a controller, by namespace
	waiting   map[types.UID]*set             // sets whose next is set
}

// podState is what a pod last added to its owner's counts.
type podState struct {
	owner types.UID
	count counts
}

func newCache() cache {
	return cache{
		sets: map[types.UID]*set{}, byKey: map[object.Key]*set{}, namespace: map[string]map[types.UID]*set{},
		pods: map[object.Key]podState{}, orphans: map[string]map[object.Key]bool{},
		waiting: map[types.UID]*set{},
	}
}

func (c *cache) inNamespace(ns string) map[types.UID]*set {
	if c.namespace[ns] == nil {
		c.namespace[ns] = map[types.UID]*set{}
	}
	return c.namespace[ns]
}

func (c *cache) forget(s *set) {
	delete(c.sets, s.uid)
	delete(c.waiting, s.uid)
	delete(c.byKey, s.key)
	delete(c.namespace[s.key.Namespace], s.uid)
}

// observePod takes in a pod that changed and marks the sets it concerns.
func (l *Loop) observePod(tx *store.Tx, key object.Key) {
	was := l.pods[key]
	if s := l.sets[was.owner]; s != nil {
		s.count.add(was.count, -1)
		delete(s.strays, key)
		l.dirty[was.owner] = true
	}
	delete(l.pods, key)
	delete(l.orphans[key.Namespace], key)
	row, ok := tables.Pods.Row(tx, key)
	if !ok {
		return
	}
	h := row.Head()
	if h.Owner == "" {
		l.orphan(key, h)
		return
	}
	s := l.sets[h.Owner]
	if s == nil {
		return // not ours; a set that comes later counts its pods itself
	}
	l.count(s, key, h, tx.Now())
	l.dirty[h.Owner] = true
}

// count adds a pod to its set.
func (l *Loop) count(s *set, key object.Key, h *tables.PodHead, now time.Time) {
	c, at := s.one(h, now)
	s.count.add(c, 1)
	l.pods[key] = podState{s.uid, c}
	if !at.IsZero() && (s.next.IsZero() || at.Before(s.next)) {
		s.next = at
		l.waiting[s.uid] = s
	}
	if c.active == 1 && !s.matches(h.Labels) {
		mark(&s.strays, key)
	}
}

// orphan remembers a pod that some set may adopt.
func (l *Loop) orphan(key object.Key, h *tables.PodHead) {
	if h.Deleting || h.Ended() {
		return
	}
	if l.orphans[key.Namespace] == nil {
		l.orphans[key.Namespace] = map[object.Key]bool{}
	}
	l.orphans[key.Namespace][key] = true
	for uid, s := range l.namespace[key.Namespace] {
		if s.matches(h.Labels) {
			mark(&s.adopts, key)
			l.dirty[uid] = true
		}
	}
}

func mark(m *map[object.Key]bool, key object.Key) {
	if *m == nil {
		*m = map[object.Key]bool{}
	}
	(*m)[key] = true
}

// look finds the orphans that a set whose spec is new may adopt.
func (l *Loop) look(tx *store.Tx, s *set) {
	s.adopts = nil
	for key := range l.orphans[s.key.Namespace] {
		if row, ok := tables.Pods.Row(tx, key); ok && s.matches(row.Head().Labels) {
			mark(&s.adopts, key)
		}
	}
}

// recount counts a set's pods from their heads.
func (l *Loop) recount(tx *store.Tx, s *set) {
	s.count, s.next, s.strays = counts{}, time.Time{}, nil
	for row := range tables.Pods.By(tx, tables.OwnerIndex, string(s.uid)) {
		if h := row.Head(); h.Owner == s.uid {
			l.count(s, row.Key(), h, tx.Now())
		}
	}
}

// mature counts anew the sets in which a pod has been ready for long enough.
func (l *Loop) mature(tx *store.Tx) {
	for uid, s := range l.waiting {
		if tx.Now().Before(s.next) {
			continue
		}
		delete(l.waiting, uid)
		l.recount(tx, s)
		l.dirty[uid] = true
	}
}

// next returns when the next pod of any set becomes available, or a set is to
// try again to make one, or to write its status.
func (l *Loop) next() (next time.Time) {
	sooner := func(at time.Time) {
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	for _, s := range l.waiting {
		sooner(s.next)
	}
	for _, at := range l.retry {
		sooner(at)
	}
	for _, at := range l.held {
		sooner(at)
	}
	return next
}

// claim adopts the orphans that the set selects and releases the pods of its own
// that it does not select any more. It returns how many pods it wrote.
func (l *Loop) claim(tx *store.Tx, s *set, rs *appsv1.ReplicaSet, budget int) (wrote int) {
	claim := own.Claim{
		Owner:   object.ControllerRef(rs, l.noun.gvk),
		Selects: func(h *tables.PodHead) bool { return !h.Ended() && s.matches(h.Labels) },
	}
	for _, key := range object.SortedKeys(s.strays) {
		if wrote < budget && claim.Release(tx, key) {
			wrote++
		}
	}
	for _, key := range object.SortedKeys(s.adopts) {
		if wrote >= budget {
			return wrote
		}
		delete(s.adopts, key)
		if claim.Adopt(tx, key) {
			wrote++
		}
	}
	return wrote
}
