package access

import rbacv1 "k8s.io/api/rbac/v1"

// The groups and names that the rules know.
const (
	Masters           = "system:masters"
	Nodes             = "system:nodes"
	NodePrefix        = "system:node:"
	Authenticated     = "system:authenticated"
	Unauthenticated   = "system:unauthenticated"
	Monitoring        = "system:monitoring"
	AccountPrefix     = "system:serviceaccount:"
	AccountsGroup     = "system:serviceaccounts"
	AccountsGroupOf   = "system:serviceaccounts:"
	ControllerManager = "system:kube-controller-manager"
	Scheduler         = "system:kube-scheduler"
	Proxy             = "system:kube-proxy"
)

// User is who asks.
type User struct {
	Name   string
	Groups []string
}

// Request is one thing that a user wants to do: something to a resource, or a
// method on a path where Resource is empty.
type Request struct {
	User
	Verb        string
	APIGroup    string
	Resource    string
	Subresource string
	Namespace   string // empty: not in a namespace, or in all
	Name        string
	Path        string
	// OnNode is the node whose pods a list or watch asks for, by a field selector
	// of spec.nodeName; empty: all.
	OnNode string
}

// resource returns the resource as rules write it: "pods", "pods/log".
func (r *Request) resource() string {
	if r.Subresource == "" {
		return r.Resource
	}
	return r.Resource + "/" + r.Subresource
}

// allows reports whether the rule allows the request; resource is r.resource().
func allows(rule *rbacv1.PolicyRule, r *Request, resource string) bool {
	if !has(rule.Verbs, r.Verb) {
		return false
	}
	if r.Resource == "" {
		return pathIn(rule.NonResourceURLs, r.Path)
	}
	return has(rule.APIGroups, r.APIGroup) && resourceIn(rule.Resources, r, resource) &&
		(len(rule.ResourceNames) == 0 || hasExactly(rule.ResourceNames, r.Name))
}

func has(list []string, s string) bool {
	for _, l := range list {
		if l == s || l == rbacv1.VerbAll {
			return true
		}
	}
	return false
}

func hasExactly(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

func resourceIn(list []string, r *Request, resource string) bool {
	for _, l := range list {
		if l == rbacv1.ResourceAll || l == resource {
			return true
		}
		// "*/scale" is that subresource of everything.
		if len(l) == len(r.Subresource)+2 && l[:2] == "*/" && l[2:] == r.Subresource && r.Subresource != "" {
			return true
		}
	}
	return false
}

func pathIn(list []string, path string) bool {
	for _, l := range list {
		if l == path || l == rbacv1.NonResourceAll {
			return true
		}
		if n := len(l) - 1; n >= 0 && l[n] == '*' && len(path) >= n && path[:n] == l[:n] {
			return true
		}
	}
	return false
}
