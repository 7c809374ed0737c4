package columns

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	registration "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	schedulingv1alpha3 "k8s.io/api/scheduling/v1alpha3"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"trireme/internal/store"
)

// ruleKinds are the kinds that hold the cluster's rules.
var ruleKinds = map[store.TableID]Kind{
	"resourcequotas": {[]string{"Request", "Limit", "Age"}, func(o runtime.Object) []any {
		q := o.(*corev1.ResourceQuota)
		var requests, limits []string
		for _, name := range slices.Sorted(maps.Keys(q.Status.Hard)) {
			used, hard := q.Status.Used[name], q.Status.Hard[name]
			cell := fmt.Sprintf("%s: %s/%s", name, &used, &hard)
			if strings.HasPrefix(string(name), "limits.") {
				limits = append(limits, cell)
			} else {
				requests = append(requests, cell)
			}
		}
		return []any{strings.Join(requests, ", "), strings.Join(limits, ", "), Age(q)}
	}},
	"limitranges": {[]string{"Created At"}, func(o runtime.Object) []any {
		return []any{o.(*corev1.LimitRange).CreationTimestamp.UTC().Format("2006-01-02T15:04:05Z")}
	}},
	"priorityclasses": {[]string{"Value", "Global-Default", "Age", "PreemptionPolicy"}, func(o runtime.Object) []any {
		c := o.(*schedulingv1.PriorityClass)
		return []any{int64(c.Value), c.GlobalDefault, Age(c), string(deref(c.PreemptionPolicy))}
	}},
	"podgroups": {[]string{"Policy", "Min-Count", "Scheduled", "Age"}, func(o runtime.Object) []any {
		g := o.(*schedulingv1alpha3.PodGroup)
		policy, least, scheduled := "Basic", "<none>", "<none>"
		if gang := g.Spec.SchedulingPolicy.Gang; gang != nil {
			policy, least = "Gang", fmt.Sprint(gang.MinCount)
		}
		if c := meta.FindStatusCondition(g.Status.Conditions, schedulingv1alpha3.PodGroupInitiallyScheduled); c != nil {
			scheduled = string(c.Status)
		}
		return []any{policy, least, scheduled, Age(g)}
	}},
	"mutatingwebhookconfigurations": {[]string{"Webhooks", "Age"}, func(o runtime.Object) []any {
		c := o.(*registration.MutatingWebhookConfiguration)
		return []any{int64(len(c.Webhooks)), Age(c)}
	}},
	"validatingwebhookconfigurations": {[]string{"Webhooks", "Age"}, func(o runtime.Object) []any {
		c := o.(*registration.ValidatingWebhookConfiguration)
		return []any{int64(len(c.Webhooks)), Age(c)}
	}},
	"validatingadmissionpolicies": {[]string{"Validations", "ParamKind", "Age"}, func(o runtime.Object) []any {
		p := o.(*registration.ValidatingAdmissionPolicy)
		return []any{int64(len(p.Spec.Validations)), paramKind(p.Spec.ParamKind), Age(p)}
	}},
	"mutatingadmissionpolicies": {[]string{"Mutations", "ParamKind", "Age"}, func(o runtime.Object) []any {
		p := o.(*registration.MutatingAdmissionPolicy)
		return []any{int64(len(p.Spec.Mutations)), paramKind(p.Spec.ParamKind), Age(p)}
	}},
	"validatingadmissionpolicybindings": {[]string{"PolicyName", "ParamRef", "Age"}, func(o runtime.Object) []any {
		b := o.(*registration.ValidatingAdmissionPolicyBinding)
		return []any{b.Spec.PolicyName, paramRef(b.Spec.ParamRef), Age(b)}
	}},
	"mutatingadmissionpolicybindings": {[]string{"PolicyName", "ParamRef", "Age"}, func(o runtime.Object) []any {
		b := o.(*registration.MutatingAdmissionPolicyBinding)
		return []any{b.Spec.PolicyName, paramRef(b.Spec.ParamRef), Age(b)}
	}},
}

func paramKind(k *registration.ParamKind) string {
	if k == nil {
		return unset
	}
	return k.APIVersion + "/" + k.Kind
}

func paramRef(r *registration.ParamRef) string {
	switch {
	case r == nil:
		return unset
	case r.Selector != nil:
		return metav1.FormatLabelSelector(r.Selector)
	case r.Namespace != "":
		return r.Namespace + "/" + r.Name
	}
	return "*/" + r.Name
}
