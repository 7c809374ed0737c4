package endpoints

import (
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"

	"trireme/internal/object"
	"trireme/internal/orchestrate/reap"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Loop is the control loop of endpoints.
type Loop struct {
	services map[object.Key]*service
	byLabel  map[string]map[*service]bool // by namespace and one label of the selector
	memberOf map[object.Key][]*service    // of pods
	slices   map[object.Key]*service      // whose slice it is
	dirty    map[*service]bool
	delayed  map[*service]bool // whose old form waits for its time
	zones    map[string]string // of the nodes that have one
}

// New returns the loop.
func New() *Loop { return &Loop{} }

// The methods of loop.Reconciler.

func (l *Loop) Name() string { return "orchestrate/endpoints" }

func (l *Loop) Reads() []store.TableID {
	return []store.TableID{
		tables.Services.ID(), tables.Pods.ID(), tables.EndpointSlices.ID(), tables.Endpoints.ID(), tables.Namespaces.ID(),
		tables.Nodes.ID(),
	}
}

func (l *Loop) Writes() []store.TableID {
	return []store.TableID{tables.EndpointSlices.ID(), tables.Endpoints.ID()}
}

func (l *Loop) Reconcile(tx *store.Tx) (next time.Time, err error) {
	if tx.FullPass() {
		*l = Loop{
			map[object.Key]*service{}, map[string]map[*service]bool{}, map[object.Key][]*service{},
			map[object.Key]*service{}, map[*service]bool{}, map[*service]bool{}, map[string]string{},
		}
	}
	l.observeNodes(tx)
	for key := range tables.Services.Changed(tx) {
		l.observeService(tx, key)
	}
	for key := range tables.Pods.Changed(tx) {
		l.observePod(tx, key)
	}
	l.observeOutput(tx)
	for key := range tables.Namespaces.Changed(tx) {
		for k, s := range l.services {
			if k.Namespace == key.Name {
				l.dirty[s] = true
			}
		}
	}
	for _, s := range slices.SortedFunc(maps.Keys(l.dirty), compare) {
		if tx.Now().Before(s.syncAt) {
			next = earlier(next, s.syncAt)
			continue
		}
		delete(l.dirty, s)
		if reap.Terminating(tx, s.key.Namespace) {
			continue
		}
		if n := s.sync(tx, l.slices); n > burst {
			s.syncAt = tx.Now().Add(time.Duration(n) * pace)
		}
		l.delayed[s] = true
	}
	for _, s := range slices.SortedFunc(maps.Keys(l.delayed), compare) {
		if tx.Now().Before(s.legacyAt) {
			next = earlier(next, s.legacyAt)
			continue
		}
		s.syncLegacy(tx)
		delete(l.delayed, s)
	}
	return next, nil
}

// A step that wrote many slices of one service is not followed by another at
// once: pods that start by the thousand would have every slice written in every
// tick. A few slices never wait.
const (
	burst = 4
	pace  = 5 * time.Millisecond // a slice written
)

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

func compare(a, b *service) int { return a.key.Compare(b.key) }

// observeService takes in a service that changed.
func (l *Loop) observeService(tx *store.Tx, key object.Key) {
	if old := l.services[key]; old != nil {
		svc, ok := tables.Services.Get(tx, key)
		if ok && old.same(svc) {
			return // its status changed, or where it answers: not who
		}
		l.forget(old)
	}
	svc, ok := tables.Services.Get(tx, key)
	if !ok {
		remove(tx, key)
		return
	}
	if len(svc.Spec.Selector) == 0 || svc.Spec.Type == corev1.ServiceTypeExternalName {
		return
	}
	s := newService(svc)
	l.services[key] = s
	if l.byLabel[s.label] == nil {
		l.byLabel[s.label] = map[*service]bool{}
	}
	l.byLabel[s.label][s] = true
	l.dirty[s] = true
	for _, slice := range s.load(tx) {
		l.slices[slice] = s
	}
	if tx.FullPass() {
		return // every pod is looked at anyway
	}
	for row := range tables.Pods.Rows(tx, key.Namespace) {
		if s.selector.Matches(labels.Set(row.Head().Labels)) {
			l.observePod(tx, row.Key())
		}
	}
}

// observeNodes notes in which zone nodes are, and looks again at the pods of those
// that moved.
func (l *Loop) observeNodes(tx *store.Tx) {
	for key := range tables.Nodes.Changed(tx) {
		zone := ""
		if n, ok := tables.Nodes.Get(tx, key); ok {
			zone = n.Labels[corev1.LabelTopologyZone]
		}
		if zone == l.zones[key.Name] {
			continue
		}
		if l.zones[key.Name] = zone; zone == "" {
			delete(l.zones, key.Name)
		}
		if tx.FullPass() {
			continue
		}
		for row := range tables.Pods.By(tx, tables.PodsByNode, key.Name) {
			l.observePod(tx, row.Key())
		}
	}
}

func (l *Loop) forget(s *service) {
	delete(l.services, s.key)
	delete(l.byLabel[s.label], s)
	if len(l.byLabel[s.label]) == 0 {
		delete(l.byLabel, s.label)
	}
	delete(l.dirty, s)
	delete(l.delayed, s)
	for pod := range s.members {
		l.leave(pod, s)
	}
	maps.DeleteFunc(l.slices, func(_ object.Key, of *service) bool { return of == s })
}

func (l *Loop) leave(pod object.Key, s *service) {
	if l.memberOf[pod] = object.Without(l.memberOf[pod], s); l.memberOf[pod] == nil {
		delete(l.memberOf, pod)
	}
}

// remove deletes what was written for a service that is gone.
func remove(tx *store.Tx, key object.Key) {
	if ep, ok := tables.Endpoints.Get(tx, key); ok && ep.Labels[legacyManagedBy] == legacyManager {
		tables.Endpoints.Delete(tx, key)
	}
	var gone []object.Key
	for row := range tables.EndpointSlices.Rows(tx, key.Namespace) {
		if o := row.Object(); ours(o) && o.Labels[discoveryv1.LabelServiceName] == key.Name {
			gone = append(gone, row.Key())
		}
	}
	for _, k := range gone {
		tables.EndpointSlices.Delete(tx, k)
	}
}

// observePod takes in a pod that changed.
func (l *Loop) observePod(tx *store.Tx, key object.Key) {
	row, ok := tables.Pods.Row(tx, key)
	var now []*service
	if ok {
		now = l.matching(key.Namespace, row.Head().Labels)
	}
	for _, s := range l.memberOf[key] {
		if !slices.Contains(now, s) {
			s.drop(key)
			l.dirty[s] = true
		}
	}
	delete(l.memberOf, key)
	if len(now) == 0 {
		return
	}
	l.memberOf[key] = now
	for _, s := range now {
		if s.take(key, row, l.zones[row.Head().Node]) {
			l.dirty[s] = true
		}
	}
}

// matching returns the services that select a pod with these labels.
func (l *Loop) matching(ns string, have map[string]string) []*service {
	var out []*service
	for k, v := range have {
		for s := range l.byLabel[label(ns, k, v)] {
			if s.selector.Matches(labels.Set(have)) {
				out = append(out, s)
			}
		}
	}
	return out
}

// observeOutput notices what others did to our slices and endpoints.
func (l *Loop) observeOutput(tx *store.Tx) {
	for key := range tables.EndpointSlices.Changed(tx) {
		o, ok := tables.EndpointSlices.Get(tx, key)
		if s := l.slices[key]; s != nil && s.disturbed(key, o, ok) {
			l.dirty[s] = true
		}
	}
	for key := range tables.Endpoints.Changed(tx) {
		if s := l.services[key]; s != nil {
			l.dirty[s] = true
		}
	}
}
