package admission

import (
	"slices"
	"strings"
	"sync/atomic"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apiserver/pkg/admission"

	"trireme/internal/store"
	"trireme/internal/tables"
)

// source is where a rule stands, in the order of the plugins.
type source int

const (
	mutatingPolicies source = iota
	mutatingWebhooks
	validatingPolicies
	validatingWebhooks
	sources
)

// concerns knows which requests a webhook or policy may concern. It looks at
// rules only, and at resources without their groups, because one object may be
// written through several: it errs towards asking.
type concerns struct {
	store *store.Store
	last  [sources]atomic.Pointer[ruleSet]
}

// ruleSet is the rules of one source as of a table's revision.
type ruleSet struct {
	rev   store.Rev
	rules []admissionv1.RuleWithOperations
}

func (c *concerns) of(a admission.Attributes, s source) bool {
	return c.matches(a.GetResource().Resource, a.GetSubresource(), a.GetOperation(), s)
}

func (c *concerns) matches(resource, subresource string, op admission.Operation, s source) bool {
	for _, r := range c.rules(s) {
		if (slices.Contains(r.Operations, admissionv1.OperationAll) || slices.Contains(r.Operations, admissionv1.OperationType(op))) &&
			slices.ContainsFunc(r.Resources, func(name string) bool { return names(name, resource, subresource) }) {
			return true
		}
	}
	return false
}

// names reports whether a rule's resource means that one: NAME, NAME/SUB, with a
// star for either.
func names(rule, resource, subresource string) bool {
	name, sub, _ := strings.Cut(rule, "/")
	return (name == "*" || name == resource) && (sub == subresource || sub == "*")
}

// rules returns the rules of a source as they stand.
func (c *concerns) rules(s source) []admissionv1.RuleWithOperations {
	head := c.store.Head()
	rev := revision(head, s)
	if set := c.last[s].Load(); set != nil && set.rev == rev {
		return set.rules
	}
	set := &ruleSet{rev: rev, rules: collect(head, s)}
	c.last[s].Store(set)
	return set.rules
}

func revision(r store.Reader, s source) store.Rev {
	switch s {
	case mutatingPolicies:
		return max(tables.MutatingAdmissionPolicies.Rev(r), tables.MutatingAdmissionPolicyBindings.Rev(r))
	case validatingPolicies:
		return max(tables.ValidatingAdmissionPolicies.Rev(r), tables.ValidatingAdmissionPolicyBindings.Rev(r))
	case mutatingWebhooks:
		return tables.MutatingWebhookConfigurations.Rev(r)
	}
	return tables.ValidatingWebhookConfigurations.Rev(r)
}

func collect(r store.Reader, s source) (rules []admissionv1.RuleWithOperations) {
	named := func(m *admissionv1.MatchResources) {
		if m == nil {
			return
		}
		for _, n := range m.ResourceRules {
			rules = append(rules, n.RuleWithOperations)
		}
	}
	switch s {
	case mutatingPolicies:
		if tables.MutatingAdmissionPolicyBindings.Len(r) == 0 {
			return nil // a policy that nothing binds does nothing
		}
		for p := range tables.MutatingAdmissionPolicies.All(r) {
			named(p.Spec.MatchConstraints)
		}
	case validatingPolicies:
		if tables.ValidatingAdmissionPolicyBindings.Len(r) == 0 {
			return nil
		}
		for p := range tables.ValidatingAdmissionPolicies.All(r) {
			named(p.Spec.MatchConstraints)
		}
	case mutatingWebhooks:
		for c := range tables.MutatingWebhookConfigurations.All(r) {
			for i := range c.Webhooks {
				rules = append(rules, c.Webhooks[i].Rules...)
			}
		}
	default:
		for c := range tables.ValidatingWebhookConfigurations.All(r) {
			for i := range c.Webhooks {
				rules = append(rules, c.Webhooks[i].Rules...)
			}
		}
	}
	return rules
}
