package tables

import (
	"iter"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
	"trireme/internal/object/mesos"
	"trireme/internal/object/tenant"
	"trireme/internal/store"
)

// TenantKey returns where the Tenant of the name is in CustomObjects.
func TenantKey(name string) object.Key {
	return CustomPlace{Group: tenant.Group.Group, Plural: tenant.Tenants.Resource, Key: object.Key{Name: name}}.CustomKey()
}

// IsTenant returns the Tenant's name, false where the key in CustomObjects is of another kind.
func IsTenant(at object.Key) (string, bool) {
	if at.Namespace != tenant.Group.Group {
		return "", false
	}
	p := ParseCustomKey(at)
	return p.Name, p.Plural == tenant.Tenants.Resource
}

// Tenant returns the Tenant of the name; false where there is none that can be read.
func Tenant(r store.Reader, name string) (*tenant.Tenant, bool) {
	return ReadCustom[tenant.Tenant](r, TenantKey(name))
}

// Tenants yields the Tenants that can be read, in order of their names.
func Tenants(r store.Reader) iter.Seq[*tenant.Tenant] {
	return func(yield func(*tenant.Tenant) bool) {
		for row := range CustomObjects.RowsFrom(r, TenantKey("").String(), "") {
			if t, ok := ReadCustom[tenant.Tenant](r, row.Key()); ok && !yield(t) {
				return
			}
		}
	}
}

// TenantPath returns where a namespace stands in the tree of tenants: where its Tenant says, or its
// role of Mesos.
func TenantPath(r store.Reader, namespace string) string {
	if t, ok := Tenant(r, namespace); ok && t.Spec.Path != "" {
		return t.Spec.Path
	}
	ns, ok := Namespaces.Get(r, object.Key{Name: namespace})
	if !ok {
		ns = &corev1.Namespace{}
		ns.Name = namespace
	}
	return mesos.Role(ns)
}

// RolePath returns where a role of Mesos stands in the tree of tenants.
func RolePath(r store.Reader, role string) string {
	if t, ok := Tenant(r, mesos.Namespace(role)); ok && t.Spec.Path != "" {
		return t.Spec.Path
	}
	return role
}
