package auth

import (
	"context"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/request"

	"trireme/internal/access"
	"trireme/internal/store"
)

// fullAuthority is what one must have to write a cluster role that is made of
// others: who writes those others later is not known.
var fullAuthority = []rbacv1.PolicyRule{
	{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}},
	{Verbs: []string{"*"}, NonResourceURLs: []string{"*"}},
}

// MayGrant refuses a role or a binding that gives more than its writer has, unless
// the writer may escalate the role or bind it (Kubernetes, "Using RBAC
// Authorization", Privilege escalation prevention). old is nil at creation. Other
// kinds are not refused.
func (a *Authorizer) MayGrant(ctx context.Context, r store.Reader, o, old store.Object) error {
	who, ok := request.UserFrom(ctx)
	if !ok || slices.Contains(who.GetGroups(), access.Masters) {
		return nil // no user: the system itself
	}
	g := grantor{a, ctx, who, r}
	switch o := o.(type) {
	case *rbacv1.Role:
		if old != nil && equality.Semantic.DeepEqual(o.Rules, old.(*rbacv1.Role).Rules) {
			return nil
		}
		return g.role("roles", o.Namespace, o.Name, o.Rules)
	case *rbacv1.ClusterRole:
		rules := o.Rules
		was, _ := old.(*rbacv1.ClusterRole)
		if was != nil && equality.Semantic.DeepEqual(o.Rules, was.Rules) && equality.Semantic.DeepEqual(o.AggregationRule, was.AggregationRule) {
			return nil
		}
		if o.AggregationRule != nil || was != nil && was.AggregationRule != nil {
			rules = append(slices.Clone(rules), fullAuthority...)
		}
		return g.role("clusterroles", "", o.Name, rules)
	case *rbacv1.RoleBinding:
		if was, _ := old.(*rbacv1.RoleBinding); was != nil && equality.Semantic.DeepEqual(o.Subjects, was.Subjects) && o.RoleRef == was.RoleRef {
			return nil
		}
		return g.binding("rolebindings", o.Namespace, o.Name, o.RoleRef)
	case *rbacv1.ClusterRoleBinding:
		if was, _ := old.(*rbacv1.ClusterRoleBinding); was != nil && equality.Semantic.DeepEqual(o.Subjects, was.Subjects) && o.RoleRef == was.RoleRef {
			return nil
		}
		return g.binding("clusterrolebindings", "", o.Name, o.RoleRef)
	}
	return nil
}

// grantor is who wants to write a role or a binding.
type grantor struct {
	a   *Authorizer
	ctx context.Context
	who user.Info
	r   store.Reader
}

func (g grantor) role(resource, namespace, name string, rules []rbacv1.PolicyRule) error {
	if g.may("escalate", resource, namespace, name) {
		return nil
	}
	return g.covers(resource, namespace, name, rules)
}

func (g grantor) binding(resource, namespace, name string, ref rbacv1.RoleRef) error {
	roles := "clusterroles"
	if ref.Kind == "Role" {
		roles = "roles"
	}
	if g.may("bind", roles, namespace, ref.Name) {
		return nil
	}
	rules, ok := access.RulesOf(g.r, ref, namespace)
	if !ok {
		return apierrors.NewNotFound(schema.GroupResource{Group: rbacv1.GroupName, Resource: strings.TrimSuffix(roles, "s")}, ref.Name)
	}
	return g.covers(resource, namespace, name, rules)
}

func (g grantor) may(verb, resource, namespace, name string) bool {
	decision, _, _ := g.a.Authorize(g.ctx, authorizer.AttributesRecord{
		User: g.who, Verb: verb, Namespace: namespace, APIGroup: rbacv1.GroupName, APIVersion: "v1", Resource: resource, Name: name, ResourceRequest: true,
	})
	return decision == authorizer.DecisionAllow
}

func (g grantor) covers(resource, namespace, name string, rules []rbacv1.PolicyRule) error {
	missing := g.a.checker.Exceeds(subject(g.who), namespace, rules)
	if len(missing) == 0 {
		return nil
	}
	var lines []string
	for _, m := range missing {
		lines = append(lines, compact(m))
	}
	slices.Sort(lines)
	return apierrors.NewForbidden(schema.GroupResource{Group: rbacv1.GroupName, Resource: resource}, name, fmt.Errorf(
		"user %q (groups=%q) is attempting to grant RBAC permissions not currently held:\n%s", g.who.GetName(), g.who.GetGroups(), strings.Join(lines, "\n")))
}

func compact(r rbacv1.PolicyRule) string {
	var parts []string
	add := func(name string, list []string) {
		if len(list) > 0 {
			parts = append(parts, fmt.Sprintf("%s:%q", name, list))
		}
	}
	add("APIGroups", r.APIGroups)
	add("Resources", r.Resources)
	add("ResourceNames", r.ResourceNames)
	add("NonResourceURLs", r.NonResourceURLs)
	add("Verbs", r.Verbs)
	return "{" + strings.Join(parts, ", ") + "}"
}
