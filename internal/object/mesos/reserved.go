package mesos

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/mesos/resource"
	mesosv1 "trireme/internal/mesos/v1"
)

// Reserved returns what is reserved dynamically on an agent, volumes included.
func Reserved(a *Agent) (resource.List, error) {
	var all []*mesosv1.Resource
	for _, m := range a.Spec.Reserved {
		all = append(all, m.M)
	}
	list, err := resource.From("spec.reserved", all)
	if err != nil {
		return nil, fmt.Errorf("agent %s: %w", a.Name, err)
	}
	return list, nil
}

// SetReserved is the inverse of Reserved.
func SetReserved(a *Agent, list resource.List) {
	a.Spec.Reserved = nil
	for _, m := range list.Messages(true) {
		a.Spec.Reserved = append(a.Spec.Reserved, Message[*mesosv1.Resource]{m})
	}
}

// Resized returns the Pod of an executor of a framework's own with times as much more: a task
// that comes or, with -1, one that has ended.
func Resized(pod *corev1.Pod, by resource.List, times int) (*corev1.Pod, error) {
	asks, err := by.Firm().Requests() // of what is revocable nobody is asked
	if err != nil {
		return nil, err
	}
	most, err := by.Requests()
	if err != nil {
		return nil, err
	}
	next := pod.DeepCopy()
	r := &next.Spec.Containers[0].Resources
	for _, one := range []struct{ list, by corev1.ResourceList }{{r.Requests, asks}, {r.Limits, most}} {
		for name, q := range one.by {
			if times < 0 {
				q.Neg()
			}
			if have, ok := one.list[name]; ok {
				have.Add(q)
				one.list[name] = have
			}
		}
	}
	return next, nil
}
