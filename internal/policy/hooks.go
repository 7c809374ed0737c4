package policy

import (
	"slices"
	"strings"
	"sync/atomic"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// HookSource is where a webhook or policy is registered.
type HookSource int

// The sources, in the order in which they are asked.
const (
	MutatingPolicies HookSource = iota
	MutatingWebhooks
	ValidatingPolicies
	ValidatingWebhooks
	HookSources // how many there are
)

// Hooks knows which writes a webhook or policy may concern. It looks at rules and
// label selectors only, and at resources without their groups, because one object may
// be written through several: it errs towards asking. What it has read of a source is
// kept until the source's tables change. The zero Hooks is ready; it may be used from
// several goroutines.
type Hooks struct {
	last [HookSources]atomic.Pointer[hookSet]
}

// hookSet is the hooks of one source as of a table's revision.
type hookSet struct {
	rev   store.Rev
	hooks []hook
}

// hook is one webhook or policy.
type hook struct {
	rules      []admissionv1.RuleWithOperations
	namespaces labels.Selector
	objects    labels.Selector
}

// Match reports whether a rule of the source names the operation on the resource;
// subresource is empty for the resource itself.
func (h *Hooks) Match(r store.Reader, s HookSource, resource, subresource string, op admissionv1.OperationType) bool {
	return slices.ContainsFunc(h.of(r, s), func(k hook) bool { return k.names(resource, subresource, op) })
}

// MatchCreation reports whether any webhook or policy may have a say in the creation
// of o, an object of the resource.
func (h *Hooks) MatchCreation(r store.Reader, resource string, o store.Object) bool {
	for s := range HookSources {
		for _, k := range h.of(r, s) {
			if k.names(resource, "", admissionv1.Create) && k.selects(r, o) {
				return true
			}
		}
	}
	return false
}

// ReviewPod reports whether any webhook or policy may have a say in the creation of a
// pod that a loop is about to put.
func (h *Hooks) ReviewPod(r store.Reader, p *corev1.Pod) bool {
	return h.MatchCreation(r, string(tables.Pods.ID()), p)
}

// HooksRev returns the revision of the last write to any registration.
func HooksRev(r store.Reader) (rev store.Rev) {
	for s := range HookSources {
		rev = max(rev, s.rev(r))
	}
	return rev
}

func (k *hook) names(resource, subresource string, op admissionv1.OperationType) bool {
	return slices.ContainsFunc(k.rules, func(r admissionv1.RuleWithOperations) bool {
		return (slices.Contains(r.Operations, admissionv1.OperationAll) || slices.Contains(r.Operations, op)) &&
			slices.ContainsFunc(r.Resources, func(rule string) bool { return names(rule, resource, subresource) })
	})
}

// names reports whether a rule's resource means that one: NAME, NAME/SUB, with a
// star for either.
func names(rule, resource, subresource string) bool {
	name, sub, _ := strings.Cut(rule, "/")
	return (name == "*" || name == resource) && (sub == subresource || sub == "*")
}

func (k *hook) selects(r store.Reader, o store.Object) bool {
	if !k.objects.Matches(labels.Set(o.GetLabels())) {
		return false
	}
	if k.namespaces.Empty() || o.GetNamespace() == "" {
		return true
	}
	ns, ok := tables.Namespaces.Get(r, object.Key{Name: o.GetNamespace()})
	return !ok || k.namespaces.Matches(labels.Set(ns.Labels))
}

// of returns the hooks of a source as they stand.
func (h *Hooks) of(r store.Reader, s HookSource) []hook {
	rev := s.rev(r)
	if set := h.last[s].Load(); set != nil && set.rev == rev {
		return set.hooks
	}
	set := &hookSet{rev: rev, hooks: s.collect(r)}
	h.last[s].Store(set)
	return set.hooks
}

func (s HookSource) rev(r store.Reader) store.Rev {
	switch s {
	case MutatingPolicies:
		return max(tables.MutatingAdmissionPolicies.Rev(r), tables.MutatingAdmissionPolicyBindings.Rev(r))
	case ValidatingPolicies:
		return max(tables.ValidatingAdmissionPolicies.Rev(r), tables.ValidatingAdmissionPolicyBindings.Rev(r))
	case MutatingWebhooks:
		return tables.MutatingWebhookConfigurations.Rev(r)
	}
	return tables.ValidatingWebhookConfigurations.Rev(r)
}

func (s HookSource) collect(r store.Reader) (hooks []hook) {
	switch s {
	case MutatingPolicies:
		if tables.MutatingAdmissionPolicyBindings.Len(r) == 0 {
			return nil // a policy that nothing binds does nothing
		}
		for p := range tables.MutatingAdmissionPolicies.All(r) {
			hooks = append(hooks, ofPolicy(p.Spec.MatchConstraints)...)
		}
	case ValidatingPolicies:
		if tables.ValidatingAdmissionPolicyBindings.Len(r) == 0 {
			return nil
		}
		for p := range tables.ValidatingAdmissionPolicies.All(r) {
			hooks = append(hooks, ofPolicy(p.Spec.MatchConstraints)...)
		}
	case MutatingWebhooks:
		for c := range tables.MutatingWebhookConfigurations.All(r) {
			for i := range c.Webhooks {
				w := &c.Webhooks[i]
				hooks = append(hooks, hook{w.Rules, selector(w.NamespaceSelector), selector(w.ObjectSelector)})
			}
		}
	default:
		for c := range tables.ValidatingWebhookConfigurations.All(r) {
			for i := range c.Webhooks {
				w := &c.Webhooks[i]
				hooks = append(hooks, hook{w.Rules, selector(w.NamespaceSelector), selector(w.ObjectSelector)})
			}
		}
	}
	return hooks
}

func ofPolicy(m *admissionv1.MatchResources) []hook {
	if m == nil {
		return nil
	}
	h := hook{namespaces: selector(m.NamespaceSelector), objects: selector(m.ObjectSelector)}
	for i := range m.ResourceRules {
		h.rules = append(h.rules, m.ResourceRules[i].RuleWithOperations)
	}
	return []hook{h}
}

// selector returns what s selects: everything where there is none, or where it cannot
// be read.
func selector(s *metav1.LabelSelector) labels.Selector {
	if s == nil {
		return labels.Everything()
	}
	sel, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return labels.Everything()
	}
	return sel
}
