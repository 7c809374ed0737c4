package replicaset

import (
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/store"
	"trireme/internal/tell"
)

// retryAfter is how long a set waits that could not make a pod, unless the pods
// or quotas of its namespace change before.
const retryAfter = 15 * time.Second

// conditions returns the set's conditions as this step leaves them: a set that
// could not make a pod says so (Kubernetes, ReplicaSetReplicaFailure).
func (l *Loop) conditions(tx *store.Tx, s *set, rs *appsv1.ReplicaSet, out outcome) []appsv1.ReplicaSetCondition {
	has := slices.IndexFunc(rs.Status.Conditions, func(c appsv1.ReplicaSetCondition) bool { return c.Type == appsv1.ReplicaSetReplicaFailure })
	switch {
	case out.err != nil:
		if has >= 0 && rs.Status.Conditions[has].Status == corev1.ConditionTrue {
			return rs.Status.Conditions // its message names one pod of many: the first will do
		}
		l.noun.tell(tx, s.key, tell.Event{From: l.noun.teller, Type: corev1.EventTypeWarning, Reason: "FailedCreate", Message: "Error creating: " + out.err.Error()})
		all := slices.Clone(rs.Status.Conditions)
		if has >= 0 {
			all = slices.Delete(all, has, has+1)
		}
		return append(all, appsv1.ReplicaSetCondition{
			Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate", Message: out.err.Error(),
			LastTransitionTime: metav1.NewTime(tx.Now().Truncate(time.Second)),
		})
	case has >= 0 && out.settled:
		return slices.Delete(slices.Clone(rs.Status.Conditions), has, has+1)
	}
	return rs.Status.Conditions
}

// outcome is what became of a look at a set.
type outcome struct {
	wrote   int   // pods written
	err     error // why a pod could not be made
	settled bool  // there are as many pods as wanted, or those that lacked were made
}

// tryAgain marks the sets of a namespace that could not make a pod.
func (l *Loop) tryAgain(namespace string) {
	for uid := range l.namespace[namespace] {
		if _, failed := l.retry[uid]; failed {
			l.dirty[uid] = true
		}
	}
}

// retries marks the sets whose time has come to try again, or to write their status.
func (l *Loop) retries(tx *store.Tx) {
	for _, later := range []map[types.UID]time.Time{l.retry, l.held} {
		for uid, at := range later {
			if !tx.Now().Before(at) {
				l.dirty[uid] = true
			}
		}
	}
}
