package access

import (
	"fmt"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Rules is the four tables compiled: what is granted, by whom it is granted to.
// Immutable.
type Rules struct {
	revs    [4]store.Rev
	cluster map[subject][]*grant
	inside  map[string]map[subject][]*grant // by namespace
}

// subject is a user or a group. An account is the user of its name.
type subject struct {
	group bool
	name  string
}

// grant is one binding of one role to one subject.
type grant struct {
	rules  []rbacv1.PolicyRule
	reason string // why a request is allowed that one of the rules allows
	broken string // why there are no rules: the role is missing
}

func revs(r store.Reader) [4]store.Rev {
	return [4]store.Rev{tables.Roles.Rev(r), tables.RoleBindings.Rev(r), tables.ClusterRoles.Rev(r), tables.ClusterRoleBindings.Rev(r)}
}

// Compile returns the rules that r holds.
func Compile(r store.Reader) *Rules {
	c := &Rules{revs: revs(r), cluster: map[subject][]*grant{}, inside: map[string]map[subject][]*grant{}}
	for b := range tables.ClusterRoleBindings.All(r) {
		for _, s := range b.Subjects {
			if key, ok := subjectOf(s, ""); ok {
				c.cluster[key] = append(c.cluster[key], newGrant(r, bound{"ClusterRoleBinding", b.Name, "", b.RoleRef}, s))
			}
		}
	}
	for b := range tables.RoleBindings.All(r) {
		in := c.inside[b.Namespace]
		if in == nil {
			in = map[subject][]*grant{}
			c.inside[b.Namespace] = in
		}
		for _, s := range b.Subjects {
			if key, ok := subjectOf(s, b.Namespace); ok {
				in[key] = append(in[key], newGrant(r, bound{"RoleBinding", b.Name, b.Namespace, b.RoleRef}, s))
			}
		}
	}
	return c
}

func subjectOf(s rbacv1.Subject, namespace string) (subject, bool) {
	switch s.Kind {
	case rbacv1.UserKind:
		return subject{false, s.Name}, true
	case rbacv1.GroupKind:
		return subject{true, s.Name}, true
	case rbacv1.ServiceAccountKind:
		if s.Namespace != "" {
			namespace = s.Namespace
		}
		return subject{false, AccountPrefix + namespace + ":" + s.Name}, namespace != ""
	}
	return subject{}, false
}

// bound is a binding of either kind.
type bound struct {
	kind, name, namespace string
	ref                   rbacv1.RoleRef
}

func newGrant(r store.Reader, b bound, s rbacv1.Subject) *grant {
	where, ref := b.name, b.ref
	if b.namespace != "" {
		where = b.name + "/" + b.namespace
	}
	who := s.Name
	if s.Kind == rbacv1.ServiceAccountKind {
		who = s.Name + "/" + s.Namespace
	}
	rules, ok := RulesOf(r, ref, b.namespace)
	g := &grant{rules: rules, reason: fmt.Sprintf("RBAC: allowed by %s %q of %s %q to %s %q", b.kind, where, ref.Kind, ref.Name, s.Kind, who)}
	if !ok {
		g.broken = fmt.Sprintf("%s.rbac.authorization.k8s.io %q not found", strings.ToLower(ref.Kind), ref.Name)
	}
	return g
}

// RulesOf returns the rules of the role that ref names, seen from the namespace;
// false where there is no such role.
func RulesOf(r store.Reader, ref rbacv1.RoleRef, namespace string) ([]rbacv1.PolicyRule, bool) {
	if ref.Kind == "Role" {
		role, ok := tables.Roles.Get(r, object.Key{Namespace: namespace, Name: ref.Name})
		if !ok {
			return nil, false
		}
		return role.Rules, true
	}
	role, ok := tables.ClusterRoles.Get(r, object.Key{Name: ref.Name})
	if !ok {
		return nil, false
	}
	return role.Rules, true
}

// grants calls f for every grant that holds for the user in the namespace, the
// cluster's first, until f returns false.
func (c *Rules) grants(u User, namespace string, f func(*grant) bool) {
	for _, by := range []map[subject][]*grant{c.cluster, c.inside[namespace]} {
		if len(by) == 0 {
			continue
		}
		for _, g := range by[subject{false, u.Name}] {
			if !f(g) {
				return
			}
		}
		for _, name := range u.Groups {
			for _, g := range by[subject{true, name}] {
				if !f(g) {
					return
				}
			}
		}
	}
}

// Allows reports whether the rules allow the request, and the binding that does;
// where none does, what is broken among the user's bindings.
func (c *Rules) Allows(r *Request) (allowed bool, reason string) {
	resource := r.resource()
	var broken []string
	c.grants(r.User, r.Namespace, func(g *grant) bool {
		if g.broken != "" {
			broken = append(broken, g.broken)
		}
		for i := range g.rules {
			if allows(&g.rules[i], r, resource) {
				allowed, reason = true, g.reason
				return false
			}
		}
		return true
	})
	if !allowed && len(broken) > 0 {
		reason = "RBAC: " + strings.Join(broken, ", ")
	}
	return allowed, reason
}

// For returns every rule that holds for the user in the namespace; in all where
// it is empty.
func (c *Rules) For(u User, namespace string) (rules []rbacv1.PolicyRule) {
	c.grants(u, namespace, func(g *grant) bool {
		rules = append(rules, g.rules...)
		return true
	})
	return rules
}
