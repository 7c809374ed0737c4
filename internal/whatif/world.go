package whatif

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/object/plan"
	"trireme/internal/policy"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// world plays the nodes, as a loop: new pods that have a node are ready, deleted ones are gone.
type world struct {
	base *store.Snapshot
	made int // new pods that got a node
}

func (w *world) Name() string { return "whatif/world" }

func (w *world) Reads() []store.TableID { return []store.TableID{tables.Pods.ID()} }

func (w *world) Writes() []store.TableID { return []store.TableID{tables.Pods.ID()} }

func (w *world) Reconcile(tx *store.Tx) (time.Time, error) {
	for key := range tables.Pods.Changed(tx) {
		row, ok := tables.Pods.Row(tx, key)
		if !ok {
			continue
		}
		h := row.Head()
		switch {
		case h.Deleting:
			tables.Pods.Delete(tx, key)
		case h.Node != "" && !h.Ended() && !h.Ready && w.fresh(key, h.UID):
			w.made++
			tables.Pods.Put(tx, Running(row.Object(), tx.Now()))
		}
	}
	return time.Time{}, nil
}

// fresh reports whether the pod was not there before.
func (w *world) fresh(key object.Key, uid types.UID) bool {
	row, ok := tables.Pods.Row(w.base, key)
	return !ok || row.Head().UID != uid
}

// Running returns the pod as one whose containers are ready.
func Running(p *corev1.Pod, now time.Time) *corev1.Pod {
	next, at := p.DeepCopy(), metav1.NewTime(now.Truncate(time.Second))
	next.Status.Phase, next.Status.StartTime = corev1.PodRunning, &at
	for _, t := range []corev1.PodConditionType{corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady} {
		object.SetPodCondition(next, corev1.PodCondition{Type: t, Status: corev1.ConditionTrue, LastTransitionTime: at})
	}
	return next
}

// evict asks the pods off the nodes that are drained, as far as budgets let it, and returns how many
// it got off. Those of daemon sets and of nodes' own files stay, as `kubectl drain` leaves them.
func (t *trial) evict(ctx context.Context) (gone int, err error) {
	_, err = t.fork.Update(ctx, func(tx *store.Tx) error {
		gone = 0
		for _, name := range t.q.Drain {
			for row := range tables.Pods.By(tx, tables.PodsByNode, name) {
				h, key := row.Head(), row.Key()
				if h.Ended() || h.Deleting || stays(row.Object()) {
					continue
				}
				err := policy.Evict(tx, policy.Eviction{Pod: key})
				guarded := (*policy.Guarded)(nil)
				switch {
				case err == nil:
					gone++
					t.moved[key] = h.UID
					delete(t.blocked, key)
				case errors.As(err, &guarded):
					t.blocked[key] = plan.Blocked{Leaving: t.leaving(row.Object()), Budget: guarded.Budget, Why: guarded.Why}
				case kind.Is(err, kind.NotFound): // not let in yet
				default:
					t.blocked[key] = plan.Blocked{Leaving: t.leaving(row.Object()), Why: err.Error()}
				}
			}
		}
		return nil
	})
	return gone, err
}

// stays reports whether to drain a pod's node leaves the pod there.
func stays(p *corev1.Pod) bool {
	ref := metav1.GetControllerOfNoCopy(p)
	return ref != nil && ref.Kind == "DaemonSet" || p.Annotations[corev1.MirrorPodAnnotationKey] != ""
}
