package defaults

import (
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	schedulingv1alpha3 "k8s.io/api/scheduling/v1alpha3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// rule defaults the kinds that hold the cluster's rules.
func rule(o runtime.Object) {
	switch o := o.(type) {
	case *corev1.LimitRange:
		for i := range o.Spec.Limits {
			limitItem(&o.Spec.Limits[i])
		}
	case *schedulingv1.PriorityClass:
		ptr(&o.PreemptionPolicy, corev1.PreemptLowerPriority)
	case *schedulingv1alpha3.PodGroup:
		ptr(&o.Spec.DisruptionMode, schedulingv1alpha3.DisruptionMode{Single: &schedulingv1alpha3.SingleDisruptionMode{}})
	case *admissionv1.MutatingWebhookConfiguration:
		for i := range o.Webhooks {
			h := &o.Webhooks[i]
			webhook(&h.FailurePolicy, &h.MatchPolicy, &h.TimeoutSeconds, &h.ClientConfig)
			selectors(&h.NamespaceSelector, &h.ObjectSelector)
			ptr(&h.ReinvocationPolicy, admissionv1.NeverReinvocationPolicy)
			scopes(h.Rules)
		}
	case *admissionv1.ValidatingWebhookConfiguration:
		for i := range o.Webhooks {
			h := &o.Webhooks[i]
			webhook(&h.FailurePolicy, &h.MatchPolicy, &h.TimeoutSeconds, &h.ClientConfig)
			selectors(&h.NamespaceSelector, &h.ObjectSelector)
			scopes(h.Rules)
		}
	case *admissionv1.ValidatingAdmissionPolicy:
		ptr(&o.Spec.FailurePolicy, admissionv1.Fail)
		matchResources(o.Spec.MatchConstraints)
	case *admissionv1.ValidatingAdmissionPolicyBinding:
		matchResources(o.Spec.MatchResources)
	case *admissionv1.MutatingAdmissionPolicy:
		ptr(&o.Spec.FailurePolicy, admissionv1.Fail)
		matchResources(o.Spec.MatchConstraints)
	case *admissionv1.MutatingAdmissionPolicyBinding:
		matchResources(o.Spec.MatchResources)
	}
}

// limitItem gives a container's limits and requests what its bounds imply.
func limitItem(item *corev1.LimitRangeItem) {
	if item.Type != corev1.LimitTypeContainer {
		return
	}
	item.Default = with(item.Default, item.Max)
	item.DefaultRequest = with(with(item.DefaultRequest, item.Default), item.Min)
}

// with returns list with what it lacks of more.
func with(list, more corev1.ResourceList) corev1.ResourceList {
	for name, q := range more {
		if _, ok := list[name]; !ok {
			if list == nil {
				list = corev1.ResourceList{}
			}
			list[name] = q.DeepCopy()
		}
	}
	return list
}

func webhook(failure **admissionv1.FailurePolicyType, match **admissionv1.MatchPolicyType, timeout **int32, client *admissionv1.WebhookClientConfig) {
	ptr(failure, admissionv1.Fail)
	ptr(match, admissionv1.Equivalent)
	ptr(timeout, 10)
	if client.Service != nil {
		ptr(&client.Service.Port, 443)
	}
}

func selectors(namespace, object **metav1.LabelSelector) {
	ptr(namespace, metav1.LabelSelector{})
	ptr(object, metav1.LabelSelector{})
}

func scopes(rules []admissionv1.RuleWithOperations) {
	for i := range rules {
		ptr(&rules[i].Scope, admissionv1.AllScopes)
	}
}

func matchResources(m *admissionv1.MatchResources) {
	if m == nil {
		return
	}
	ptr(&m.MatchPolicy, admissionv1.Equivalent)
	selectors(&m.NamespaceSelector, &m.ObjectSelector)
	for _, list := range [][]admissionv1.NamedRuleWithOperations{m.ResourceRules, m.ExcludeResourceRules} {
		for i := range list {
			ptr(&list[i].Scope, admissionv1.AllScopes)
		}
	}
}
