package daemonset

import (
	"slices"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// verdict says what a node may have of a set.
type verdict struct {
	runs  bool // a new pod may be made
	keeps bool // a pod that is there may stay
}

// chooser judges nodes for one generation of a set.
type chooser struct {
	pod      corev1.Pod // of the template, with a daemon's tolerations
	required nodeaffinity.RequiredNodeAffinity
}

func newChooser(d *appsv1.DaemonSet) *chooser {
	c := &chooser{}
	c.pod.Spec = d.Spec.Template.Spec
	c.pod.Spec.Tolerations = tolerations(&d.Spec.Template.Spec)
	c.required = nodeaffinity.GetRequiredNodeAffinity(&c.pod)
	return c
}

func (c *chooser) look(n *corev1.Node) verdict {
	if name := c.pod.Spec.NodeName; name != "" && name != n.Name {
		return verdict{}
	}
	if ok, err := c.required.Match(n); err != nil || !ok {
		return verdict{}
	}
	v := verdict{true, true}
	for i := range n.Spec.Taints {
		t := &n.Spec.Taints[i]
		if t.Effect == corev1.TaintEffectPreferNoSchedule || c.tolerates(t) {
			continue
		}
		v.runs = false
		if t.Effect == corev1.TaintEffectNoExecute {
			v.keeps = false
		}
	}
	return v
}

func (c *chooser) tolerates(t *corev1.Taint) bool {
	for i := range c.pod.Spec.Tolerations {
		if c.pod.Spec.Tolerations[i].ToleratesTaint(logr.Discard(), t, false) {
			return true
		}
	}
	return false
}

// tolerations returns the template's tolerations and those that every daemon has
// (Kubernetes, "DaemonSet", "Taints and tolerations").
func tolerations(s *corev1.PodSpec) []corev1.Toleration {
	out := slices.Clone(s.Tolerations)
	add := func(effect corev1.TaintEffect, keys ...string) {
		for _, key := range keys {
			t := corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: effect}
			if !slices.ContainsFunc(out, func(have corev1.Toleration) bool { return have.MatchToleration(&t) }) {
				out = append(out, t)
			}
		}
	}
	add(corev1.TaintEffectNoExecute, corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable)
	add(corev1.TaintEffectNoSchedule, corev1.TaintNodeDiskPressure, corev1.TaintNodeMemoryPressure, corev1.TaintNodePIDPressure, corev1.TaintNodeUnschedulable)
	if s.HostNetwork {
		add(corev1.TaintEffectNoSchedule, corev1.TaintNodeNetworkUnavailable)
	}
	return out
}

// pinned returns the node that a pod asks for as sow.Pin writes it, empty: none.
func pinned(p *corev1.Pod) string {
	a := p.Spec.Affinity
	if a == nil || a.NodeAffinity == nil || a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return ""
	}
	terms := a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	if len(terms) != 1 || len(terms[0].MatchFields) != 1 {
		return ""
	}
	f := terms[0].MatchFields[0]
	if f.Key != metav1.ObjectNameField || f.Operator != corev1.NodeSelectorOpIn || len(f.Values) != 1 {
		return ""
	}
	return f.Values[0]
}
