package limit

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// quotaScopes are the scopes there are, and which of them go with quotas of pods
// only.
var quotaScopes = map[corev1.ResourceQuotaScope]bool{
	corev1.ResourceQuotaScopeTerminating: true, corev1.ResourceQuotaScopeNotTerminating: true, corev1.ResourceQuotaScopeBestEffort: true,
	corev1.ResourceQuotaScopeNotBestEffort: true, corev1.ResourceQuotaScopePriorityClass: true,
	corev1.ResourceQuotaScopeCrossNamespacePodAffinity: true, corev1.ResourceQuotaScopeVolumeAttributesClass: false,
}

// Quota returns every fault of a quota's spec.
func Quota(q *corev1.ResourceQuotaSpec, path *field.Path) (errs field.ErrorList) {
	for name, v := range q.Hard {
		p := path.Child("hard").Key(string(name))
		errs = append(errs, quotaName(string(name), p)...)
		errs = append(errs, apivalidation.ValidateNonnegativeField(v.MilliValue(), p)...)
		if countable(name) && v.MilliValue()%1000 != 0 {
			errs = append(errs, field.Invalid(p, v.String(), "must be an integer"))
		}
	}
	seen := map[corev1.ResourceQuotaScope]bool{}
	for i, s := range q.Scopes {
		errs = append(errs, quotaScope(q, s, path.Child("scopes").Index(i))...)
		seen[s] = true
	}
	if seen[corev1.ResourceQuotaScopeBestEffort] && seen[corev1.ResourceQuotaScopeNotBestEffort] ||
		seen[corev1.ResourceQuotaScopeTerminating] && seen[corev1.ResourceQuotaScopeNotTerminating] {
		errs = append(errs, field.Invalid(path.Child("scopes"), q.Scopes, "conflicting scopes"))
	}
	if q.ScopeSelector == nil {
		return errs
	}
	for i, e := range q.ScopeSelector.MatchExpressions {
		p := path.Child("scopeSelector", "matchExpressions").Index(i)
		errs = append(errs, quotaScope(q, e.ScopeName, p.Child("scopeName"))...)
		errs = append(errs, scopeOperator(e, p)...)
	}
	return errs
}

func scopeOperator(e corev1.ScopedResourceSelectorRequirement, path *field.Path) field.ErrorList {
	switch e.ScopeName {
	case corev1.ResourceQuotaScopePriorityClass, corev1.ResourceQuotaScopeVolumeAttributesClass:
	default:
		if e.Operator != corev1.ScopeSelectorOpExists {
			return field.ErrorList{field.Invalid(path.Child("operator"), e.Operator, "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity")}
		}
	}
	switch e.Operator {
	case corev1.ScopeSelectorOpIn, corev1.ScopeSelectorOpNotIn:
		if len(e.Values) == 0 {
			return field.ErrorList{field.Required(path.Child("values"), "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector")}
		}
	case corev1.ScopeSelectorOpExists, corev1.ScopeSelectorOpDoesNotExist:
		if len(e.Values) > 0 {
			return field.ErrorList{field.Invalid(path.Child("values"), e.Values, "must be no value when `operator` is 'Exists' or 'DoesNotExist' for scope selector")}
		}
	default:
		return field.ErrorList{field.NotSupported(path.Child("operator"), e.Operator, []corev1.ScopeSelectorOperator{
			corev1.ScopeSelectorOpIn, corev1.ScopeSelectorOpNotIn, corev1.ScopeSelectorOpExists, corev1.ScopeSelectorOpDoesNotExist,
		})}
	}
	return nil
}

func quotaScope(q *corev1.ResourceQuotaSpec, s corev1.ResourceQuotaScope, path *field.Path) (errs field.ErrorList) {
	pods, ok := quotaScopes[s]
	if !ok {
		return field.ErrorList{field.Invalid(path, s, "unsupported scope")}
	}
	for name := range q.Hard {
		if pods && !podResource(string(name)) && !claimResource(string(name)) ||
			s == corev1.ResourceQuotaScopeBestEffort && name != corev1.ResourcePods && podResource(string(name)) {
			errs = append(errs, field.Invalid(path, s, "unsupported scope applied to resource "+string(name)))
		}
	}
	return errs
}

func podResource(name string) bool {
	switch name {
	case "pods", "count/pods", "cpu", "memory", "ephemeral-storage":
		return true
	}
	return strings.HasPrefix(name, "limits.") || strings.HasPrefix(name, "hugepages-") || (strings.HasPrefix(name, "requests.") && name != "requests.storage")
}

func claimResource(name string) bool {
	return name == "persistentvolumeclaims" || name == "count/persistentvolumeclaims" || name == "requests.storage" || strings.Contains(name, ".storageclass.storage.k8s.io/")
}

// standardQuotas are the names without a slash that a quota may limit.
var standardQuotas = map[string]bool{
	"cpu": true, "memory": true, "ephemeral-storage": true, "requests.cpu": true, "requests.memory": true, "requests.storage": true,
	"requests.ephemeral-storage": true, "limits.cpu": true, "limits.memory": true, "limits.ephemeral-storage": true, "pods": true,
	"resourcequotas": true, "services": true, "replicationcontrollers": true, "secrets": true, "configmaps": true,
	"persistentvolumeclaims": true, "services.nodeports": true, "services.loadbalancers": true,
}

func quotaName(name string, path *field.Path) (errs field.ErrorList) {
	bare := strings.TrimPrefix(name, corev1.DefaultResourceRequestsPrefix)
	for _, msg := range validation.IsQualifiedName(name) {
		errs = append(errs, field.Invalid(path, name, msg))
	}
	if len(errs) == 0 && !strings.Contains(name, "/") && !standardQuotas[name] && !strings.HasPrefix(bare, corev1.ResourceHugePagesPrefix) {
		errs = append(errs, field.Invalid(path, name, "must be a standard resource for quota, or count/RESOURCE.GROUP"))
	}
	return errs
}

// countable reports whether the resource comes in whole pieces.
func countable(name corev1.ResourceName) bool {
	switch name {
	case corev1.ResourcePods, corev1.ResourceQuotas, corev1.ResourceServices, corev1.ResourceReplicationControllers, corev1.ResourceSecrets,
		corev1.ResourceConfigMaps, corev1.ResourcePersistentVolumeClaims, corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers:
		return true
	}
	return strings.HasPrefix(string(name), "count/")
}
