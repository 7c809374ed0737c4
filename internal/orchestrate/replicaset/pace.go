package replicaset

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"trireme/internal/store"
)

// A status that only counts on is written for each sixteenth of the replicas, and for less once a
// second: a thousand pods that come to run are not a thousand statuses of their set,
// and as many of its Deployment. What gets worse, what is reached and all else is written at once.
const (
	countsAStatus = 16
	statusEvery   = time.Second
)

// write writes the status if it differs from what stands, or sees to it that it is later.
func (l *Loop) write(tx *store.Tx, s *set, rs *appsv1.ReplicaSet, want appsv1.ReplicaSetStatus) {
	delete(l.held, s.uid)
	switch {
	case equality.Semantic.DeepEqual(rs.Status, want):
	case tx.Now().Before(s.told.Add(statusEvery)) && countsOn(rs, want):
		l.held[s.uid] = s.told.Add(statusEvery)
	default:
		s.told = tx.Now()
		l.noun.put(tx, s.key, want)
	}
}

// countsOn reports whether the status differs from the one that stands by a few more pods that are ready, or
// a few less that are on their way out, and they are not the last.
func countsOn(rs *appsv1.ReplicaSet, want appsv1.ReplicaSetStatus) bool {
	was := rs.Status
	ready, available, gone := want.ReadyReplicas-was.ReadyReplicas, want.AvailableReplicas-was.AvailableReplicas, ending(was)-ending(want)
	all, few := *replicas(rs), max(*replicas(rs), was.Replicas)/countsAStatus
	if ready < 0 || available < 0 || gone < 0 || max(ready, available, gone) >= few {
		return false
	}
	if want.AvailableReplicas == all || gone > 0 && ending(want) == 0 {
		return false // reached
	}
	was.ReadyReplicas, was.AvailableReplicas, was.TerminatingReplicas = want.ReadyReplicas, want.AvailableReplicas, want.TerminatingReplicas
	return equality.Semantic.DeepEqual(was, want)
}

func ending(st appsv1.ReplicaSetStatus) int32 {
	if st.TerminatingReplicas == nil {
		return 0
	}
	return *st.TerminatingReplicas
}
