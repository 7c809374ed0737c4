package auth

import (
	"errors"
	"fmt"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func kindOf(kind string) schema.GroupKind {
	return schema.GroupKind{Group: authorizationv1.GroupName, Kind: kind}
}

func validateSpec(s *authorizationv1.SubjectAccessReviewSpec) field.ErrorList {
	errs := validateQuestion(s.ResourceAttributes, s.NonResourceAttributes)
	if s.User == "" && len(s.Groups) == 0 {
		errs = append(errs, field.Invalid(field.NewPath("spec", "user"), s.User, "at least one of user or group must be specified"))
	}
	return errs
}

func validateQuestion(res *authorizationv1.ResourceAttributes, non *authorizationv1.NonResourceAttributes) (errs field.ErrorList) {
	spec := field.NewPath("spec")
	switch {
	case res != nil && non != nil:
		errs = append(errs, field.Invalid(spec.Child("nonResourceAttributes"), non, "cannot be specified in combination with resourceAttributes"))
	case res == nil && non == nil:
		errs = append(errs, field.Invalid(spec.Child("resourceAttributes"), res, "exactly one of nonResourceAttributes or resourceAttributes must be specified"))
	}
	if res == nil {
		return errs
	}
	if s := res.FieldSelector; s != nil && s.RawSelector != "" && len(s.Requirements) > 0 {
		errs = append(errs, field.Invalid(spec.Child("resourceAttributes", "fieldSelector", "rawSelector"), s.RawSelector, "may not specified at the same time as requirements"))
	}
	if s := res.LabelSelector; s != nil && s.RawSelector != "" && len(s.Requirements) > 0 {
		errs = append(errs, field.Invalid(spec.Child("resourceAttributes", "labelSelector", "rawSelector"), s.RawSelector, "may not specified at the same time as requirements"))
	}
	return errs
}

func validateLocal(r *authorizationv1.LocalSubjectAccessReview, namespace string) (errs field.ErrorList) {
	spec := field.NewPath("spec")
	if res := r.Spec.ResourceAttributes; res != nil && res.Namespace != namespace {
		errs = append(errs, field.Invalid(spec.Child("resourceAttributes", "namespace"), res.Namespace, "must match metadata.namespace"))
	}
	if r.Spec.NonResourceAttributes != nil {
		errs = append(errs, field.Invalid(spec.Child("nonResourceAttributes"), r.Spec.NonResourceAttributes, "disallowed on this kind of request"))
	}
	return errs
}

// fieldRequirements returns what a review's field selector asks for. What it does
// not know makes it ask for more, never for less.
func fieldRequirements(s *authorizationv1.FieldSelectorAttributes) (fields.Requirements, error) {
	if s == nil {
		return nil, nil
	}
	if s.RawSelector != "" {
		parsed, err := fields.ParseSelector(s.RawSelector)
		if err != nil {
			return nil, err
		}
		return parsed.Requirements(), nil
	}
	var out fields.Requirements
	var errs []error
	for _, r := range s.Requirements {
		op := map[metav1.FieldSelectorOperator]selection.Operator{metav1.FieldSelectorOpIn: selection.Equals, metav1.FieldSelectorOpNotIn: selection.NotEquals}[r.Operator]
		if op == "" || len(r.Values) != 1 {
			errs = append(errs, fmt.Errorf("field selector %s %s: only In and NotIn with one value are known", r.Key, r.Operator))
			continue
		}
		out = append(out, fields.Requirement{Operator: op, Field: r.Key, Value: r.Values[0]})
	}
	return out, errors.Join(errs...)
}

func labelRequirements(s *authorizationv1.LabelSelectorAttributes) (labels.Requirements, error) {
	if s == nil {
		return nil, nil
	}
	if s.RawSelector != "" {
		parsed, err := labels.Parse(s.RawSelector)
		if err != nil {
			return nil, err
		}
		out, _ := parsed.Requirements()
		return out, nil
	}
	parsed, err := metav1.LabelSelectorAsSelector(&metav1.LabelSelector{MatchExpressions: s.Requirements})
	if err != nil {
		return nil, err
	}
	out, _ := parsed.Requirements()
	return out, nil
}
