package validate

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// rule checks a new object of the kinds that hold the cluster's rules.
func rule(o runtime.Object) (field.ErrorList, bool) {
	switch o := o.(type) {
	case *corev1.LimitRange:
		return append(meta(o, true, apivalidation.NameIsDNSSubdomain), limitRange(o)...), true
	case *corev1.ResourceQuota:
		return append(meta(o, true, apivalidation.NameIsDNSSubdomain), quota(&o.Spec, field.NewPath("spec"))...), true
	case *schedulingv1.PriorityClass:
		return append(meta(o, false, apivalidation.NameIsDNSSubdomain), priorityClass(o)...), true
	case *nodev1.RuntimeClass:
		return append(meta(o, false, apivalidation.NameIsDNSSubdomain), runtimeClass(o)...), true
	}
	return nil, false
}

// ruleUpdate checks what may not change of these kinds.
func ruleUpdate(next, old runtime.Object) (errs field.ErrorList) {
	switch next := next.(type) {
	case *corev1.ResourceQuota:
		old := old.(*corev1.ResourceQuota)
		path := field.NewPath("spec")
		errs = apivalidation.ValidateImmutableField(next.Spec.Scopes, old.Spec.Scopes, path.Child("scopes"))
		return append(errs, apivalidation.ValidateImmutableField(next.Spec.ScopeSelector, old.Spec.ScopeSelector, path.Child("scopeSelector"))...)
	case *schedulingv1.PriorityClass:
		old := old.(*schedulingv1.PriorityClass)
		if next.Value != old.Value {
			errs = append(errs, field.Forbidden(field.NewPath("value"), "may not be changed in an update."))
		}
		return append(errs, apivalidation.ValidateImmutableField(next.PreemptionPolicy, old.PreemptionPolicy, field.NewPath("preemptionPolicy"))...)
	case *nodev1.RuntimeClass:
		return apivalidation.ValidateImmutableField(next.Handler, old.(*nodev1.RuntimeClass).Handler, field.NewPath("handler"))
	}
	return nil
}

// priorityMax is the highest value of a class that a user may make.
const priorityMax = int32(1_000_000_000)

func priorityClass(c *schedulingv1.PriorityClass) (errs field.ErrorList) {
	if strings.HasPrefix(c.Name, "system-") {
		if !knownSystemClass(c) {
			errs = append(errs, field.Forbidden(field.NewPath("metadata", "name"), "priority class names with 'system-' prefix are reserved for system use only"))
		}
	} else if c.Value > priorityMax {
		errs = append(errs, field.Forbidden(field.NewPath("value"), "maximum allowed value of a user defined priority is 1000000000"))
	}
	if p := c.PreemptionPolicy; p != nil {
		errs = append(errs, oneOf(*p, field.NewPath("preemptionPolicy"), corev1.PreemptLowerPriority, corev1.PreemptNever)...)
	}
	return errs
}

func knownSystemClass(c *schedulingv1.PriorityClass) bool {
	value := map[string]int32{"system-cluster-critical": 2 * priorityMax, "system-node-critical": 2*priorityMax + 1000}
	v, ok := value[c.Name]
	return ok && v == c.Value && !c.GlobalDefault
}

func runtimeClass(c *nodev1.RuntimeClass) (errs field.ErrorList) {
	for _, msg := range apivalidation.NameIsDNSLabel(c.Handler, false) {
		errs = append(errs, field.Invalid(field.NewPath("handler"), c.Handler, msg))
	}
	if c.Overhead != nil {
		path := field.NewPath("overhead", "podFixed")
		for name, q := range c.Overhead.PodFixed {
			errs = append(errs, nonNegative(q.MilliValue(), path.Key(string(name)))...)
		}
	}
	if s := c.Scheduling; s != nil {
		path := field.NewPath("scheduling")
		errs = append(errs, metavalidation.ValidateLabels(s.NodeSelector, path.Child("nodeSelector"))...)
		for i, t := range s.Tolerations {
			errs = append(errs, toleration(&t, path.Child("tolerations").Index(i))...)
		}
	}
	return errs
}

// quotaScopes are the scopes there are, and which of them go with quotas of pods
// only.
var quotaScopes = map[corev1.ResourceQuotaScope]bool{
	corev1.ResourceQuotaScopeTerminating: true, corev1.ResourceQuotaScopeNotTerminating: true, corev1.ResourceQuotaScopeBestEffort: true,
	corev1.ResourceQuotaScopeNotBestEffort: true, corev1.ResourceQuotaScopePriorityClass: true,
	corev1.ResourceQuotaScopeCrossNamespacePodAffinity: true, corev1.ResourceQuotaScopeVolumeAttributesClass: false,
}

func quota(q *corev1.ResourceQuotaSpec, path *field.Path) (errs field.ErrorList) {
	for name, v := range q.Hard {
		p := path.Child("hard").Key(string(name))
		errs = append(errs, quotaName(string(name), p)...)
		errs = append(errs, nonNegative(v.MilliValue(), p)...)
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
		return oneOf(e.Operator, path.Child("operator"), corev1.ScopeSelectorOpIn, corev1.ScopeSelectorOpNotIn, corev1.ScopeSelectorOpExists, corev1.ScopeSelectorOpDoesNotExist)
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
