package object

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Extended reports whether the resource is one that others than a node's agent may
// advertise there (Kubernetes, "Extended resources").
func Extended(name corev1.ResourceName) bool {
	return strings.Contains(string(name), "/") && !strings.Contains(string(name), corev1.ResourceDefaultNamespacePrefix)
}

// KeepExtended copies to next the extended resources that old has and next does not
// speak of: an agent's report is not about them.
func KeepExtended(next, old *corev1.NodeStatus) {
	keep := func(next *corev1.ResourceList, old corev1.ResourceList) {
		for name, q := range old {
			if _, ok := (*next)[name]; ok || !Extended(name) {
				continue
			}
			if *next == nil {
				*next = corev1.ResourceList{}
			}
			(*next)[name] = q
		}
	}
	keep(&next.Capacity, old.Capacity)
	keep(&next.Allocatable, old.Allocatable)
}

// AllotExtended makes allocatable what somebody wrote into a node's capacity of
// extended resources, and takes away what is not there (Kubernetes, "Advertise
// Extended Resources for a Node": one writes the capacity only).
func AllotExtended(next, old *corev1.NodeStatus) {
	for name, q := range next.Capacity {
		if !Extended(name) {
			continue
		}
		can, ok := next.Allocatable[name]
		was, had := old.Allocatable[name], old.Capacity[name]
		follows := can.Cmp(was) == 0 && q.Cmp(had) != 0
		if ok && !follows {
			continue
		}
		if next.Allocatable == nil {
			next.Allocatable = corev1.ResourceList{}
		}
		next.Allocatable[name] = q
	}
	for name := range next.Allocatable {
		if _, ok := next.Capacity[name]; !ok && Extended(name) {
			delete(next.Allocatable, name)
		}
	}
}
