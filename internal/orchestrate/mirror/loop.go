package mirror

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"trireme/internal/object"
	"trireme/internal/orchestrate/reap"
	"trireme/internal/store"
	"trireme/internal/tables"
)

const (
	manager = "endpointslicemirroring-controller.k8s.io"
	// managedBy is what the loop of services with a selector writes on Endpoints.
	managedBy = "endpoints.kubernetes.io/managed-by"
	// leader marks Endpoints that are nothing but a lock.
	leader = "control-plane.alpha.kubernetes.io/leader"
)

// Loop mirrors Endpoints.
type Loop struct {
	slices map[object.Key]object.Key // ours, to the Endpoints they mirror
}

// New returns the loop.
func New() *Loop { return &Loop{} }

// The methods of loop.Reconciler.

func (l *Loop) Name() string { return "orchestrate/endpointmirror" }

func (l *Loop) Reads() []store.TableID {
	return []store.TableID{tables.Endpoints.ID(), tables.Services.ID(), tables.EndpointSlices.ID(), tables.Namespaces.ID()}
}

func (l *Loop) Writes() []store.TableID { return []store.TableID{tables.EndpointSlices.ID()} }

func (l *Loop) Reconcile(tx *store.Tx) (next time.Time, err error) {
	if tx.FullPass() {
		l.slices = map[object.Key]object.Key{}
	}
	dirty := map[object.Key]bool{}
	for key := range tables.EndpointSlices.Changed(tx) {
		if of, known := l.slices[key]; known {
			dirty[of] = true
			delete(l.slices, key)
		}
		if row, ok := tables.EndpointSlices.Row(tx, key); ok {
			if of, ours := mirrorOf(row.Object()); ours {
				l.slices[key] = of
				dirty[of] = true
			}
		}
	}
	for key := range tables.Endpoints.Changed(tx) {
		dirty[key] = true
	}
	for key := range tables.Services.Changed(tx) {
		dirty[key] = true
	}
	keys := make([]object.Key, 0, len(dirty))
	for k := range dirty {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, object.Key.Compare)
	for _, key := range keys {
		l.sync(tx, key)
	}
	return time.Time{}, nil
}

func mirrorOf(s *discoveryv1.EndpointSlice) (object.Key, bool) {
	return object.Key{Namespace: s.Namespace, Name: s.Labels[discoveryv1.LabelServiceName]}, s.Labels[discoveryv1.LabelManagedBy] == manager
}

// wanted returns the Endpoints at key if they are to be mirrored.
func wanted(tx *store.Tx, key object.Key) *corev1.Endpoints {
	e, ok := tables.Endpoints.Get(tx, key)
	if !ok || e.DeletionTimestamp != nil || e.Labels[managedBy] != "" || e.Labels[discoveryv1.LabelSkipMirror] == "true" || e.Annotations[leader] != "" {
		return nil
	}
	svc, ok := tables.Services.Get(tx, key)
	if !ok || len(svc.Spec.Selector) > 0 || reap.Terminating(tx, key.Namespace) {
		return nil
	}
	return e
}

// sync makes the slices of the Endpoints at key what they should be.
func (l *Loop) sync(tx *store.Tx, key object.Key) {
	var want []*discoveryv1.EndpointSlice
	e := wanted(tx, key)
	if e != nil {
		want = mirrored(e)
	}
	for _, k := range l.of(key) {
		have, ok := tables.EndpointSlices.Get(tx, k)
		if !ok {
			delete(l.slices, k)
			continue
		}
		i := slices.IndexFunc(want, func(w *discoveryv1.EndpointSlice) bool {
			return w.AddressType == have.AddressType && equality.Semantic.DeepEqual(w.Ports, have.Ports) && e.UID == ownerOf(have)
		})
		if i < 0 {
			tables.EndpointSlices.Delete(tx, k)
			delete(l.slices, k)
			continue
		}
		next := have.DeepCopy()
		next.Labels, next.Annotations, next.Endpoints = want[i].Labels, want[i].Annotations, want[i].Endpoints
		if !equality.Semantic.DeepEqual(have, next) {
			next.Generation++
			tables.EndpointSlices.Put(tx, next)
		}
		want = slices.Delete(want, i, i+1)
	}
	for _, w := range want {
		k := newKey(tx, key)
		w.Namespace, w.Name, w.GenerateName, w.Generation = k.Namespace, k.Name, key.Name+"-", 1
		tables.EndpointSlices.Put(tx, w)
		l.slices[k] = key
	}
}

// of returns the keys of the slices that mirror the Endpoints at key, in order.
func (l *Loop) of(key object.Key) (keys []object.Key) {
	for k, of := range l.slices {
		if of == key {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, object.Key.Compare)
	return keys
}

func newKey(tx *store.Tx, of object.Key) object.Key {
	for {
		key := object.Key{Namespace: of.Namespace, Name: tx.NewName(of.Name + "-")}
		if _, taken := tables.EndpointSlices.Row(tx, key); !taken {
			return key
		}
	}
}
