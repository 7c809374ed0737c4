package access

import (
	"maps"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	rbacvalidation "k8s.io/component-helpers/auth/rbac/validation"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Bootstrap writes the roles and bindings that every cluster has, and adds to
// those that are there what they lack: rules, subjects, labels. What somebody
// added stays, and an object with the annotation
// rbac.authorization.kubernetes.io/autoupdate: "false" is left alone
// (Kubernetes, "Using RBAC Authorization", Auto-reconciliation).
func Bootstrap(tx *store.Tx) {
	for _, want := range clusterRoles() {
		reconcile(tx, tables.ClusterRoles, want, func(have *rbacv1.ClusterRole) {
			if want.AggregationRule == nil {
				have.Rules = withRules(have.Rules, want.Rules)
				return
			}
			if have.AggregationRule == nil {
				have.AggregationRule = want.AggregationRule
			}
		})
	}
	for _, want := range clusterRoleBindings() {
		reconcile(tx, tables.ClusterRoleBindings, want, func(have *rbacv1.ClusterRoleBinding) {
			have.RoleRef, have.Subjects = want.RoleRef, withSubjects(have.Subjects, want.Subjects)
		})
	}
	for _, want := range roles() {
		reconcile(tx, tables.Roles, want, func(have *rbacv1.Role) { have.Rules = withRules(have.Rules, want.Rules) })
	}
	for _, want := range roleBindings() {
		reconcile(tx, tables.RoleBindings, want, func(have *rbacv1.RoleBinding) {
			have.RoleRef, have.Subjects = want.RoleRef, withSubjects(have.Subjects, want.Subjects)
		})
	}
}

// reconcile puts want where there is nothing, else what adapt makes of what is
// there.
func reconcile[T store.Object](tx *store.Tx, t *store.Table[T, struct{}], want T, adapt func(have T)) {
	mark(want)
	have, ok := t.Get(tx, object.KeyOf(want))
	if !ok {
		t.Put(tx, want)
		return
	}
	if have.GetAnnotations()[rbacv1.AutoUpdateAnnotationKey] == "false" {
		return
	}
	next := have.DeepCopyObject().(T)
	next.SetLabels(joined(next.GetLabels(), want.GetLabels()))
	next.SetAnnotations(joined(next.GetAnnotations(), want.GetAnnotations()))
	adapt(next)
	if !equality.Semantic.DeepEqual(have, next) {
		t.Put(tx, next)
	}
}

// mark says that the object is one of those that are reconciled.
func mark(o metav1.Object) {
	o.SetLabels(joined(o.GetLabels(), map[string]string{bootstrapped: "rbac-defaults"}))
	o.SetAnnotations(joined(o.GetAnnotations(), map[string]string{rbacv1.AutoUpdateAnnotationKey: "true"}))
}

func joined(a, b map[string]string) map[string]string {
	out := maps.Clone(a)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, b)
	return out
}

func withRules(have, want []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	_, missing := rbacvalidation.Covers(have, want)
	return append(slices.Clone(have), missing...)
}

func withSubjects(have, want []rbacv1.Subject) []rbacv1.Subject {
	have = slices.Clone(have)
	for _, s := range want {
		if !slices.Contains(have, s) {
			have = append(have, s)
		}
	}
	return have
}
