package validate

import (
	"fmt"
	"strings"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The longest window and period of an autoscaler's behaviour, in seconds.
const (
	stabilizationMax = 3600
	periodMax        = 1800
)

func autoscaler(h *autoscalingv2.HorizontalPodAutoscaler) (errs field.ErrorList) {
	at, s := field.NewPath("spec"), &h.Spec
	errs = append(errs, reference(s.ScaleTargetRef, at.Child("scaleTargetRef"))...)
	least := int32(1)
	if s.MinReplicas != nil {
		least = *s.MinReplicas
		errs = append(errs, nonNegative(int64(least), at.Child("minReplicas"))...)
	}
	if s.MaxReplicas < 1 {
		errs = append(errs, field.Invalid(at.Child("maxReplicas"), s.MaxReplicas, "must be greater than 0"))
	}
	if s.MaxReplicas < least {
		errs = append(errs, field.Invalid(at.Child("maxReplicas"), s.MaxReplicas, "must be greater than or equal to `minReplicas`"))
	}
	wakes := false
	for i := range s.Metrics {
		m := &s.Metrics[i]
		wakes = wakes || m.Type == autoscalingv2.ObjectMetricSourceType || m.Type == autoscalingv2.ExternalMetricSourceType
		errs = append(errs, metric(m, at.Child("metrics").Index(i))...)
	}
	if least == 0 && !wakes {
		errs = append(errs, field.Forbidden(at.Child("metrics"), "must specify at least one Object or External metric to support scaling to zero replicas"))
	}
	if b := s.Behavior; b != nil {
		errs = append(errs, scaling(b.ScaleUp, at.Child("behavior", "scaleUp"))...)
		errs = append(errs, scaling(b.ScaleDown, at.Child("behavior", "scaleDown"))...)
	}
	return errs
}

func reference(r autoscalingv2.CrossVersionObjectReference, at *field.Path) (errs field.ErrorList) {
	for _, f := range []struct{ name, value string }{{"kind", r.Kind}, {"name", r.Name}} {
		if f.value == "" {
			errs = append(errs, field.Required(at.Child(f.name), ""))
			continue
		}
		for _, msg := range path.IsValidPathSegmentName(f.value) {
			errs = append(errs, field.Invalid(at.Child(f.name), f.value, msg))
		}
	}
	if r.APIVersion != "" {
		if group, version, ok := strings.Cut(r.APIVersion, "/"); ok && (strings.Contains(version, "/") || len(validation.IsDNS1123Subdomain(group)) > 0) {
			errs = append(errs, field.Invalid(at.Child("apiVersion"), r.APIVersion, "must be group/version or version"))
		}
	}
	return errs
}

func metric(m *autoscalingv2.MetricSpec, at *field.Path) (errs field.ErrorList) {
	sources := []struct {
		kind autoscalingv2.MetricSourceType
		name string
		set  bool
	}{
		{autoscalingv2.ObjectMetricSourceType, "object", m.Object != nil}, {autoscalingv2.PodsMetricSourceType, "pods", m.Pods != nil},
		{autoscalingv2.ResourceMetricSourceType, "resource", m.Resource != nil}, {autoscalingv2.ContainerResourceMetricSourceType, "containerResource", m.ContainerResource != nil},
		{autoscalingv2.ExternalMetricSourceType, "external", m.External != nil},
	}
	known, n := false, 0
	for _, s := range sources {
		known = known || s.kind == m.Type
		if s.kind == m.Type && !s.set {
			errs = append(errs, field.Required(at.Child(s.name), "must populate information for the given metric source"))
		}
		if s.set {
			if n++; n > 1 {
				errs = append(errs, field.Forbidden(at.Child(s.name), "must populate the given metric source only"))
			}
		}
	}
	if !known {
		return append(errs, oneOf(m.Type, at.Child("type"), autoscalingv2.ContainerResourceMetricSourceType, autoscalingv2.ExternalMetricSourceType,
			autoscalingv2.ObjectMetricSourceType, autoscalingv2.PodsMetricSourceType, autoscalingv2.ResourceMetricSourceType)...)
	}
	if s := m.Object; s != nil {
		at := at.Child("object")
		errs = append(errs, reference(s.DescribedObject, at.Child("describedObject"))...)
		errs = append(errs, identifier(s.Metric, at.Child("metric"))...)
		errs = append(errs, target(s.Target, at.Child("target"), "value", "averageValue")...)
	}
	if s := m.Pods; s != nil {
		errs = append(errs, identifier(s.Metric, at.Child("pods", "metric"))...)
		errs = append(errs, target(s.Target, at.Child("pods", "target"), "averageValue")...)
	}
	if s := m.Resource; s != nil {
		errs = append(errs, needed(string(s.Name), at.Child("resource", "name"), "must specify a resource name")...)
		errs = append(errs, target(s.Target, at.Child("resource", "target"), "averageUtilization", "averageValue")...)
	}
	if s := m.ContainerResource; s != nil {
		errs = append(errs, needed(string(s.Name), at.Child("containerResource", "name"), "must specify a resource name")...)
		errs = append(errs, needed(s.Container, at.Child("containerResource", "container"), "must specify a container")...)
		errs = append(errs, target(s.Target, at.Child("containerResource", "target"), "averageUtilization", "averageValue")...)
	}
	if s := m.External; s != nil {
		errs = append(errs, identifier(s.Metric, at.Child("external", "metric"))...)
		errs = append(errs, target(s.Target, at.Child("external", "target"), "value", "averageValue")...)
	}
	return errs
}

func needed(v string, at *field.Path, detail string) field.ErrorList {
	if v == "" {
		return field.ErrorList{field.Required(at, detail)}
	}
	return nil
}

func identifier(m autoscalingv2.MetricIdentifier, at *field.Path) field.ErrorList {
	errs := needed(m.Name, at.Child("name"), "must specify a metric name")
	if m.Name != "" {
		for _, msg := range path.IsValidPathSegmentName(m.Name) {
			errs = append(errs, field.Invalid(at.Child("name"), m.Name, msg))
		}
	}
	if m.Selector != nil {
		errs = append(errs, metavalidation.ValidateLabelSelector(m.Selector, metavalidation.LabelSelectorValidationOptions{}, at.Child("selector"))...)
	}
	return errs
}

// target checks what is aimed at: one of the values that allowed names is set.
func target(t autoscalingv2.MetricTarget, at *field.Path, allowed ...string) (errs field.ErrorList) {
	errs = append(errs, oneOf(t.Type, at.Child("type"), autoscalingv2.AverageValueMetricType, autoscalingv2.UtilizationMetricType, autoscalingv2.ValueMetricType)...)
	set := map[string]bool{"value": t.Value != nil, "averageValue": t.AverageValue != nil, "averageUtilization": t.AverageUtilization != nil}
	n := 0
	for _, name := range allowed {
		if set[name] {
			n++
		}
	}
	if t.Value != nil && t.Value.Sign() <= 0 {
		errs = append(errs, field.Invalid(at.Child("value"), t.Value.String(), "must be positive"))
	}
	if t.AverageValue != nil && t.AverageValue.Sign() <= 0 {
		errs = append(errs, field.Invalid(at.Child("averageValue"), t.AverageValue.String(), "must be positive"))
	}
	if t.AverageUtilization != nil && *t.AverageUtilization < 1 {
		errs = append(errs, field.Invalid(at.Child("averageUtilization"), *t.AverageUtilization, "must be greater than 0"))
	}
	switch {
	case n == 0:
		errs = append(errs, field.Required(at.Child(allowed[0]), "must set either "+strings.Join(allowed, " or ")))
	case n > 1:
		errs = append(errs, field.Forbidden(at.Child(allowed[0]), "may not set both "+strings.Join(allowed, " and ")))
	}
	return errs
}

func scaling(r *autoscalingv2.HPAScalingRules, at *field.Path) (errs field.ErrorList) {
	if r == nil {
		return nil
	}
	if w := r.StabilizationWindowSeconds; w != nil && *w < 0 {
		errs = append(errs, field.Invalid(at.Child("stabilizationWindowSeconds"), *w, "must be greater than or equal to zero"))
	} else if w != nil && *w > stabilizationMax {
		errs = append(errs, field.Invalid(at.Child("stabilizationWindowSeconds"), *w, fmt.Sprintf("must be less than or equal to %d", stabilizationMax)))
	}
	if p := r.SelectPolicy; p != nil {
		errs = append(errs, oneOf(*p, at.Child("selectPolicy"), autoscalingv2.DisabledPolicySelect, autoscalingv2.MaxChangePolicySelect, autoscalingv2.MinChangePolicySelect)...)
	}
	if r.Tolerance != nil && r.Tolerance.Sign() < 0 {
		errs = append(errs, field.Invalid(at.Child("tolerance"), r.Tolerance.String(), "must be greater or equal to 0"))
	}
	policies := at.Child("policies")
	if len(r.Policies) == 0 {
		return append(errs, field.Required(policies, "must specify at least one Policy"))
	}
	for i, p := range r.Policies {
		at := policies.Index(i)
		errs = append(errs, oneOf(p.Type, at.Child("type"), autoscalingv2.PercentScalingPolicy, autoscalingv2.PodsScalingPolicy)...)
		if p.Value <= 0 {
			errs = append(errs, field.Invalid(at.Child("value"), p.Value, "must be greater than zero"))
		}
		switch {
		case p.PeriodSeconds <= 0:
			errs = append(errs, field.Invalid(at.Child("periodSeconds"), p.PeriodSeconds, "must be greater than zero"))
		case p.PeriodSeconds > periodMax:
			errs = append(errs, field.Invalid(at.Child("periodSeconds"), p.PeriodSeconds, fmt.Sprintf("must be less than or equal to %d", periodMax)))
		}
	}
	return errs
}
