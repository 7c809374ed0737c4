package review

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/policy"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/tell"
)

const (
	// refusedMin doubles with every refusal in a row up to refusedMax. Changed
	// registrations end it.
	refusedMin = time.Second
	refusedMax = 2 * time.Minute
	// keptFor is how long a refusal is remembered after its time.
	keptFor = 10 * time.Minute
)

type podRow = store.Row[*corev1.Pod, *tables.PodHead]

// accounts are the names under which Kubernetes' controllers make pods.
var accounts = map[string]string{
	"ReplicaSet": "replicaset-controller", "ReplicationController": "replication-controller",
	"StatefulSet": "statefulset-controller", "DaemonSet": "daemon-set-controller", "Job": "job-controller",
}

// one shows one pod to admission and writes what became of it.
func (r *Reviewer) one(ctx context.Context, row podRow) (res result) {
	res = result{key: row.Key(), owner: row.Head().Owner}
	was := row.Object()
	account := "generic-garbage-collector" // of an object that nobody owns any more
	if ref := metav1.GetControllerOfNoCopy(was); ref != nil {
		account = accounts[ref.Kind]
	}
	var next *corev1.Pod
	var no error
	started := time.Now()
	if !row.Head().Deleting { // else nobody needs to be asked
		ask, cancel := context.WithTimeout(ctx, askFor)
		shown := was.DeepCopy()
		object.SetUnderReview(shown, false)
		next, no = r.admit.Review(ask, shown, account)
		cancel()
	}
	if ctx.Err() != nil || kind.Is(no, kind.Unavailable) {
		res.again = true
		return res
	}
	took := time.Since(started)
	_, err := r.store.Update(ctx, func(tx *store.Tx) error {
		res.again, res.quick = false, false
		now, ok := tables.Pods.Row(tx, row.Key())
		switch {
		case !ok || now.Head().UID != was.UID || !now.Head().UnderReview:
			return nil
		case now.Rev() != row.Rev():
			res.again = true
			return nil
		case row.Head().Deleting:
			tables.Pods.Delete(tx, row.Key())
			return nil
		}
		refusal := no
		if refusal == nil {
			refusal = let(tx, next, was)
		}
		if refusal != nil {
			refuse(tx, was, refusal)
		}
		res.quick = refusal == nil && took < slow
		return nil
	})
	res.again = res.again || err != nil
	return res
}

// let puts what admission made of a pod, unless a quota refuses it.
func let(tx *store.Tx, next, was *corev1.Pod) error {
	meta := was.ObjectMeta
	meta.Labels, meta.Annotations, meta.Finalizers, meta.OwnerReferences = next.Labels, next.Annotations, next.Finalizers, next.OwnerReferences
	pod := *next
	pod.ObjectMeta, pod.Status = meta, *was.Status.DeepCopy()
	pod.Status.QOSClass = object.QOS(&pod)
	object.SetUnderReview(&pod, false)
	if err := policy.Charge(tx, policy.GroupResource(tables.Pods), &pod, was); err != nil {
		return err
	}
	tables.Pods.Put(tx, &pod)
	if owner := metav1.GetControllerOfNoCopy(was); owner != nil {
		tables.Refusals.Delete(tx, object.Key{Namespace: was.Namespace, Name: string(owner.UID)})
		created(tx, &pod, owner)
	}
	return nil
}

// created tells about the owner what its loop leaves to the Reviewer.
func created(tx *store.Tx, pod *corev1.Pod, owner *metav1.OwnerReference) {
	key := object.Key{Namespace: pod.Namespace, Name: owner.Name}
	e := tell.Event{From: accounts[owner.Kind], Type: corev1.EventTypeNormal, Reason: "SuccessfulCreate", Message: "Created pod: " + pod.Name}
	switch owner.Kind {
	case "StatefulSet":
		if o, ok := tables.StatefulSets.Get(tx, key); ok {
			e.Message = "create Pod " + pod.Name + " in StatefulSet " + o.Name + " successful"
			tell.About(tx, tables.StatefulSets, o, e)
		}
	case "DaemonSet":
		e.From = "daemonset-controller"
		if o, ok := tables.DaemonSets.Get(tx, key); ok {
			tell.About(tx, tables.DaemonSets, o, e)
		}
	case "Job":
		if o, ok := tables.Jobs.Get(tx, key); ok {
			tell.About(tx, tables.Jobs, o, e)
		}
	}
}

// refuse deletes a pod that admission does not let in, and notes for its owner why.
func refuse(tx *store.Tx, pod *corev1.Pod, why error) {
	tables.Pods.Delete(tx, object.KeyOf(pod))
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil {
		return
	}
	for row := range tables.Refusals.Rows(tx, "") {
		if tx.Now().Sub(row.Object().Until.Time) > keptFor {
			tables.Refusals.Delete(tx, row.Key())
		}
	}
	next := &object.Refusal{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: string(owner.UID)}, Message: why.Error()}
	if old, ok := tables.Refusals.Get(tx, object.KeyOf(next)); ok {
		next.Failures = old.Failures
	}
	wait := refusedMax
	if next.Failures < 7 {
		wait = min(refusedMin<<next.Failures, refusedMax)
	}
	next.Failures++
	next.Until = metav1.NewTime(tx.Now().Add(wait))
	tables.Refusals.Put(tx, next)
}
