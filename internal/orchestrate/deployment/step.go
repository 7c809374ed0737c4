package deployment

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"trireme/internal/object"
	"trireme/internal/orchestrate/reap"
	"trireme/internal/rollout"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/tell"
)

// step is one look at one deployment.
type step struct {
	tx    *store.Tx
	d     *appsv1.Deployment   // shared: change next
	next  time.Time            // when to look again
	sets  []*appsv1.ReplicaSet // oldest first
	fresh *appsv1.ReplicaSet   // the set of the present template; nil: none yet

	refused bool // a quota refused the set of the present template

	collisions *int32
	condition  *appsv1.DeploymentCondition // Progressing as this step has it; nil: gone
}

// retryRefused is when a set is tried again that was refused, if the quotas of its
// namespace do not change before.
const retryRefused = 15 * time.Second

func newStep(tx *store.Tx, d *appsv1.Deployment, orphans map[object.Key]bool) *step {
	s := &step{tx: tx, d: d, collisions: d.Status.CollisionCount, condition: conditionOf(d, appsv1.DeploymentProgressing)}
	s.sets = claim(tx, d, orphans)
	for _, rs := range s.sets {
		if equalTemplates(&rs.Spec.Template, &d.Spec.Template) {
			s.fresh = rs
			break
		}
	}
	return s
}

// run brings the deployment one step nearer to what it asks for and writes its
// status. What it wrote makes it due again.
func (s *step) run() {
	d := s.d
	if d.DeletionTimestamp != nil || reap.Terminating(s.tx, d.Namespace) || !selectsOwn(d) {
		s.writeStatus()
		return
	}
	s.pausing()
	policy := s.policy()
	switch {
	case s.rescaled():
		s.scale(policy)
	case d.Spec.Paused:
	default:
		if s.freshen() {
			s.roll(policy)
		}
	}
	s.annotate(policy)
	complete := s.writeStatus()
	if complete {
		s.prune()
	}
}

// selectsOwn reports whether the deployment selects what it makes. Doors refuse
// others; a snapshot of another cluster may hold one.
func selectsOwn(d *appsv1.Deployment) bool {
	return selector(d).Matches(labels.Set(d.Spec.Template.Labels))
}

// policy says the deployment's strategy in the engine's words.
func (s *step) policy() rollout.Policy {
	d := s.d
	p := rollout.Policy{Desired: int(wanted(d)), Paused: d.Spec.Paused}
	if n := d.Spec.ProgressDeadlineSeconds; n != nil && *n < maxDeadline {
		p.Deadline = time.Duration(*n) * time.Second
	}
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		p.Order = rollout.Recreate
		return p
	}
	quarter := intstr.FromString("25%")
	surge, missing := &quarter, &quarter
	if r := d.Spec.Strategy.RollingUpdate; r != nil {
		surge, missing = or(r.MaxSurge, surge), or(r.MaxUnavailable, missing)
	}
	p.Surge, _ = intstr.GetScaledValueFromIntOrPercent(surge, p.Desired, true)
	p.Unavailable, _ = intstr.GetScaledValueFromIntOrPercent(missing, p.Desired, false)
	p.Unavailable = min(p.Unavailable, p.Desired)
	if p.Surge == 0 && p.Unavailable == 0 {
		// Both round to nothing: one pod may be missing, or nothing would ever move
		// (API reference, RollingUpdateDeployment).
		p.Unavailable = 1
	}
	return p
}

// maxDeadline is the value that means no deadline (API reference,
// progressDeadlineSeconds).
const maxDeadline = 1<<31 - 1

func or[T any](a, b *T) *T {
	if a != nil {
		return a
	}
	return b
}

func wanted(d *appsv1.Deployment) int32 {
	if d.Spec.Replicas == nil {
		return 1
	}
	return *d.Spec.Replicas
}

func sizeOf(rs *appsv1.ReplicaSet) int32 {
	if rs.Spec.Replicas == nil {
		return 1
	}
	return *rs.Spec.Replicas
}

