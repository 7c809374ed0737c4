package ttl

import (
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/loop"
	"trireme/internal/orchestrate/reap"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Loop deletes Jobs whose time is up.
type Loop struct{ agenda loop.Agenda }

// New returns the loop.
func New() *Loop { return &Loop{} }

// The methods of loop.Reconciler.

func (l *Loop) Name() string { return "orchestrate/ttl" }

func (l *Loop) Reads() []store.TableID { return []store.TableID{tables.Jobs.ID()} }

func (l *Loop) Writes() []store.TableID { return []store.TableID{tables.Jobs.ID()} }

func (l *Loop) Reconcile(tx *store.Tx) (next time.Time, err error) {
	if tx.FullPass() {
		l.agenda = loop.Agenda{}
	}
	for key := range tables.Jobs.Changed(tx) {
		l.agenda.Take(key)
		if o, ok := tables.Jobs.Get(tx, key); ok {
			l.agenda.At(key, expiry(o))
		}
	}
	for _, key := range l.agenda.Due(tx.Now()) {
		l.agenda.Take(key)
		reap.Delete(tx, tables.Jobs, key, metav1.DeletePropagationForeground)
	}
	return l.agenda.Next(), nil
}

// expiry returns when the Job is to go; zero: not by this loop.
func expiry(o *batchv1.Job) (at time.Time) {
	ttl := o.Spec.TTLSecondsAfterFinished
	if ttl == nil || o.DeletionTimestamp != nil {
		return at
	}
	for _, c := range o.Status.Conditions {
		if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue {
			at = c.LastTransitionTime.Add(time.Duration(*ttl) * time.Second)
		}
	}
	return at
}
