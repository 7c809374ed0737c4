package policy

import (
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/object/mesos"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// The priority classes that every cluster has (API reference, PriorityClass).
const (
	ClusterCritical      = "system-cluster-critical"
	NodeCritical         = "system-node-critical"
	clusterCriticalValue = int32(object.CriticalPriority)
	nodeCriticalValue    = clusterCriticalValue + 1000
	revocableValue       = int32(-1_000_000)
)

// SystemClasses returns new rows of the priority classes that every cluster has.
func SystemClasses() []*schedulingv1.PriorityClass {
	class := func(name string, value int32, preempts corev1.PreemptionPolicy, what string) *schedulingv1.PriorityClass {
		return &schedulingv1.PriorityClass{
			ObjectMeta: metav1.ObjectMeta{Name: name}, Value: value, PreemptionPolicy: &preempts, Description: what,
		}
	}
	return []*schedulingv1.PriorityClass{
		class(ClusterCritical, clusterCriticalValue, corev1.PreemptLowerPriority, "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary."),
		class(NodeCritical, nodeCriticalValue, corev1.PreemptLowerPriority, "Used for system critical pods that must not be moved from their current node."),
		class(mesos.RevocableClass, revocableValue, corev1.PreemptNever, "Of Mesos tasks on revocable resources, which others have asked for and do not use: they give way to all others."),
	}
}

// priorityClass returns the class of that name; the system's exist even where
// their rows do not.
func priorityClass(r store.Reader, name string) *schedulingv1.PriorityClass {
	if c, ok := tables.PriorityClasses.Get(r, object.Key{Name: name}); ok {
		return c
	}
	for _, c := range SystemClasses() {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// defaultClass returns the class of pods that name none: of several the one with
// the lowest value, nil if there is none.
func defaultClass(r store.Reader) (found *schedulingv1.PriorityClass) {
	for c := range tables.PriorityClasses.All(r) {
		if c.GlobalDefault && (found == nil || c.Value < found.Value) {
			found = c
		}
	}
	return found
}

// resolvePriority sets the pod's priority to that of its class (Kubernetes, "Pod
// Priority and Preemption").
func resolvePriority(r store.Reader, p *corev1.Pod) error {
	var class *schedulingv1.PriorityClass
	if p.Spec.PriorityClassName == "" {
		if class = defaultClass(r); class != nil {
			p.Spec.PriorityClassName = class.Name
		}
	} else if class = priorityClass(r, p.Spec.PriorityClassName); class == nil {
		return denied("no PriorityClass with name %s was found", p.Spec.PriorityClassName)
	}
	value, policy := int32(0), corev1.PreemptLowerPriority
	if class != nil {
		value = class.Value
		if class.PreemptionPolicy != nil {
			policy = *class.PreemptionPolicy
		}
	}
	if p.Spec.Priority != nil && *p.Spec.Priority != value {
		return denied("spec.priority: the integer value of priority (%d) must not be provided in pod spec; priority admission computed %d from the given PriorityClass name", *p.Spec.Priority, value)
	}
	if p.Spec.PreemptionPolicy != nil && *p.Spec.PreemptionPolicy != policy {
		return denied("spec.preemptionPolicy: %s differs from %s, which the pod's PriorityClass sets", *p.Spec.PreemptionPolicy, policy)
	}
	p.Spec.Priority, p.Spec.PreemptionPolicy = &value, &policy
	return nil
}

// onlyDefault refuses a second class for pods that name none.
func onlyDefault(r store.Reader, c *schedulingv1.PriorityClass) error {
	if !c.GlobalDefault {
		return nil
	}
	if was := defaultClass(r); was != nil && was.Name != c.Name {
		return denied("globalDefault: PriorityClass %s is marked as default already; only one PriorityClass can be", was.Name)
	}
	return nil
}
