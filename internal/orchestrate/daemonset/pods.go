package daemonset

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
	"trireme/internal/orchestrate/sow"
	"trireme/internal/tables"
)

// retryAfter is how long a set waits that could not make a pod, unless something
// it looks at changes before.
const retryAfter = 15 * time.Second

// make makes the pod of a node, and reports whether it may be worth while to try
// the next.
func (s *step) make(sp *spot) bool {
	p := sow.FromTemplate(s.set, tables.DaemonSets.GVK(), &s.set.Spec.Template)
	p.GenerateName = s.key.Name + "-"
	if p.Labels == nil {
		p.Labels = map[string]string{}
	}
	p.Labels[appsv1.ControllerRevisionHashLabelKey] = s.hash
	sow.Succeed(p, s.loop.failures[s.key][sp.node])
	p.Spec.Tolerations = tolerations(&p.Spec)
	sow.Pin(&p.Spec, sp.node)
	if err := s.loop.rules.Ready(s.tx, p); err != nil {
		s.refuse(sp.node, err)
		return false
	}
	key := object.Key{Namespace: s.key.Namespace, Name: s.tx.NewName(p.GenerateName)}
	for {
		if _, taken := tables.Pods.Row(s.tx, key); !taken && !tables.Pods.Removed(s.tx, key) {
			break
		}
		key.Name = s.tx.NewName(p.GenerateName)
	}
	p.Name = key.Name
	if err := s.loop.rules.Put(s.tx, p); err != nil {
		s.refuse(sp.node, err)
		return false
	}
	delete(s.loop.failures[s.key], sp.node)
	s.wrote++
	if !object.UnderReview(p) { // else who lets it through tells
		s.tell(corev1.EventTypeNormal, "SuccessfulCreate", "Created pod: "+key.Name)
	}
	return true
}

// retire deletes a pod that has ended, so that a new one takes its place; one that
// fails again and again waits ever longer.
func (s *step) retire(sp *spot, p pod) {
	row, ok := tables.Pods.Get(s.tx, p.key)
	if !ok {
		return
	}
	if at := sow.RetryAt(row); s.tx.Now().Before(at) {
		s.waitFor(sp, at)
		return
	}
	if p.head.Phase == corev1.PodFailed {
		s.tell(corev1.EventTypeWarning, "FailedDaemonPod", fmt.Sprintf("Found failed daemon pod %s on node %s, will try to kill it", p.key, sp.node))
	} else {
		s.tell(corev1.EventTypeNormal, "SucceededDaemonPod", fmt.Sprintf("Found succeeded daemon pod %s on node %s, will try to delete it", p.key, sp.node))
	}
	if s.loop.failures[s.key] == nil {
		s.loop.failures[s.key] = map[string]int{}
	}
	s.loop.failures[s.key][sp.node] = sow.FailuresBefore(row, s.tx.Now())
	s.end(p)
}

// live tells the revisions that pods still run: they are kept beyond any limit.
func (s *step) live() func(*appsv1.ControllerRevision) bool {
	if s.crew.sum.old == 0 || len(s.history.All) == len(s.history.Same) {
		return func(r *appsv1.ControllerRevision) bool { return s.crew.fresh[hashOf(r)] }
	}
	used := map[string]bool{}
	for _, sp := range s.crew.spots {
		for _, p := range sp.pods {
			used[p.head.Labels[appsv1.ControllerRevisionHashLabelKey]] = true
		}
	}
	return func(r *appsv1.ControllerRevision) bool { return used[hashOf(r)] }
}
