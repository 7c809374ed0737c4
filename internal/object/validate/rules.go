package validate

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"trireme/internal/object/validate/limit"
)

// rule checks a new object of the kinds that hold the cluster's rules.
func rule(o runtime.Object) (field.ErrorList, bool) {
	switch o := o.(type) {
	case *corev1.LimitRange:
		return append(meta(o, true, apivalidation.NameIsDNSSubdomain), limit.Range(o)...), true
	case *corev1.ResourceQuota:
		return append(meta(o, true, apivalidation.NameIsDNSSubdomain), limit.Quota(&o.Spec, field.NewPath("spec"))...), true
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
