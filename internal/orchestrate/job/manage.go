package job

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
	"trireme/internal/orchestrate/reap"
	"trireme/internal/orchestrate/sow"
	"trireme/internal/tables"
	"trireme/internal/tell"
)

const (
	// backoffMin doubles with every failure in a row up to backoffMax (Kubernetes,
	// "Jobs", "Pod backoff failure policy").
	backoffMin = 10 * time.Second
	backoffMax = 10 * time.Minute
	// createMax bounds how many pods one look makes; tellMax, up to how many of them it
	// tells about one by one.
	createMax, tellMax = 500, 20
	// retryRefused is when pods are tried again that were refused, such as by quota.
	retryRefused = 10 * time.Second
)

// birth is a pod to make.
type birth struct {
	index             int32
	failures, ignored int32
}

// manage brings the number of active pods nearer to what the Job asks for.
func (s *sync) manage() {
	want := s.wanted()
	s.remove(want)
	room := want - s.j.count.active
	if s.waitsForEnd() {
		room -= s.j.count.terminating
	}
	room = min(room, createMax, int32(max(s.budget, 0)))
	if len(s.drop) > 0 || room <= 0 || reap.Terminating(s.tx, s.o.Namespace) {
		return
	}
	if s.o.Spec.BackoffLimitPerIndex == nil {
		if at := s.retryAt(); s.tx.Now().Before(at) {
			s.at = sooner(s.at, at)
			return
		}
	}
	if !s.j.indexed {
		s.births = slices.Repeat([]birth{{index: noIndex}}, int(room))
		return
	}
	s.pick(room)
}

// wanted returns how many pods should be active.
func (s *sync) wanted() int32 {
	switch {
	case s.suspended():
		return 0
	case s.o.Spec.Completions == nil && s.succeeded() > 0:
		return min(s.j.count.active, s.parallelism()) // those that run may end, none is added
	case s.o.Spec.Completions == nil:
		return s.parallelism()
	}
	return max(0, min(s.parallelism(), *s.o.Spec.Completions-s.succeeded()-s.lost.len()))
}

// remove chooses the active pods that are too many: those of no use first, then those
// whose loss costs least.
func (s *sync) remove(want int32) {
	if s.j.count.active <= want && !s.wasteful() {
		return
	}
	var useful []object.Key
	taken := map[int32]bool{}
	for _, key := range object.SortedKeys(s.j.pods) {
		e := s.j.pods[key]
		if !e.active() {
			continue
		}
		useless := s.j.indexed && (e.index == noIndex || e.index >= s.completions() || taken[e.index] || s.completed.has(e.index) || s.lost.has(e.index))
		taken[e.index] = true
		if useless {
			s.drop = append(s.drop, key)
		} else {
			useful = append(useful, key)
		}
	}
	if n := len(useful) - int(want); n > 0 {
		slices.SortFunc(useful, func(a, b object.Key) int { return older(s.j.pods[a], s.j.pods[b], a, b) })
		s.drop = append(s.drop, useful[:n]...)
	}
	s.drop = s.drop[:min(len(s.drop), max(s.budget, 0))]
}

// wasteful reports whether an indexed Job has active pods of no use.
func (s *sync) wasteful() bool {
	if !s.j.indexed {
		return false
	}
	n := int32(0)
	for i, pods := range s.j.at {
		if n += pods; pods > 1 || i >= s.completions() || s.completed.has(i) || s.lost.has(i) {
			return true
		}
	}
	return n < s.j.count.active // some have no index
}

// retryAt returns when the next pod may be made after failures in a row.
func (s *sync) retryAt() time.Time {
	if len(s.j.failed) == 0 {
		return time.Time{}
	}
	var won, last time.Time
	for _, e := range s.j.pods {
		if e.phase == corev1.PodSucceeded && e.ended.After(won) {
			won = e.ended
		}
	}
	n := int32(0)
	for key := range s.j.failed {
		if e := s.j.pods[key]; e.ended.After(won) {
			n++
			if e.ended.After(last) {
				last = e.ended
			}
		}
	}
	if n == 0 {
		return time.Time{}
	}
	return last.Add(backoff(n))
}

// backoff returns the pause after n failures.
func backoff(n int32) time.Duration {
	d := backoffMin
	for ; n > 1 && d < backoffMax; n-- {
		d *= 2
	}
	return min(d, backoffMax)
}

