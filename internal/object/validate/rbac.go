package validate

import (
	"fmt"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"trireme/internal/object/validate/trust"
)

// roleName holds the names of roles and bindings: one segment of a path, because
// system roles have colons in theirs.
func roleName(name string, prefix bool) []string {
	return path.ValidatePathSegmentName(name, prefix)
}

// security checks the kinds that say who may do what; false for others.
func security(o runtime.Object) (field.ErrorList, bool) {
	switch o := o.(type) {
	case *certificatesv1.CertificateSigningRequest:
		return append(meta(o, false, roleName), trust.SigningRequest(o)...), true
	case *rbacv1.Role:
		return append(meta(o, true, roleName), policyRules(o.Rules, true)...), true
	case *rbacv1.ClusterRole:
		return append(meta(o, false, roleName), clusterRole(o)...), true
	case *rbacv1.RoleBinding:
		return append(meta(o, true, roleName), binding(o.RoleRef, o.Subjects, true)...), true
	case *rbacv1.ClusterRoleBinding:
		return append(meta(o, false, roleName), binding(o.RoleRef, o.Subjects, false)...), true
	}
	return nil, false
}

// policyRules checks a role's rules (API reference, PolicyRule).
func policyRules(rules []rbacv1.PolicyRule, namespaced bool) (errs field.ErrorList) {
	for i, r := range rules {
		at := field.NewPath("rules").Index(i)
		if len(r.Verbs) == 0 {
			errs = append(errs, field.Required(at.Child("verbs"), "verbs must contain at least one value"))
		}
		if len(r.NonResourceURLs) > 0 {
			errs = append(errs, pathRule(r, at, namespaced)...)
			continue
		}
		if len(r.APIGroups) == 0 {
			errs = append(errs, field.Required(at.Child("apiGroups"), "resource rules must supply at least one api group"))
		}
		if len(r.Resources) == 0 {
			errs = append(errs, field.Required(at.Child("resources"), "resource rules must supply at least one resource"))
		}
	}
	return errs
}

func pathRule(r rbacv1.PolicyRule, at *field.Path, namespaced bool) (errs field.ErrorList) {
	if namespaced {
		errs = append(errs, field.Invalid(at.Child("nonResourceURLs"), r.NonResourceURLs, "namespaced rules cannot apply to non-resource URLs"))
	}
	if len(r.APIGroups) > 0 || len(r.Resources) > 0 || len(r.ResourceNames) > 0 {
		errs = append(errs, field.Invalid(at.Child("nonResourceURLs"), r.NonResourceURLs, "rules cannot apply to both regular resources and non-resource URLs"))
	}
	return errs
}

func clusterRole(r *rbacv1.ClusterRole) field.ErrorList {
	errs := policyRules(r.Rules, false)
	if r.AggregationRule == nil {
		return errs
	}
	at := field.NewPath("aggregationRule", "clusterRoleSelectors")
	if len(r.AggregationRule.ClusterRoleSelectors) == 0 {
		errs = append(errs, field.Required(at, "at least one clusterRoleSelector required if aggregationRule is non-nil"))
	}
	for i := range r.AggregationRule.ClusterRoleSelectors {
		s := &r.AggregationRule.ClusterRoleSelectors[i]
		errs = append(errs, metav1validation.ValidateLabelSelector(s, metav1validation.LabelSelectorValidationOptions{}, at.Index(i))...)
	}
	return errs
}

// binding checks what both kinds of bindings have; namespaced ones may name a Role.
func binding(ref rbacv1.RoleRef, subjects []rbacv1.Subject, namespaced bool) (errs field.ErrorList) {
	at := field.NewPath("roleRef")
	if ref.APIGroup != rbacv1.GroupName {
		errs = append(errs, field.NotSupported(at.Child("apiGroup"), ref.APIGroup, []string{rbacv1.GroupName}))
	}
	kinds := []string{"ClusterRole"}
	if namespaced {
		kinds = []string{"Role", "ClusterRole"}
	}
	errs = append(errs, oneOf(ref.Kind, at.Child("kind"), kinds...)...)
	if ref.Name == "" {
		errs = append(errs, field.Required(at.Child("name"), ""))
	} else if bad := roleName(ref.Name, false); len(bad) > 0 {
		errs = append(errs, field.Invalid(at.Child("name"), ref.Name, strings.Join(bad, ", ")))
	}
	for i, s := range subjects {
		errs = append(errs, roleSubject(s, field.NewPath("subjects").Index(i), namespaced)...)
	}
	return errs
}

func roleSubject(s rbacv1.Subject, at *field.Path, namespaced bool) (errs field.ErrorList) {
	if s.Name == "" {
		errs = append(errs, field.Required(at.Child("name"), ""))
	}
	group := rbacv1.GroupName
	switch s.Kind {
	case rbacv1.ServiceAccountKind:
		group = ""
		if bad := apivalidation.ValidateServiceAccountName(s.Name, false); s.Name != "" && len(bad) > 0 {
			errs = append(errs, field.Invalid(at.Child("name"), s.Name, strings.Join(bad, ", ")))
		}
		if !namespaced && s.Namespace == "" {
			errs = append(errs, field.Required(at.Child("namespace"), ""))
		}
	case rbacv1.UserKind, rbacv1.GroupKind:
	default:
		return append(errs, field.NotSupported(at.Child("kind"), s.Kind, []string{rbacv1.ServiceAccountKind, rbacv1.UserKind, rbacv1.GroupKind}))
	}
	if s.APIGroup != group {
		errs = append(errs, field.NotSupported(at.Child("apiGroup"), s.APIGroup, []string{group}))
	}
	return errs
}

// sameRole holds that a binding keeps its role: another role is another grant, so
// it is deleted and made anew (API reference, RoleBinding.roleRef).
func sameRole(next, old rbacv1.RoleRef) field.ErrorList {
	if next == old {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("roleRef"), fmt.Sprintf("%s/%s", next.Kind, next.Name), "cannot change roleRef: delete the binding and make it anew")}
}
