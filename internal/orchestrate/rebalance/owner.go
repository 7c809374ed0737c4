package rebalance

import (
	"cmp"
	"iter"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object"
	"trireme/internal/object/marathon"
	"trireme/internal/object/swarm"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/tell"
)

// ref is where an owner is.
type ref struct {
	kind string
	key  object.Key // of its row
}

// owner has pods that may be moved.
type owner struct {
	kind            string
	uid             types.UID
	namespace, name string
	text            string // what it says of moving, or its namespace
	wants           int    // pods
	tell            func(*store.Tx, tell.Event)
}

// at returns the owner's key on the agenda.
func (o *owner) at() object.Key { return object.Key{Namespace: o.namespace, Name: string(o.uid)} }

// source is a table with owners.
type source struct {
	kind    string
	changed func(*store.Tx) iter.Seq[object.Key]
	keys    func(r store.Reader, namespace string) iter.Seq[object.Key]
	read    func(r store.Reader, key object.Key) *owner // nil: none is there
}

// sources are all.
var sources = []source{
	plain(tables.ReplicaSets, func(o *appsv1.ReplicaSet) *int32 { return o.Spec.Replicas }), // with a Deployment's annotations
	plain(tables.ReplicationControllers, func(o *corev1.ReplicationController) *int32 { return o.Spec.Replicas }),
	plain(tables.StatefulSets, func(o *appsv1.StatefulSet) *int32 { return o.Spec.Replicas }),
	{"", tables.CustomObjects.Changed, customIn, readCustom},
}

func plain[O store.Object, H any](t *store.Table[O, H], size func(O) *int32) source {
	s := source{kind: t.GVK().Kind, changed: t.Changed}
	s.keys = func(r store.Reader, namespace string) iter.Seq[object.Key] {
		return func(yield func(object.Key) bool) {
			for row := range t.Rows(r, namespace) {
				if !yield(row.Key()) {
					return
				}
			}
		}
	}
	s.read = func(r store.Reader, key object.Key) *owner {
		o, ok := t.Get(r, key)
		if !ok || o.GetDeletionTimestamp() != nil {
			return nil
		}
		out := ownerOf(s.kind, o, func(tx *store.Tx, e tell.Event) { tell.Once(tx, t, o, e) })
		if out.wants = 1; size(o) != nil {
			out.wants = int(*size(o))
		}
		return out
	}
	return s
}

func ownerOf(kind string, o metav1.Object, say func(*store.Tx, tell.Event)) *owner {
	return &owner{kind: kind, uid: o.GetUID(), namespace: o.GetNamespace(), name: o.GetName(), text: o.GetAnnotations()[object.RebalanceKey], tell: say}
}

// customIn yields the custom objects of a namespace that may be owners.
func customIn(r store.Reader, namespace string) iter.Seq[object.Key] {
	return func(yield func(object.Key) bool) {
		for row := range tables.CustomObjects.Rows(r, "") {
			if tables.ParseCustomKey(row.Key()).Key.Namespace == namespace && !yield(row.Key()) {
				return
			}
		}
	}
}

func readCustom(r store.Reader, at object.Key) *owner {
	say := func(tx *store.Tx, e tell.Event) {
		if o, ok := tables.CustomObjects.Get(tx, at); ok {
			tell.Once(tx, tables.CustomObjects, o, e)
		}
	}
	if key, ok := tables.IsSwarm(at); ok {
		svc, ok := tables.Swarm(r, key)
		if !ok || svc.DeletionTimestamp != nil || svc.Mode() != swarm.Replicated {
			return nil
		}
		o := ownerOf(swarm.Kind.Kind, svc, say)
		o.text = cmp.Or(svc.Spec.Labels[object.RebalanceKey], o.text)
		o.wants, _ = svc.Replicas()
		return o
	}
	if kind, key, ok := tables.IsMarathon(at); ok && kind == marathon.Apps {
		app, ok := tables.MarathonApp(r, key)
		if !ok || app.DeletionTimestamp != nil || app.Status.Applied == nil || app.Status.Applied.Resident() {
			return nil
		}
		o := ownerOf(marathon.AppKind.Kind, app, say)
		o.text = cmp.Or(app.Spec.Labels[object.RebalanceKey], o.text)
		o.wants = app.Status.Applied.Count()
		return o
	}
	return nil
}

// observeOwners takes in what owners and their namespaces say.
func (l *Loop) observeOwners(tx *store.Tx) {
	for key := range tables.Namespaces.Changed(tx) {
		was := l.spaces[key.Name]
		delete(l.spaces, key.Name)
		if ns, ok := tables.Namespaces.Get(tx, key); ok && ns.Annotations[object.RebalanceKey] != "" {
			l.spaces[key.Name] = ns.Annotations[object.RebalanceKey]
		}
		if l.spaces[key.Name] == was || tx.FullPass() {
			continue
		}
		for _, s := range sources {
			for at := range s.keys(tx, key.Name) {
				l.observe(tx, s, at)
			}
		}
	}
	for _, s := range sources {
		for at := range s.changed(tx) {
			l.observe(tx, s, at)
		}
	}
}

// observe takes in an owner, or that it has gone.
func (l *Loop) observe(tx *store.Tx, s source, key object.Key) {
	at := ref{s.kind, key}
	if was := l.owners[l.uids[at]]; was != nil {
		l.agenda.Take(was.at())
		delete(l.owners, was.uid)
		delete(l.moving, was.uid)
	}
	delete(l.uids, at)
	o := s.read(tx, key)
	if o == nil {
		return
	}
	if o.text = cmp.Or(o.text, l.spaces[o.namespace]); o.text == "" {
		return
	}
	l.uids[at], l.owners[o.uid] = o.uid, o
	l.agenda.Mark(o.at())
}