// pick chooses the lowest indexes that have no pod, as many as there is room for.
func (s *sync) pick(room int32) {
	for i := int32(0); i < s.completions() && int32(len(s.births)) < room; i++ {
		if s.completed.has(i) || s.lost.has(i) || s.j.at[i] > 0 || s.waitsForEnd() && s.j.ending[i] > 0 {
			continue
		}
		b := birth{index: i}
		if f := s.held[i]; f != nil {
			if at := f.ended.Add(backoff(f.failures + f.ignored)); !f.ended.IsZero() && s.tx.Now().Before(at) {
				s.at = sooner(s.at, at)
				continue
			}
			b.failures, b.ignored = f.failures, f.ignored
		}
		s.births = append(s.births, b)
	}
}

// create makes the pods that were decided on, unless it is refused, and returns how
// many it made.
func (s *sync) create() (made int) {
	if len(s.births) == 0 {
		return 0
	}
	model := s.model()
	err := s.rules.Ready(s.tx, model)
	for _, b := range s.births {
		if err != nil {
			break
		}
		pod := *model
		if b.index != noIndex {
			s.index(&pod, b)
		}
		pod.Name = s.tx.NewName(pod.GenerateName)
		for taken(s, pod.Name) {
			pod.Name = s.tx.NewName(pod.GenerateName)
		}
		if err = s.rules.Put(s.tx, &pod); err != nil {
			break
		}
		made++
		if len(s.births) <= tellMax && !object.UnderReview(&pod) {
			s.say(corev1.EventTypeNormal, "SuccessfulCreate", "Created pod: "+pod.Name)
		}
	}
	if err != nil {
		s.say(corev1.EventTypeWarning, "FailedCreate", "Error creating: "+err.Error())
		s.at = sooner(s.at, s.tx.Now().Add(retryRefused))
	}
	return made
}

// say writes an event about the Job at once.
func (s *sync) say(kind, reason, message string) {
	tell.About(s.tx, tables.Jobs, s.o, tell.Event{From: controller, Type: kind, Reason: reason, Message: message})
}

func taken(s *sync, name string) bool {
	_, ok := tables.Pods.Row(s.tx, object.Key{Namespace: s.o.Namespace, Name: name})
	return ok
}

// model returns the pod that all pods of the Job are shallow copies of.
func (s *sync) model() *corev1.Pod {
	pod := sow.FromTemplate(s.o, tables.Jobs.GVK(), &s.o.Spec.Template)
	pod.GenerateName = s.o.Name + "-"
	pod.Finalizers = append(pod.Finalizers, batchv1.JobTrackingFinalizer)
	if s.j.indexed {
		for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
			for i := range list {
				list[i].Env = withIndex(list[i].Env)
			}
		}
	}
	return pod
}

// indexEnv tells a container its index.
const indexEnv = "JOB_COMPLETION_INDEX"

func withIndex(env []corev1.EnvVar) []corev1.EnvVar {
	if slices.ContainsFunc(env, func(e corev1.EnvVar) bool { return e.Name == indexEnv }) {
		return env
	}
	return append(env, corev1.EnvVar{Name: indexEnv, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{
		APIVersion: "v1", FieldPath: fmt.Sprintf("metadata.labels['%s']", batchv1.JobCompletionIndexAnnotation),
	}}})
}

// index makes a copy of the model the pod of one index.
func (s *sync) index(pod *corev1.Pod, b birth) {
	i := strconv.Itoa(int(b.index))
	pod.Labels, pod.Annotations = clone(pod.Labels), clone(pod.Annotations)
	pod.Labels[batchv1.JobCompletionIndexAnnotation] = i
	pod.Annotations[batchv1.JobCompletionIndexAnnotation] = i
	if s.o.Spec.BackoffLimitPerIndex != nil {
		pod.Annotations[batchv1.JobIndexFailureCountAnnotation] = strconv.Itoa(int(b.failures))
		if b.ignored > 0 {
			pod.Annotations[batchv1.JobIndexIgnoredFailureCountAnnotation] = strconv.Itoa(int(b.ignored))
		}
	}
	pod.GenerateName = s.o.Name + "-" + i + "-"
	pod.Spec.Hostname = s.o.Name + "-" + i
}

func clone(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return maps.Clone(m)
}
