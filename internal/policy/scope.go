package policy

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
	"trireme/internal/store"
)

// inScope reports whether all scopes of the quota hold for o. A quota with
// scopes counts pods, and claims by their attributes class; nothing else
// (Kubernetes, "Resource Quotas", "Quota scopes").
func inScope(q *corev1.ResourceQuotaSpec, o store.Object) bool {
	for _, s := range q.Scopes {
		if !matches(corev1.ScopedResourceSelectorRequirement{ScopeName: s, Operator: corev1.ScopeSelectorOpExists}, o) {
			return false
		}
	}
	if q.ScopeSelector == nil {
		return true
	}
	for _, req := range q.ScopeSelector.MatchExpressions {
		if !matches(req, o) {
			return false
		}
	}
	return true
}

func matches(req corev1.ScopedResourceSelectorRequirement, o store.Object) bool {
	switch o := o.(type) {
	case *corev1.Pod:
		return podMatches(req, o)
	case *corev1.PersistentVolumeClaim:
		if req.ScopeName != corev1.ResourceQuotaScopeVolumeAttributesClass {
			return false
		}
		var names []string
		if n := o.Spec.VolumeAttributesClassName; n != nil && *n != "" {
			names = append(names, *n)
		}
		if n := o.Status.CurrentVolumeAttributesClassName; n != nil && *n != "" {
			names = append(names, *n)
		}
		if m := o.Status.ModifyVolumeStatus; m != nil && m.TargetVolumeAttributesClassName != "" {
			names = append(names, m.TargetVolumeAttributesClassName)
		}
		return named(req, names...)
	}
	return false
}

func podMatches(req corev1.ScopedResourceSelectorRequirement, p *corev1.Pod) bool {
	switch req.ScopeName {
	case corev1.ResourceQuotaScopeTerminating:
		return p.Spec.ActiveDeadlineSeconds != nil && *p.Spec.ActiveDeadlineSeconds >= 0
	case corev1.ResourceQuotaScopeNotTerminating:
		return p.Spec.ActiveDeadlineSeconds == nil || *p.Spec.ActiveDeadlineSeconds < 0
	case corev1.ResourceQuotaScopeBestEffort:
		return object.QOS(p) == corev1.PodQOSBestEffort
	case corev1.ResourceQuotaScopeNotBestEffort:
		return object.QOS(p) != corev1.PodQOSBestEffort
	case corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		return crossesNamespaces(p.Spec.Affinity)
	case corev1.ResourceQuotaScopePriorityClass:
		if p.Spec.PriorityClassName == "" {
			return named(req)
		}
		return named(req, p.Spec.PriorityClassName)
	}
	return false
}

// named evaluates a scope's operator over the names that the object has.
func named(req corev1.ScopedResourceSelectorRequirement, names ...string) bool {
	in := slices.ContainsFunc(names, func(n string) bool { return slices.Contains(req.Values, n) })
	switch req.Operator {
	case corev1.ScopeSelectorOpExists:
		return len(names) > 0
	case corev1.ScopeSelectorOpDoesNotExist:
		return len(names) == 0
	case corev1.ScopeSelectorOpIn:
		return in
	case corev1.ScopeSelectorOpNotIn:
		return !in
	}
	return false
}

func crossesNamespaces(a *corev1.Affinity) bool {
	var terms []corev1.PodAffinityTerm
	var weighted []corev1.WeightedPodAffinityTerm
	if a != nil && a.PodAffinity != nil {
		terms = append(terms, a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution...)
		weighted = append(weighted, a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution...)
	}
	if a != nil && a.PodAntiAffinity != nil {
		terms = append(terms, a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution...)
		weighted = append(weighted, a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution...)
	}
	for i := range weighted {
		terms = append(terms, weighted[i].PodAffinityTerm)
	}
	return slices.ContainsFunc(terms, func(t corev1.PodAffinityTerm) bool { return len(t.Namespaces) > 0 || t.NamespaceSelector != nil })
}