// groups says the sets in the engine's words.
func (s *step) groups() []rollout.Group {
	groups := make([]rollout.Group, len(s.sets))
	for i, rs := range s.sets {
		g := rollout.Group{Name: rs.Name, New: rs == s.fresh, Size: int(sizeOf(rs))}
		g.Existing, g.Available = int(rs.Status.Replicas), int(rs.Status.AvailableReplicas)
		if rs.Status.ObservedGeneration < rs.Generation {
			// Its size is not carried out yet: pods to be deleted are no longer
			// available, pods to be made are not yet.
			g.Available = min(g.Available, g.Size)
		}
		if n := rs.Status.TerminatingReplicas; n != nil {
			g.Ending = int(*n)
		}
		groups[i] = g
	}
	return groups
}

// roll applies the engine's plan.
func (s *step) roll(policy rollout.Policy) {
	in := rollout.Input{Policy: policy, Groups: s.groups(), Now: s.tx.Now()}
	if c := s.condition; c != nil && c.Reason != reasonAvailable {
		in.LastProgress = c.LastUpdateTime.Time
	}
	plan := rollout.Step(in)
	s.resize(plan.Sizes)
	if plan.Verdict != rollout.Complete {
		s.next = plan.Next
	}
}

// rescaled reports whether replicas changed since the sets were sized.
func (s *step) rescaled() bool {
	for _, rs := range s.sets {
		if n, ok := numberOf(rs, desiredAnnotation); ok && sizeOf(rs) > 0 && n != int64(wanted(s.d)) {
			return true
		}
	}
	return false
}

// scale shares a change of replicas out over the sets.
func (s *step) scale(policy rollout.Policy) {
	groups := s.groups()
	was := make([]int, len(groups))
	for i, rs := range s.sets {
		n, _ := numberOf(rs, maxAnnotation)
		was[i] = int(n)
	}
	s.resize(rollout.Scale(policy, groups, was))
}

// resize writes the sets whose size changes.
func (s *step) resize(sizes []int) {
	for i, rs := range s.sets {
		if n := int32(sizes[i]); n != sizeOf(rs) {
			s.tellScaled(rs, n)
			s.change(i, func(next *appsv1.ReplicaSet) {
				next.Spec.Replicas = &n
				next.Generation++
			})
		}
	}
}

func (s *step) tellScaled(rs *appsv1.ReplicaSet, n int32) {
	way := "up"
	if n < sizeOf(rs) {
		way = "down"
	}
	tell.About(s.tx, tables.Deployments, s.d, tell.Event{
		From: "deployment-controller", Type: corev1.EventTypeNormal, Reason: "ScalingReplicaSet",
		Message: fmt.Sprintf("Scaled %s replica set %s from %d to %d", way, rs.Name, sizeOf(rs), n),
	})
}

// change writes a changed copy of a set and keeps it in the step.
func (s *step) change(i int, f func(*appsv1.ReplicaSet)) {
	next := s.sets[i].DeepCopy()
	f(next)
	tables.ReplicaSets.Put(s.tx, next)
	if s.sets[i] == s.fresh {
		s.fresh = next
	}
	s.sets[i] = next
}

func equalTemplates(a, b *corev1.PodTemplateSpec) bool {
	if !equality.Semantic.DeepEqual(a.Spec, b.Spec) {
		return false
	}
	x, y := *a, *b
	x.Spec, y.Spec = corev1.PodSpec{}, corev1.PodSpec{}
	x.Labels, y.Labels = withoutHash(a.Labels), withoutHash(b.Labels)
	return equality.Semantic.DeepEqual(x, y)
}

func withoutHash(l map[string]string) map[string]string {
	out := make(map[string]string, len(l))
	for k, v := range l {
		if k != appsv1.DefaultDeploymentUniqueLabelKey {
			out[k] = v
		}
	}
	return out
}
