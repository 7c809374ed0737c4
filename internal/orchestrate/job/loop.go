package job

import (
	"cmp"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/loop"
	"trireme/internal/object"
	"trireme/internal/orchestrate/own"
	"trireme/internal/orchestrate/sow"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// managedBy is the value of spec.managedBy that means this loop; so does none.
const managedBy = "kubernetes.io/job-controller"

// Loop is the control loop of Jobs.
type Loop struct {
	cache
	rules sow.Rules
}

// New returns the loop; rules is what admission says to the pods that it makes.
func New(rules sow.Rules) *Loop { return &Loop{rules: rules} }

// The methods of loop.Reconciler.

func (l *Loop) Name() string { return "orchestrate/job" }

func (l *Loop) Reads() []store.TableID {
	return []store.TableID{tables.Jobs.ID(), tables.Pods.ID(), tables.Namespaces.ID(), tables.Refusals.ID()}
}

func (l *Loop) Writes() []store.TableID {
	return append(sow.Writes(), tables.Jobs.ID(), tables.Events.ID())
}

func (l *Loop) Reconcile(tx *store.Tx) (next time.Time, err error) {
	if tx.FullPass() {
		l.cache = newCache()
	}
	for key := range tables.Pods.Changed(tx) {
		l.observePod(tx, key)
	}
	for key := range tables.Jobs.Changed(tx) {
		l.observeJob(tx, key)
	}
	for key := range tables.Namespaces.Changed(tx) {
		for uid := range l.namespace[key.Name] {
			l.dirty[uid] = true
		}
	}
	for key := range tables.Refusals.Changed(tx) {
		for uid := range l.namespace[key.Namespace] {
			l.dirty[uid] = true
		}
	}
	for uid, at := range l.wake {
		if !tx.Now().Before(at) {
			l.dirty[uid] = true
		}
	}
	budget := loop.StepWritesMax - l.release(tx)
	for _, j := range l.work() {
		if budget <= 0 {
			break // the rest stays dirty: this step has written pods
		}
		wrote, at := l.reconcile(tx, j, budget)
		budget -= wrote
		delete(l.dirty, j.uid) // what it wrote makes it dirty again
		delete(l.wake, j.uid)
		if !at.IsZero() {
			l.wake[j.uid] = at
		}
	}
	for _, at := range l.wake {
		next = sooner(next, at)
	}
	return next, nil
}

func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// work returns the dirty Jobs in the order of their keys.
func (l *Loop) work() []*job {
	var all []*job
	for uid := range l.dirty {
		if j := l.jobs[uid]; j != nil {
			all = append(all, j)
		}
	}
	slices.SortFunc(all, func(a, b *job) int { return a.key.Compare(b.key) })
	return all
}

// release takes the finalizer from pods whose Job is gone: nobody counts them.
func (l *Loop) release(tx *store.Tx) (wrote int) {
	for _, key := range object.SortedKeys(l.loose) {
		if wrote >= loop.StepWritesMax {
			break
		}
		if row, ok := tables.Pods.Row(tx, key); ok && row.Head().JobTracked && !l.adoptable(key) {
			untrack(tx, key)
			wrote++
		}
		delete(l.loose, key)
	}
	return wrote
}

func (l *Loop) adoptable(key object.Key) bool {
	for _, j := range l.namespace[key.Namespace] {
		if j.adopts[key] {
			return true
		}
	}
	return false
}

// reconcile brings one Job a step further, with about budget writes of pods at most.
// It returns how many it made and when to look again.
func (l *Loop) reconcile(tx *store.Tx, j *job, budget int) (wrote int, at time.Time) {
	o, ok := tables.Jobs.Get(tx, j.key)
	switch {
	case !ok || o.UID != j.uid || !managed(o):
		return 0, at
	case finished(o) != nil:
		return j.letGo(tx, budget), at
	}
	if o.DeletionTimestamp == nil {
		if wrote = j.claim(tx, o, budget); wrote > 0 {
			return wrote, at // the next step counts them
		}
	}
	s := l.newSync(tx, j, o, budget)
	s.run()
	return s.apply(), s.at
}

func managed(o *batchv1.Job) bool {
	if m := o.Spec.CompletionMode; m != nil && *m != batchv1.NonIndexedCompletion && *m != batchv1.IndexedCompletion {
		return false // a mode of another release: API reference, spec.completionMode
	}
	return o.Spec.ManagedBy == nil || *o.Spec.ManagedBy == managedBy
}

// letGo takes the finalizer from the pods of a Job that has ended.
func (j *job) letGo(tx *store.Tx, budget int) (wrote int) {
	for _, key := range object.SortedKeys(j.pods) {
		if wrote >= budget {
			break
		}
		if j.pods[key].tracked {
			untrack(tx, key)
			wrote++
		}
	}
	return wrote
}

// untrack takes the finalizer from a pod; its row goes with it where nothing else
// holds a pod that is to go.
func untrack(tx *store.Tx, key object.Key) {
	pod, ok := tables.Pods.Get(tx, key)
	if !ok {
		return
	}
	next := *pod // shallow: only the finalizers are replaced
	next.Finalizers = object.Without(pod.Finalizers, batchv1.JobTrackingFinalizer)
	if object.Released(&next) {
		tables.Pods.Delete(tx, key)
		return
	}
	tables.Pods.Put(tx, &next)
}

// claim adopts the orphans that the Job selects and releases the pods of its own that
// it does not select any more. It returns how many pods it wrote.
func (j *job) claim(tx *store.Tx, o *batchv1.Job, budget int) (wrote int) {
	claim := own.Claim{
		Owner:   object.ControllerRef(o, tables.Jobs.GVK()),
		Selects: func(h *tables.PodHead) bool { return !h.Ended() && j.selects(h.Labels) },
		Adopted: func(p *corev1.Pod) {
			if !slices.Contains(p.Finalizers, batchv1.JobTrackingFinalizer) {
				p.Finalizers = append(p.Finalizers, batchv1.JobTrackingFinalizer)
			}
		},
		Released: func(p *corev1.Pod) { p.Finalizers = object.Without(p.Finalizers, batchv1.JobTrackingFinalizer) },
	}
	for _, key := range object.SortedKeys(j.strays) {
		if wrote < budget && claim.Release(tx, key) {
			wrote++
		}
	}
	for _, key := range object.SortedKeys(j.adopts) {
		if wrote >= budget {
			return wrote
		}
		delete(j.adopts, key)
		if claim.Adopt(tx, key) {
			wrote++
		}
	}
	return wrote
}

// older orders pods by how much their loss costs, the cheapest first: not ready, then
// young, then by name.
func older(a, b *entry, ka, kb object.Key) int {
	rank := func(e *entry) int {
		switch {
		case e.ready:
			return 2
		case e.phase == "Running":
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), b.created.Compare(a.created), ka.Compare(kb))
}
