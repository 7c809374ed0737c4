package auth

import (
	"context"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"trireme/internal/access"
)

// Authorizer shows an access.Checker as the library's authorizer.
type Authorizer struct{ checker *access.Checker }

// NewAuthorizer returns an authorizer that asks c.
func NewAuthorizer(c *access.Checker) *Authorizer { return &Authorizer{c} }

var (
	_ authorizer.Authorizer   = (*Authorizer)(nil)
	_ authorizer.RuleResolver = (*Authorizer)(nil)
)

// Authorize implements authorizer.Authorizer.
func (a *Authorizer) Authorize(_ context.Context, attr authorizer.Attributes) (authorizer.Decision, string, error) {
	r := question(attr)
	if r.Resource == "" && attr.IsReadOnly() && open(r.Path) {
		return authorizer.DecisionAllow, "", nil
	}
	allowed, reason := a.checker.Allows(&r)
	if allowed {
		return authorizer.DecisionAllow, reason, nil
	}
	return authorizer.DecisionNoOpinion, reason, nil
}

// ConditionsAwareAuthorize implements authorizer.Authorizer; no answer here has
// conditions.
func (a *Authorizer) ConditionsAwareAuthorize(ctx context.Context, attr authorizer.Attributes) authorizer.ConditionsAwareDecision {
	return authorizer.ConditionsAwareDecisionFromParts(a.Authorize(ctx, attr))
}

// EvaluateConditions implements authorizer.Authorizer.
func (a *Authorizer) EvaluateConditions(context.Context, authorizer.ConditionsAwareDecision, authorizer.ConditionsData) (authorizer.Decision, string, error) {
	return authorizer.DecisionDeny, "", authorizer.ErrorConditionEvaluationNotSupported
}

// RulesFor implements authorizer.RuleResolver.
func (a *Authorizer) RulesFor(_ context.Context, who user.Info, namespace string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	var resources []authorizer.ResourceRuleInfo
	var paths []authorizer.NonResourceRuleInfo
	for _, r := range a.rules(who, namespace) {
		if len(r.Resources) > 0 {
			resources = append(resources, &authorizer.DefaultResourceRuleInfo{Verbs: r.Verbs, APIGroups: r.APIGroups, Resources: r.Resources, ResourceNames: r.ResourceNames})
		}
		if len(r.NonResourceURLs) > 0 && namespace != "" {
			paths = append(paths, &authorizer.DefaultNonResourceRuleInfo{Verbs: r.Verbs, NonResourceURLs: r.NonResourceURLs})
		}
	}
	return resources, paths, false, nil
}

func (a *Authorizer) rules(who user.Info, namespace string) []rbacv1.PolicyRule {
	return a.checker.Rules().For(subject(who), namespace)
}

// openPaths are open to everybody, whatever the roles say; what is below them is
// not.
var openPaths = []string{"/healthz", "/livez", "/readyz", "/version"}

func open(path string) bool { return slices.Contains(openPaths, strings.TrimSuffix(path, "/")) }

func subject(who user.Info) access.User {
	return access.User{Name: who.GetName(), Groups: who.GetGroups()}
}

func question(a authorizer.Attributes) access.Request {
	r := access.Request{Verb: a.GetVerb()}
	if who := a.GetUser(); who != nil {
		r.User = subject(who)
	}
	if !a.IsResourceRequest() {
		r.Path = a.GetPath()
		return r
	}
	r.APIGroup, r.Resource, r.Subresource = a.GetAPIGroup(), a.GetResource(), a.GetSubresource()
	r.Namespace, r.Name = a.GetNamespace(), a.GetName()
	if strings.HasPrefix(r.User.Name, access.NodePrefix) {
		r.OnNode = nodeSelected(a)
	}
	return r
}

// nodeSelected returns the node whose pods the request selects by a field.
func nodeSelected(a authorizer.Attributes) string {
	requirements, err := a.GetFieldSelector()
	if err != nil {
		return ""
	}
	for _, r := range requirements {
		if r.Field == "spec.nodeName" && (r.Operator == "=" || r.Operator == "==") {
			return r.Value
		}
	}
	return ""
}
