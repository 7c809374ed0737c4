package access

import (
	"slices"
	"strings"
	"sync/atomic"

	rbacv1 "k8s.io/api/rbac/v1"
	rbacvalidation "k8s.io/component-helpers/auth/rbac/validation"

	"trireme/internal/store"
)

// Checker answers questions about a store as it is now. It is safe for use by
// many goroutines.
type Checker struct {
	store *store.Store
	rules atomic.Pointer[Rules]
}

// NewChecker returns a checker over the committed state of s.
func NewChecker(s *store.Store) *Checker { return &Checker{store: s} }

// Rules returns the rules of the committed state.
func (c *Checker) Rules() *Rules { return c.at(c.store.Snapshot()) }

func (c *Checker) at(snap *store.Snapshot) *Rules {
	rules := c.rules.Load()
	if rules == nil || rules.revs != revs(snap) {
		rules = Compile(snap)
		c.rules.Store(rules)
	}
	return rules
}

// Allows reports whether the request is allowed, and why or why not. Members of
// system:masters may do everything, and a node what its pods need.
func (c *Checker) Allows(r *Request) (allowed bool, reason string) {
	if slices.Contains(r.Groups, Masters) {
		return true, ""
	}
	snap := c.store.Snapshot()
	var refused string
	if name, ok := nodeName(r.User); ok {
		if allowed, refused = nodeAllows(snap, name, r); allowed {
			return true, ""
		}
	}
	allowed, reason = c.at(snap).Allows(r)
	if !allowed && refused != "" {
		reason = strings.TrimPrefix(reason+", "+refused, ", ")
	}
	return allowed, reason
}

// Exceeds returns the rules that the user may not hand out in the namespace,
// because it does not have them itself (Kubernetes, "Privilege escalation
// prevention and bootstrapping"). Members of system:masters may hand out all.
func (c *Checker) Exceeds(u User, namespace string, rules []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	if slices.Contains(u.Groups, Masters) {
		return nil
	}
	_, missing := rbacvalidation.Covers(c.Rules().For(u, namespace), rules)
	return missing
}

func nodeName(u User) (string, bool) {
	name, ok := strings.CutPrefix(u.Name, NodePrefix)
	return name, ok && name != "" && slices.Contains(u.Groups, Nodes)
}
