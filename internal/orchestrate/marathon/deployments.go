package marathon

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	ours "trireme/internal/object/marathon"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// lostAfter is how long a deployment waits for the apps that it is to change to be written:
// who made it may have gone in between.
const lostAfter = time.Minute

// toldFor is how long a deployment that is over stays, for who follows to learn of it.
const toldFor = 2 * time.Second

// Deployments is the control loop of deployments.
type Deployments struct {
	all map[object.Key]*ours.Deployment
}

// NewDeployments returns the loop.
func NewDeployments() *Deployments { return &Deployments{} }

// The methods of loop.Reconciler.

func (l *Deployments) Name() string { return "orchestrate/marathon/deployments" }

func (l *Deployments) Reads() []store.TableID {
	return []store.TableID{tables.CustomObjects.ID(), tables.Pods.ID()}
}

func (l *Deployments) Writes() []store.TableID { return []store.TableID{tables.CustomObjects.ID()} }

func (l *Deployments) Reconcile(tx *store.Tx) (next time.Time, err error) {
	if tx.FullPass() {
		l.all = map[object.Key]*ours.Deployment{}
	}
	for at := range tables.CustomObjects.Changed(tx) {
		kind, key, _ := tables.IsMarathon(at)
		if kind != ours.Deployments {
			continue
		}
		delete(l.all, key)
		if d, ok := tables.MarathonDeployment(tx, key); ok && d.DeletionTimestamp == nil {
			l.all[key] = d
		}
	}
	for _, key := range object.SortedKeys(l.all) {
		at, err := l.advance(tx, key, l.all[key])
		if err != nil {
			return time.Time{}, err
		}
		if !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return next, nil
}

// advance takes a deployment as far as it is. One that is over is said to be so first and
// taken away then, so that who follows learns how it ended.
func (l *Deployments) advance(tx *store.Tx, key object.Key, d *ours.Deployment) (next time.Time, err error) {
	at := tables.MarathonKey(ours.Deployments, key)
	if d.Status.State != "" {
		if ended := d.Status.Ended; ended != nil && tx.Now().Before(ended.Add(toldFor)) {
			return ended.Add(toldFor), nil
		}
		tables.CustomObjects.Delete(tx, at)
		delete(l.all, key)
		return next, nil
	}
	st := d.Status
	for int(st.Step) < len(d.Spec.Steps) {
		done, lost := l.done(tx, d.Spec.Steps[st.Step])
		if lost {
			limit := d.CreationTimestamp.Add(lostAfter)
			if tx.Now().Before(limit) {
				next = limit
			} else {
				st.State = ours.Failed
			}
		}
		if !done {
			break
		}
		st.Step++
	}
	if int(st.Step) == len(d.Spec.Steps) {
		st.State = ours.Succeeded
	}
	if st == d.Status {
		return next, nil
	}
	if st.State != "" {
		now := metav1.NewTime(tx.Now().Truncate(time.Second))
		st.Ended = &now
		next = now.Add(toldFor)
	}
	return next, tables.PutStatus(tx, at, &st)
}

// done reports whether the actions of a step are done; lost, whether an app is not what it
// is to be made.
func (l *Deployments) done(tx *store.Tx, s ours.Step) (done, lost bool) {
	done = true
	for _, a := range s.Actions {
		if a.Action == ours.StartApplication {
			continue
		}
		if a.Action == ours.StopApplication {
			done = done && gone(tx, a)
			continue
		}
		app, ok := tables.MarathonApp(tx, object.Key{Namespace: a.Namespace, Name: ours.Name(a.App)})
		if !ok || app.Spec.Version != a.Version {
			return false, true
		}
		done = done && app.Status.Settled == a.Version
	}
	return done, false
}

// gone reports whether nothing of an app that is stopped runs any more.
func gone(tx *store.Tx, a ours.Action) bool {
	if row, ok := tables.CustomObjects.Row(tx, tables.MarathonKey(ours.Apps, object.Key{Namespace: a.Namespace, Name: ours.Name(a.App)})); ok && row.Head().UID == a.UID {
		return false
	}
	for range tables.Pods.By(tx, tables.OwnerIndex, string(a.UID)) {
		return false
	}
	return true
}
