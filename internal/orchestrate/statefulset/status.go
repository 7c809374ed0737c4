package statefulset

import (
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"trireme/internal/tables"
)

// writeStatus counts the set's pods as they are now and writes its status, if it
// differs from what stands.
func (s *step) writeStatus() {
	had := &s.set.Status
	st := appsv1.StatefulSetStatus{
		ObservedGeneration: s.set.Generation, CollisionCount: had.CollisionCount, Conditions: had.Conditions,
		CurrentRevision: had.CurrentRevision, UpdateRevision: had.UpdateRevision,
	}
	if s.update != nil {
		st.CurrentRevision, st.UpdateRevision = s.current.Name, s.update.Name
	}
	if c := s.history.Collisions; c != nil {
		st.CollisionCount = c
	}
	for row := range tables.Pods.By(s.tx, tables.OwnerIndex, string(s.set.UID)) {
		h := row.Head()
		if h.Owner != s.set.UID || h.UnderReview { // nobody sees it yet
			continue
		}
		st.Replicas++
		if ready(h) {
			st.ReadyReplicas++
			if s.available(h) {
				st.AvailableReplicas++
			}
		}
		if h.Deleting {
			continue
		}
		switch revision := h.Labels[appsv1.StatefulSetRevisionLabel]; {
		case revision == st.CurrentRevision && revision == st.UpdateRevision:
			st.CurrentReplicas++
			st.UpdatedReplicas++
		case revision == st.CurrentRevision:
			st.CurrentReplicas++
		case revision == st.UpdateRevision:
			st.UpdatedReplicas++
		}
	}
	if s.set.Spec.UpdateStrategy.Type != appsv1.OnDeleteStatefulSetStrategyType && s.update != nil &&
		st.UpdatedReplicas == st.Replicas && st.ReadyReplicas == st.Replicas {
		st.CurrentRevision, st.CurrentReplicas = st.UpdateRevision, st.UpdatedReplicas // the rollout is complete
	}
	if equality.Semantic.DeepEqual(st, *had) {
		return
	}
	next := s.set.DeepCopy()
	next.Status = st
	tables.StatefulSets.Put(s.tx, next)
}

// live tells the revisions that are in use: they are kept beyond any limit.
func (s *step) live() func(*appsv1.ControllerRevision) bool {
	used := map[string]bool{s.current.Name: true, s.update.Name: true}
	for row := range tables.Pods.By(s.tx, tables.OwnerIndex, string(s.set.UID)) {
		used[row.Head().Labels[appsv1.StatefulSetRevisionLabel]] = true
	}
	return func(r *appsv1.ControllerRevision) bool { return used[r.Name] }
}
