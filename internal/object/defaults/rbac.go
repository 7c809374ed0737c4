package defaults

import rbacv1 "k8s.io/api/rbac/v1"

// binding fills in the groups of what a binding names (API reference, RoleRef and
// Subject).
func binding(ref *rbacv1.RoleRef, subjects []rbacv1.Subject) {
	or(&ref.APIGroup, rbacv1.GroupName)
	for i := range subjects {
		if k := subjects[i].Kind; k == rbacv1.UserKind || k == rbacv1.GroupKind {
			or(&subjects[i].APIGroup, rbacv1.GroupName)
		}
	}
}
