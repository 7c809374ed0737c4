// Package company checks what terms about other pods say of their owner's own labels.
package company

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// TermKeys checks the label keys of a term of affinity.
func TermKeys(t *corev1.PodAffinityTerm, at *field.Path) field.ErrorList {
	const same, not = "matchLabelKeys", "mismatchLabelKeys"
	errs := OwnKeys(t.MatchLabelKeys, t.LabelSelector, at.Child(same), same)
	errs = append(errs, OwnKeys(t.MismatchLabelKeys, t.LabelSelector, at.Child(not), not)...)
	for i, k := range t.MatchLabelKeys {
		if slices.Contains(t.MismatchLabelKeys, k) {
			errs = append(errs, field.Invalid(at.Child(same).Index(i), k, "exists in both matchLabelKeys and mismatchLabelKeys"))
		}
	}
	return errs
}

// OwnKeys checks the keys of a pod's own labels that a selector is to compare others by. Kubernetes writes them into the
// selector when it makes the pod, with one value each: a pod that comes from there has them in both.
func OwnKeys(keys []string, selector *metav1.LabelSelector, at *field.Path, name string) (errs field.ErrorList) {
	if selector == nil && len(keys) > 0 {
		return field.ErrorList{field.Forbidden(at, "must not be specified when labelSelector is not set")}
	}
	for i, k := range keys {
		for _, msg := range validation.IsQualifiedName(k) {
			errs = append(errs, field.Invalid(at.Index(i), k, msg))
		}
		_, named := selector.MatchLabels[k]
		if named || slices.ContainsFunc(selector.MatchExpressions, func(e metav1.LabelSelectorRequirement) bool { return e.Key == k && len(e.Values) != 1 }) {
			errs = append(errs, field.Invalid(at.Index(i), k, "exists in both "+name+" and labelSelector"))
		}
	}
	return errs
}

// Twins refuses the i-th constraint where one before it spreads by the same key with the same consequence.
func Twins(list []corev1.TopologySpreadConstraint, i int, at *field.Path) field.ErrorList {
	c := &list[i]
	for j := range list[:i] {
		if o := &list[j]; o.TopologyKey == c.TopologyKey && o.WhenUnsatisfiable == c.WhenUnsatisfiable {
			return field.ErrorList{field.Duplicate(at.Child("{topologyKey, whenUnsatisfiable}"), "{"+c.TopologyKey+", "+string(c.WhenUnsatisfiable)+"}")}
		}
	}
	return nil
}
