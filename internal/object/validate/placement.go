package validate

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"trireme/internal/object/validate/company"
)

// affinity checks all three kinds of affinity.
func affinity(a *corev1.Affinity, at *field.Path) (errs field.ErrorList) {
	if a == nil {
		return nil
	}
	const hard, soft = "requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution"
	if n := a.NodeAffinity; n != nil {
		p := at.Child("nodeAffinity")
		if r := n.RequiredDuringSchedulingIgnoredDuringExecution; r != nil {
			if len(r.NodeSelectorTerms) == 0 {
				errs = append(errs, field.Required(p.Child(hard, "nodeSelectorTerms"), "must have at least one node selector term"))
			}
			for i := range r.NodeSelectorTerms {
				errs = append(errs, nodeTerm(&r.NodeSelectorTerms[i], p.Child(hard, "nodeSelectorTerms").Index(i))...)
			}
		}
		for i := range n.PreferredDuringSchedulingIgnoredDuringExecution {
			t := &n.PreferredDuringSchedulingIgnoredDuringExecution[i]
			errs = append(errs, weight(t.Weight, p.Child(soft).Index(i).Child("weight"))...)
			errs = append(errs, nodeTerm(&t.Preference, p.Child(soft).Index(i).Child("preference"))...)
		}
	}
	pods := func(name string, required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm) {
		p := at.Child(name)
		for i := range required {
			errs = append(errs, podTerm(&required[i], p.Child(hard).Index(i))...)
		}
		for i := range preferred {
			errs = append(errs, weight(preferred[i].Weight, p.Child(soft).Index(i).Child("weight"))...)
			errs = append(errs, podTerm(&preferred[i].PodAffinityTerm, p.Child(soft).Index(i).Child("podAffinityTerm"))...)
		}
	}
	if t := a.PodAffinity; t != nil {
		pods("podAffinity", t.RequiredDuringSchedulingIgnoredDuringExecution, t.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if t := a.PodAntiAffinity; t != nil {
		pods("podAntiAffinity", t.RequiredDuringSchedulingIgnoredDuringExecution, t.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	return errs
}

func weight(w int32, at *field.Path) field.ErrorList {
	if w < 1 || w > 100 {
		return field.ErrorList{field.Invalid(at, w, "must be in the range 1-100")}
	}
	return nil
}

func nodeTerm(t *corev1.NodeSelectorTerm, at *field.Path) (errs field.ErrorList) {
	for i := range t.MatchExpressions {
		e, p := &t.MatchExpressions[i], at.Child("matchExpressions").Index(i)
		for _, msg := range validation.IsQualifiedName(e.Key) {
			errs = append(errs, field.Invalid(p.Child("key"), e.Key, msg))
		}
		errs = append(errs, nodeRequirement(e, p)...)
	}
	for i := range t.MatchFields {
		e, p := &t.MatchFields[i], at.Child("matchFields").Index(i)
		errs = append(errs, oneOf(e.Key, p.Child("key"), metav1.ObjectNameField)...)
		errs = append(errs, oneOf(e.Operator, p.Child("operator"), corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn)...)
		if len(e.Values) != 1 {
			errs = append(errs, field.Required(p.Child("values"), "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"))
		}
	}
	return errs
}

func nodeRequirement(e *corev1.NodeSelectorRequirement, at *field.Path) field.ErrorList {
	switch e.Operator {
	case corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn:
		if len(e.Values) == 0 {
			return field.ErrorList{field.Required(at.Child("values"), "must be specified when `operator` is 'In' or 'NotIn'")}
		}
	case corev1.NodeSelectorOpExists, corev1.NodeSelectorOpDoesNotExist:
		if len(e.Values) > 0 {
			return field.ErrorList{field.Forbidden(at.Child("values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")}
		}
	case corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt:
		if len(e.Values) != 1 {
			return field.ErrorList{field.Required(at.Child("values"), "must be specified single value when `operator` is 'Lt' or 'Gt'")}
		}
		if _, err := strconv.ParseInt(e.Values[0], 10, 64); err != nil {
			return field.ErrorList{field.Invalid(at.Child("values").Index(0), e.Values[0], "must be an integer")}
		}
	}
	return oneOf(e.Operator, at.Child("operator"), corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn, corev1.NodeSelectorOpExists,
		corev1.NodeSelectorOpDoesNotExist, corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt)
}

func podTerm(t *corev1.PodAffinityTerm, at *field.Path) field.ErrorList {
	errs := topologyKey(t.TopologyKey, at.Child("topologyKey"))
	errs = append(errs, metavalidation.ValidateLabelSelector(t.LabelSelector, metavalidation.LabelSelectorValidationOptions{}, at.Child("labelSelector"))...)
	errs = append(errs, metavalidation.ValidateLabelSelector(t.NamespaceSelector, metavalidation.LabelSelectorValidationOptions{}, at.Child("namespaceSelector"))...)
	for i, ns := range t.Namespaces {
		for _, msg := range validation.IsDNS1123Label(ns) {
			errs = append(errs, field.Invalid(at.Child("namespaces").Index(i), ns, msg))
		}
	}
	return append(errs, company.TermKeys(t, at)...)
}

func topologyKey(key string, at *field.Path) (errs field.ErrorList) {
	if key == "" {
		return field.ErrorList{field.Required(at, "can not be empty")}
	}
	for _, msg := range validation.IsQualifiedName(key) {
		errs = append(errs, field.Invalid(at, key, msg))
	}
	return errs
}

func spread(list []corev1.TopologySpreadConstraint, at *field.Path) (errs field.ErrorList) {
	for i := range list {
		c, p := &list[i], at.Index(i)
		if c.MaxSkew < 1 {
			errs = append(errs, field.Invalid(p.Child("maxSkew"), c.MaxSkew, "must be greater than zero"))
		}
		if c.MinDomains != nil && *c.MinDomains < 1 {
			errs = append(errs, field.Invalid(p.Child("minDomains"), *c.MinDomains, "must be greater than zero"))
		} else if c.MinDomains != nil && c.WhenUnsatisfiable == corev1.ScheduleAnyway {
			errs = append(errs, field.Invalid(p.Child("minDomains"), *c.MinDomains, "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway"))
		}
		for name, policy := range map[string]*corev1.NodeInclusionPolicy{"nodeAffinityPolicy": c.NodeAffinityPolicy, "nodeTaintsPolicy": c.NodeTaintsPolicy} {
			if policy != nil {
				errs = append(errs, oneOf(*policy, p.Child(name), corev1.NodeInclusionPolicyHonor, corev1.NodeInclusionPolicyIgnore)...)
			}
		}
		errs = append(errs, company.Twins(list, i, p)...)
		errs = append(append(errs, topologyKey(c.TopologyKey, p.Child("topologyKey"))...), company.OwnKeys(c.MatchLabelKeys, c.LabelSelector, p.Child("matchLabelKeys"), "matchLabelKeys")...)
		errs = append(errs, oneOf(c.WhenUnsatisfiable, p.Child("whenUnsatisfiable"), corev1.DoNotSchedule, corev1.ScheduleAnyway)...)
		errs = append(errs, metavalidation.ValidateLabelSelector(c.LabelSelector, metavalidation.LabelSelectorValidationOptions{}, p.Child("labelSelector"))...)
	}
	return errs
}

func toleration(t *corev1.Toleration, at *field.Path) (errs field.ErrorList) {
	if t.Operator != "" {
		errs = append(errs, oneOf(t.Operator, at.Child("operator"), corev1.TolerationOpEqual, corev1.TolerationOpExists)...)
	}
	switch {
	case t.Key == "" && t.Operator != corev1.TolerationOpExists:
		errs = append(errs, field.Invalid(at.Child("operator"), t.Operator, "operator must be Exists when `key` is empty, which means \"match all values and all keys\""))
	case t.Key != "":
		for _, msg := range validation.IsQualifiedName(t.Key) {
			errs = append(errs, field.Invalid(at.Child("key"), t.Key, msg))
		}
	}
	if t.Operator == corev1.TolerationOpExists && t.Value != "" {
		errs = append(errs, field.Invalid(at.Child("value"), t.Value, "value must be empty when `operator` is 'Exists'"))
	}
	if t.TolerationSeconds != nil && t.Effect != corev1.TaintEffectNoExecute {
		errs = append(errs, field.Invalid(at.Child("effect"), t.Effect, "effect must be 'NoExecute' when `tolerationSeconds` is set"))
	}
	if t.Effect != "" {
		errs = append(errs, oneOf(t.Effect, at.Child("effect"), corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute)...)
	}
	return errs
}
