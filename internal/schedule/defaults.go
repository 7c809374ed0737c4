package schedule

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/schedule/profile"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// systemSpreads are what pods of a service get that have neither an owner nor constraints, where the profile spreads the pods of
// owners (Kubernetes, "Internal default constraints").
var systemSpreads = []corev1.TopologySpreadConstraint{
	{TopologyKey: corev1.LabelHostname, MaxSkew: 3, WhenUnsatisfiable: corev1.ScheduleAnyway},
	{TopologyKey: corev1.LabelTopologyZone, MaxSkew: 5, WhenUnsatisfiable: corev1.ScheduleAnyway},
}

// setService takes in whom a service selects; nil: it is gone. It reports whether that has changed.
func (c *cell) setService(key object.Key, svc *corev1.Service) bool {
	var selector map[string]string
	if svc != nil {
		selector = svc.Spec.Selector
	}
	in := c.services[key.Namespace]
	if maps.Equal(in[key.Name], selector) {
		return false
	}
	if in == nil {
		in = map[string]map[string]string{}
		c.services[key.Namespace] = in
	}
	if in[key.Name] = selector; len(selector) == 0 {
		delete(in, key.Name)
	}
	return true
}

// effective returns the pod with the spread that its profile gives to those that ask for none: the pod itself where there is none.
func (c *cell) effective(p *corev1.Pod) *corev1.Pod {
	pr := c.profileOf(p)
	if pr == nil || len(p.Spec.TopologySpreadConstraints) > 0 || len(p.Labels) == 0 {
		return p
	}
	list := pr.Spreads
	owned := metav1.GetControllerOfNoCopy(p) != nil
	if pr.Owners {
		if list = systemSpreads; owned {
			return p // its owner's pods are spread without labels (score)
		}
	}
	if len(list) == 0 {
		return p
	}
	about := c.siblings(p, owned)
	if about == nil {
		return p
	}
	next := *p
	next.Spec.TopologySpreadConstraints = slices.Clone(list)
	for i := range next.Spec.TopologySpreadConstraints {
		next.Spec.TopologySpreadConstraints[i].LabelSelector = about
	}
	return &next
}

// siblings selects the pods that a pod is to be apart from: those that all its services select and that have the labels which its owner
// gives to all of its pods; nil: it has neither.
func (c *cell) siblings(p *corev1.Pod, owned bool) *metav1.LabelSelector {
	all := map[string]string{}
	for _, selector := range c.services[p.Namespace] {
		if has(p.Labels, selector) {
			maps.Copy(all, selector)
		}
	}
	if owned {
		for k, v := range p.Labels {
			if !slices.Contains(ownLabels, k) {
				all[k] = v
			}
		}
	}
	if len(all) == 0 {
		return nil
	}
	return &metav1.LabelSelector{MatchLabels: all}
}

// has reports whether the labels have all that the selector wants.
func has(labels, selector map[string]string) bool {
	for k, want := range selector {
		if v, ok := labels[k]; !ok || v != want {
			return false
		}
	}
	return true
}

// takeInServices has pods looked at again that a service selects or does so no more.
func (s *Scheduler) takeInServices(tx *store.Tx) {
	spaces := map[string]bool{}
	for key := range tables.Services.Changed(tx) {
		svc, _ := tables.Services.Get(tx, key)
		if s.cell.setService(key, svc) {
			spaces[key.Namespace] = true
		}
	}
	if len(spaces) == 0 {
		return
	}
	for _, key := range s.queue.Keys() {
		if !spaces[key.Namespace] {
			continue
		}
		if p, ok := tables.Pods.Get(tx, key); ok {
			delete(s.wrote, key) // it is not as it was then
			s.enqueue(tx, p, key)
		}
	}
}

// byDefault are the profiles of a cluster that says nothing of them.
var byDefault = []profile.Profile{profile.Default()}
