package cronjob

import (
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/loop"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Loop is the control loop of CronJobs.
type Loop struct {
	crons  map[types.UID]object.Key // what is there, by UID
	uids   map[object.Key]types.UID
	owner  map[object.Key]types.UID // of each Job that a CronJob made
	agenda loop.Agenda

	refused map[object.Key]bool // those whose Job a quota refused
}

// New returns the loop.
func New() *Loop { return &Loop{} }

// The methods of loop.Reconciler.

func (l *Loop) Name() string { return "orchestrate/cronjob" }

func (l *Loop) Reads() []store.TableID {
	return []store.TableID{tables.CronJobs.ID(), tables.Jobs.ID(), tables.Namespaces.ID(), tables.ResourceQuotas.ID()}
}

func (l *Loop) Writes() []store.TableID {
	return []store.TableID{tables.CronJobs.ID(), tables.Jobs.ID(), tables.ResourceQuotas.ID(), tables.Events.ID()}
}

func (l *Loop) Reconcile(tx *store.Tx) (next time.Time, err error) {
	if tx.FullPass() {
		l.crons, l.uids, l.owner = map[types.UID]object.Key{}, map[object.Key]types.UID{}, map[object.Key]types.UID{}
		l.agenda, l.refused = loop.Agenda{}, map[object.Key]bool{}
	}
	for key := range tables.CronJobs.Changed(tx) {
		l.observe(tx, key)
	}
	for key := range tables.Jobs.Changed(tx) {
		l.observeJob(tx, key)
	}
	for quota := range tables.ResourceQuotas.Changed(tx) {
		for key := range l.refused {
			if key.Namespace == quota.Namespace {
				l.agenda.Mark(key)
			}
		}
	}
	for _, key := range l.agenda.Due(tx.Now()) {
		l.agenda.Take(key)
		delete(l.refused, key)
		if o, ok := tables.CronJobs.Get(tx, key); ok {
			s := newSync(tx, o)
			l.agenda.At(key, s.run())
			if s.refused {
				l.refused[key] = true
			}
		}
	}
	return l.agenda.Next(), nil
}

func (l *Loop) observe(tx *store.Tx, key object.Key) {
	delete(l.crons, l.uids[key])
	delete(l.uids, key)
	l.agenda.Take(key)
	if o, ok := tables.CronJobs.Get(tx, key); ok {
		l.crons[o.UID], l.uids[key] = key, o.UID
		l.agenda.Mark(key)
	}
}

func (l *Loop) observeJob(tx *store.Tx, key object.Key) {
	l.mark(l.owner[key])
	delete(l.owner, key)
	if j, ok := tables.Jobs.Get(tx, key); ok {
		if ref := metav1.GetControllerOfNoCopy(j); ref != nil && ref.Kind == tables.CronJobs.GVK().Kind {
			l.owner[key] = ref.UID
			l.mark(ref.UID)
		}
	}
}

func (l *Loop) mark(uid types.UID) {
	if key, ok := l.crons[uid]; ok {
		l.agenda.Mark(key)
	}
}

// children returns the Jobs that the CronJob controls, in the order of their keys.
func children(tx *store.Tx, o *batchv1.CronJob) (all []*batchv1.Job) {
	for row := range tables.Jobs.By(tx, tables.OwnerIndex, string(o.UID)) {
		if metav1.IsControlledBy(row.Object(), o) {
			all = append(all, row.Object())
		}
	}
	return all
}
