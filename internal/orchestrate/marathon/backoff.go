package marathon

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	ours "trireme/internal/object/marathon"
	"trireme/internal/tables"
)

// count takes note of instances that ended by themselves: the next one waits the longer the
// more of them there were (§12, backoff), and the last of them is told.
func (s *step) count() {
	if b := s.status.Backoff; b != nil && b.Generation != s.generation {
		s.status.Backoff = nil // of another version
	}
	last := ""
	if s.status.LastFailure != nil {
		last = s.status.LastFailure.TaskID
	}
	known := -1
	for n, i := range s.ended {
		if ours.TaskID(s.d.ID, i.head.UID) == last {
			known = n
		}
	}
	for _, i := range s.ended[known+1:] {
		s.status.LastFailure = s.failure(i)
		if s.current(i) {
			s.delay(endOf(i))
		}
	}
}

// delay makes new instances wait from the moment on. Failures that lie so far back that the
// longest delay has passed since do not count.
func (s *step) delay(from time.Time) {
	b := ours.Backoff{Generation: s.generation}
	if was := s.status.Backoff; was != nil && from.Before(was.Until.Add(s.quiet())) {
		b.Failures = was.Failures
	}
	b.Failures++
	until := from.Add(s.d.Delay(b.Failures))
	b.Until = metav1.NewTime(until.Add(time.Second - time.Nanosecond).Truncate(time.Second)) // as coarse as it is kept
	s.status.Backoff = &b
}

// quiet is how long no instance must have ended for all to be well again.
func (s *step) quiet() time.Duration {
	return time.Duration(*s.d.MaxLaunchDelaySeconds * float64(time.Second))
}

// failure tells how an instance ended.
func (s *step) failure(i instance) *ours.Failure {
	f := &ours.Failure{
		AppID: s.d.ID, Host: i.head.Node, SlaveID: i.head.Node, TaskID: ours.TaskID(s.d.ID, i.head.UID), State: "TASK_FAILED",
		Timestamp: ours.Stamp(endOf(i)), Version: s.d.Version,
	}
	if i.head.Phase == corev1.PodSucceeded {
		f.State = "TASK_FINISHED"
	}
	if p, ok := tables.Pods.Get(s.tx, i.key); ok {
		f.Version, f.Message = p.Annotations[ours.VersionAnnotation], ours.EndMessage(p)
	}
	return f
}

// forget takes away the instances that ended, but the last, which can still be looked at.
func (s *step) forget() {
	for n, i := range s.ended {
		if n < len(s.ended)-1 {
			s.remove(i)
		}
	}
}
