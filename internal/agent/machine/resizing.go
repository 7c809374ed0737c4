package machine

import (
	corev1 "k8s.io/api/core/v1"
	"slices"
	"time"
	"trireme/internal/agent/grant"
)

// Resizing is how far a change of what the pod's containers may use has come
// (Kubernetes, "Resize CPU and Memory Resources assigned to Containers").
//
//	asked ──► granted ──► the pod's group is widened ──► containers' limits are
//	  │ no room: pending                  changed, or containers restarted ──► narrowed
type Resizing struct {
	Pending grant.Answer // why what is asked is not granted; none: it is
	Since   time.Time    // when it was asked
	Widen   bool         // the pod's group must get room before a container does
	Narrow  bool         // the pod's group may have more than it needs
	Busy    bool
	Retry   Retry
	Err     string // of the last try; empty: it went well
}

// RestartsOnResize reports whether what a container may use has changed in a way
// that wants it to be started again.
func RestartsOnResize(c *Container) bool {
	for _, p := range c.Spec.ResizePolicy {
		was, is := c.Limits.Limits[p.ResourceName], c.Spec.Resources.Limits[p.ResourceName]
		changed := was.Cmp(is) != 0
		if p.ResourceName == corev1.ResourceCPU { // the kernel hears of memory's limit only
			was, is := c.Limits.Requests[p.ResourceName], c.Spec.Resources.Requests[p.ResourceName]
			changed = changed || was.Cmp(is) != 0
		}
		if changed && p.RestartPolicy == corev1.RestartContainer {
			return true
		}
	}
	return false
}

// ToResize returns the containers whose limits are to be changed as they run. rest
// says that others have yet to be started again with theirs, or are busy.
func ToResize(o *Observed) (list []*Container, rest bool) {
	for _, c := range o.Containers {
		switch {
		case c.Ephemeral || !c.Running() || grant.Same(c.Limits, c.Spec.Resources) && c.CPUs == c.Pin:
		case c.Busy || c.Kill != nil:
			rest = true
		default:
			list = append(list, c)
		}
	}
	return list, rest
}

// decideResize adds what brings the pod's limits to what was granted.
func decideResize(o *Observed, now time.Time, s *Step) {
	r := &o.Resize
	list, rest := ToResize(o)
	if r.Busy || !o.Prepared || !r.Widen && len(list) == 0 && (!r.Narrow || rest) {
		return
	}
	if now.Before(r.Retry.NotBefore) {
		s.At(r.Retry.NotBefore)
		return
	}
	s.Resize = true
}

// resizeConditions returns the pod's conditions that speak of its resizing.
func resizeConditions(o *Observed) (out []corev1.PodCondition) {
	r := &o.Resize
	if r.Pending.Reason != "" {
		out = append(out, corev1.PodCondition{Type: corev1.PodResizePending, Status: corev1.ConditionTrue, Reason: r.Pending.Reason, Message: r.Pending.Message})
	}
	list, rest := ToResize(o)
	list = slices.DeleteFunc(list, func(c *Container) bool { return grant.Same(c.Limits, c.Spec.Resources) }) // other CPUs are no resizing
	if r.Widen || r.Narrow || len(list) > 0 || rest {
		c := corev1.PodCondition{Type: corev1.PodResizeInProgress, Status: corev1.ConditionTrue}
		if r.Err != "" {
			c.Reason, c.Message = corev1.PodReasonError, r.Err
		}
		out = append(out, c)
	}
	return out
}
