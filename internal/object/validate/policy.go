package validate

import (
	policyv1 "k8s.io/api/policy/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func disruptionBudget(b *policyv1.PodDisruptionBudget) (errs field.ErrorList) {
	at := field.NewPath("spec")
	s := &b.Spec
	if s.MinAvailable != nil && s.MaxUnavailable != nil {
		errs = append(errs, field.Invalid(at, field.OmitValueType{}, "minAvailable and maxUnavailable cannot be both set"))
	}
	errs = append(errs, share(s.MinAvailable, at.Child("minAvailable"))...)
	errs = append(errs, share(s.MaxUnavailable, at.Child("maxUnavailable"))...)
	if p := s.UnhealthyPodEvictionPolicy; p != nil {
		errs = append(errs, oneOf(*p, at.Child("unhealthyPodEvictionPolicy"), policyv1.AlwaysAllow, policyv1.IfHealthyBudget)...)
	}
	if s.Selector != nil {
		errs = append(errs, metavalidation.ValidateLabelSelector(s.Selector, metavalidation.LabelSelectorValidationOptions{AllowInvalidLabelValueInSelector: true}, at.Child("selector"))...)
	}
	return errs
}

// share checks a number or a percentage of a whole.
func share(v *intstr.IntOrString, at *field.Path) field.ErrorList {
	n, errs := intOrPercent(v, at)
	if v != nil && v.Type == intstr.String && n > 100 {
		errs = append(errs, field.Invalid(at, v, "must not be greater than 100%"))
	}
	return errs
}
