package replicaset

import (
	"iter"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/tell"
)

// noun is a kind of set, seen as a ReplicaSet.
type noun struct {
	name    string // of the loop
	teller  string // of its events
	id      store.TableID
	gvk     schema.GroupVersionKind
	ending  bool // its status counts pods on their way out
	changed func(*store.Tx) iter.Seq[object.Key]
	// get returns the set; it is shared.
	get func(store.Reader, object.Key) (*appsv1.ReplicaSet, bool)
	// put replaces the set's status.
	put  func(*store.Tx, object.Key, appsv1.ReplicaSetStatus)
	tell func(*store.Tx, object.Key, tell.Event)
}

// replicaSets is the noun as it is.
func replicaSets() noun {
	t := tables.ReplicaSets
	return noun{
		name: "orchestrate/replicaset", teller: "replicaset-controller", id: t.ID(), gvk: t.GVK(), ending: true,
		changed: t.Changed, get: t.Get,
		put: func(tx *store.Tx, key object.Key, st appsv1.ReplicaSetStatus) {
			if rs, ok := t.Get(tx, key); ok {
				next := rs.DeepCopy()
				next.Status = st
				t.Put(tx, next)
			}
		},
		tell: func(tx *store.Tx, key object.Key, e tell.Event) {
			if rs, ok := t.Get(tx, key); ok {
				tell.About(tx, t, rs, e)
			}
		},
	}
}

// replicationControllers is the older noun, which differs in two words: its
// selector is a plain map, and its conditions have a type of their own.
func replicationControllers() noun {
	t := tables.ReplicationControllers
	return noun{
		name: "orchestrate/replicationcontroller", teller: "replication-controller", id: t.ID(), gvk: t.GVK(),
		changed: t.Changed,
		get: func(r store.Reader, key object.Key) (*appsv1.ReplicaSet, bool) {
			rc, ok := t.Get(r, key)
			if !ok {
				return nil, false
			}
			return asReplicaSet(rc), true
		},
		put: func(tx *store.Tx, key object.Key, st appsv1.ReplicaSetStatus) {
			if rc, ok := t.Get(tx, key); ok {
				next := rc.DeepCopy()
				next.Status = fromStatus(st)
				t.Put(tx, next)
			}
		},
		tell: func(tx *store.Tx, key object.Key, e tell.Event) {
			if rc, ok := t.Get(tx, key); ok {
				tell.About(tx, t, rc, e)
			}
		},
	}
}

func asReplicaSet(rc *corev1.ReplicationController) *appsv1.ReplicaSet {
	rs := &appsv1.ReplicaSet{ObjectMeta: rc.ObjectMeta}
	rs.Spec.Replicas, rs.Spec.MinReadySeconds = rc.Spec.Replicas, rc.Spec.MinReadySeconds
	rs.Spec.Selector = &metav1.LabelSelector{MatchLabels: rc.Spec.Selector}
	if rc.Spec.Template != nil {
		rs.Spec.Template = *rc.Spec.Template
	}
	st := &rc.Status
	rs.Status = appsv1.ReplicaSetStatus{
		Replicas: st.Replicas, FullyLabeledReplicas: st.FullyLabeledReplicas, ReadyReplicas: st.ReadyReplicas,
		AvailableReplicas: st.AvailableReplicas, ObservedGeneration: st.ObservedGeneration,
	}
	for _, c := range st.Conditions {
		rs.Status.Conditions = append(rs.Status.Conditions, appsv1.ReplicaSetCondition{
			Type: appsv1.ReplicaSetConditionType(c.Type), Status: c.Status, LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message,
		})
	}
	return rs
}

func fromStatus(st appsv1.ReplicaSetStatus) corev1.ReplicationControllerStatus {
	out := corev1.ReplicationControllerStatus{
		Replicas: st.Replicas, FullyLabeledReplicas: st.FullyLabeledReplicas, ReadyReplicas: st.ReadyReplicas,
		AvailableReplicas: st.AvailableReplicas, ObservedGeneration: st.ObservedGeneration,
	}
	for _, c := range st.Conditions {
		out.Conditions = append(out.Conditions, corev1.ReplicationControllerCondition{
			Type: corev1.ReplicationControllerConditionType(c.Type), Status: c.Status, LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message,
		})
	}
	return out
}
