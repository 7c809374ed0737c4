package dispatch

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
)

// merge returns what the status of the report's pod becomes.
func (r *podReport) merge(pod *corev1.Pod) corev1.PodStatus {
	next := mergeStatus(&pod.Status, r.status)
	if said := r.status.PodIPs; r.addressed && !pod.Spec.HostNetwork && areAddresses(said) {
		next.PodIP, next.PodIPs = said[0].IP, said
	}
	return next
}

// areAddresses reports whether these can be a pod's: one a family.
func areAddresses(ips []corev1.PodIP) bool {
	families := map[bool]bool{}
	for _, ip := range ips {
		a, err := netip.ParseAddr(ip.IP)
		if err != nil || families[a.Is6()] {
			return false
		}
		families[a.Is6()] = true
	}
	return len(ips) > 0
}

// mergeStatus returns what a pod's status becomes with an agent's report: the
// report, but for what others own. An ended pod stays ended.
func mergeStatus(old, report *corev1.PodStatus) corev1.PodStatus {
	next := *report
	next.PodIP, next.PodIPs = old.PodIP, old.PodIPs
	next.QOSClass, next.NominatedNodeName = old.QOSClass, old.NominatedNodeName
	if next.HostIP == "" {
		next.HostIP, next.HostIPs = old.HostIP, old.HostIPs
	}
	if next.StartTime == nil {
		next.StartTime = old.StartTime
	}
	if ended(old.Phase) && !ended(next.Phase) {
		next.Phase, next.Reason, next.Message = old.Phase, old.Reason, old.Message
	}
	if next.Phase == "" {
		next.Phase = old.Phase
	}
	var conditions []corev1.PodCondition
	for _, c := range old.Conditions {
		if !fromAgent(&c) {
			conditions = append(conditions, c)
		}
	}
	for _, c := range report.Conditions {
		if fromAgent(&c) {
			conditions = append(conditions, c)
		}
	}
	next.Conditions = conditions
	return next
}

// fromAgent reports whether the condition is the agent's to set: the others stay
// as their owners (the scheduler, readiness gates of users) left them.
func fromAgent(c *corev1.PodCondition) bool {
	switch c.Type {
	case corev1.DisruptionTarget: // who evicts says so
		return c.Reason == corev1.PodReasonTerminationByKubelet
	case corev1.PodReady, corev1.ContainersReady, corev1.PodInitialized, corev1.PodReadyToStartContainers,
		corev1.PodResizePending, corev1.PodResizeInProgress, object.ImageHealthCondition:
		return true
	}
	return false
}

func ended(p corev1.PodPhase) bool { return p == corev1.PodSucceeded || p == corev1.PodFailed }

func sameStatus(a, b *corev1.PodStatus) bool {
	// What differs nearly always, first: a deep comparison costs more than a put.
	return a.Phase == b.Phase && len(a.Conditions) == len(b.Conditions) &&
		len(a.ContainerStatuses) == len(b.ContainerStatuses) && equality.Semantic.DeepEqual(a, b)
}

// fail makes a pod that its node does not have any more a failed one.
func fail(p *corev1.Pod, at metav1.Time) {
	p.Status.Phase = corev1.PodFailed
	if p.Status.Reason == "" {
		p.Status.Reason, p.Status.Message = "Gone", "the node does not have this pod any more"
	}
	unready(p, "PodFailed", at)
}

// unready makes the conditions of readiness false, in a copy of theirs. It
// reports whether any was not.
func unready(p *corev1.Pod, reason string, at metav1.Time) bool {
	changed := false
	conditions := slices.Clone(p.Status.Conditions)
	for i := range conditions {
		c := &conditions[i]
		if (c.Type == corev1.PodReady || c.Type == corev1.ContainersReady) && c.Status == corev1.ConditionTrue {
			c.Status, c.Reason, c.LastTransitionTime = corev1.ConditionFalse, reason, at
			changed = true
		}
	}
	p.Status.Conditions = conditions
	return changed
}

// readyAgain undoes unready for nodes that were away, in a copy of the conditions. It
// reports whether there was something to undo.
func readyAgain(p *corev1.Pod, at metav1.Time) bool {
	changed := false
	conditions := slices.Clone(p.Status.Conditions)
	for i := range conditions {
		c := &conditions[i]
		if c.Status == corev1.ConditionFalse && c.Reason == reasonAway {
			c.Status, c.Reason, c.LastTransitionTime = corev1.ConditionTrue, "", at
			changed = true
		}
	}
	p.Status.Conditions = conditions
	return changed
}
