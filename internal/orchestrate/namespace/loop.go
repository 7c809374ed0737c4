package namespace

import (
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/loop"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// The objects that every namespace has.
const (
	defaultAccount = "default"
	rootCA         = "kube-root-ca.crt"
	rootCAKey      = "ca.crt"
)

// Loop is the control loop of namespaces.
type Loop struct {
	ca          string
	inside      []*store.Table[store.Object, any] // durable tables that live in namespaces
	terminating map[string]bool
}

// New returns the loop. caPEM is the cluster's CA certificate, which every
// namespace gets as a config map; empty: none does.
func New(caPEM []byte) *Loop {
	l := &Loop{ca: string(caPEM)}
	for _, t := range tables.All() {
		if t.Namespaced() && t.ID() != tables.Events.ID() {
			l.inside = append(l.inside, t)
		}
	}
	return l
}

// The methods of loop.Reconciler.

func (l *Loop) Name() string { return "orchestrate/namespace" }

func (l *Loop) Reads() []store.TableID {
	ids := []store.TableID{tables.Namespaces.ID()}
	for _, t := range l.inside {
		ids = append(ids, t.ID())
	}
	return append(ids, tables.CustomObjects.ID())
}

func (l *Loop) Writes() []store.TableID { return append(l.Reads(), tables.Events.ID()) }

func (l *Loop) Reconcile(tx *store.Tx) (next time.Time, err error) {
	if tx.FullPass() {
		l.terminating = map[string]bool{}
	}
	for _, name := range l.changed(tx) {
		ns, ok := tables.Namespaces.Get(tx, object.Key{Name: name})
		delete(l.terminating, name)
		switch {
		case !ok:
		case ns.DeletionTimestamp != nil:
			l.terminating[name] = true
		default:
			l.furnish(tx, name)
		}
	}
	budget := loop.StepWritesMax
	for _, name := range slices.Sorted(maps.Keys(l.terminating)) {
		budget -= l.clear(tx, name, budget)
		if budget <= 0 {
			break // the rest waits for the next step: this one has written
		}
	}
	return next, nil
}

// changed returns, sorted, the namespaces that changed or whose furniture did.
func (l *Loop) changed(tx *store.Tx) []string {
	names := map[string]bool{}
	for key := range tables.Namespaces.Changed(tx) {
		names[key.Name] = true
	}
	for key := range tables.ServiceAccounts.Changed(tx) {
		if key.Name == defaultAccount {
			names[key.Namespace] = true
		}
	}
	for key := range tables.ConfigMaps.Changed(tx) {
		if key.Name == rootCA {
			names[key.Namespace] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// furnish makes what every namespace has, where it is missing or differs.
func (l *Loop) furnish(tx *store.Tx, ns string) {
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: ns, Name: name} }
	if _, ok := tables.ServiceAccounts.Row(tx, object.Key{Namespace: ns, Name: defaultAccount}); !ok {
		tables.ServiceAccounts.Put(tx, &corev1.ServiceAccount{ObjectMeta: meta(defaultAccount)})
	}
	if l.ca == "" {
		return
	}
	have, ok := tables.ConfigMaps.Get(tx, object.Key{Namespace: ns, Name: rootCA})
	if ok && have.Data[rootCAKey] == l.ca {
		return
	}
	next := &corev1.ConfigMap{ObjectMeta: meta(rootCA)}
	if ok {
		next = have.DeepCopy()
	}
	next.Data = map[string]string{rootCAKey: l.ca}
	tables.ConfigMaps.Put(tx, next)
}
