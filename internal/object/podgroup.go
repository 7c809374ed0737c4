package object

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	schedulingv1alpha3 "k8s.io/api/scheduling/v1alpha3"
)

// GangTimeoutAnnotation says on a PodGroup how long it may wait to be placed before that is told, as in 10m. Kubernetes has
// no field for it.
const GangTimeoutAnnotation = "scheduling.trireme.dev/timeout"

// PodGroup returns the name of the PodGroup that the pod is placed with; empty: none.
func PodGroup(p *corev1.Pod) string {
	if g := p.Spec.SchedulingGroup; g != nil && g.PodGroupName != nil {
		return *g.PodGroupName
	}
	return ""
}

// GangTimeout returns how long the group may wait to be placed before that is told; 0: as long as it takes.
func GangTimeout(g *schedulingv1alpha3.PodGroup) (time.Duration, error) {
	text, ok := g.Annotations[GangTimeoutAnnotation]
	if !ok {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%q is no duration above 0, as 10m is", text)
	}
	return d, nil
}

// GangTopology returns the label of nodes whose value the group's pods are to share; empty: none.
func GangTopology(g *schedulingv1alpha3.PodGroup) string {
	if c := g.Spec.SchedulingConstraints; c != nil && len(c.Topology) > 0 {
		return c.Topology[0].Key
	}
	return ""
}
