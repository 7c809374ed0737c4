// Package caller is what doors know of who calls them: what of the store a caller may see,
// and do, as RBAC has it at each moment, and the clients that call the Kubernetes door in
// the caller's place.
//
// It is not for who asks (api/basic, api/kube/identity), nor for whether a write is
// allowed: writes go through the Kubernetes door, which asks for itself.
package caller

import (
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"trireme/internal/access"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Rights are what one caller may do. They may be used by many goroutines.
type Rights struct {
	who   access.User
	rules *access.Checker

	mu     sync.Mutex
	of     *access.Rules
	listed map[place]bool // may list there, by these rules
}

// place is where objects of a kind are.
type place struct{ group, resource, namespace string }

// Table is any of package tables.
type Table interface {
	ID() store.TableID
	GVK() schema.GroupVersionKind
}

// New returns the rights of a user.
func New(who access.User, rules *access.Checker) *Rights { return &Rights{who: who, rules: rules} }

// Who returns whose rights they are.
func (r *Rights) Who() access.User { return r.who }

// All reports whether the caller may do everything.
func (r *Rights) All() bool { return slices.Contains(r.who.Groups, access.Masters) }

// May reports whether the caller may do the verb to a resource, or RESOURCE/SUBRESOURCE, of
// a group; in no namespace, or in all, where the key names none.
func (r *Rights) May(verb, group, resource string, key object.Key) bool {
	resource, sub, _ := strings.Cut(resource, "/")
	return r.may(access.Request{Verb: verb, APIGroup: group, Resource: resource, Subresource: sub, Namespace: key.Namespace, Name: key.Name})
}

func (r *Rights) may(q access.Request) bool {
	q.User = r.who
	ok, _ := r.rules.Allows(&q)
	return ok
}

// Look returns of a snapshot what the caller may see.
func (r *Rights) Look(snap *store.Snapshot) *store.Snapshot {
	if r.All() {
		return snap
	}
	return snap.Only(r.sees)
}

// Sees reports whether the caller may see the row of a table: for who follows what happens.
func (r *Rights) Sees(t Table, key object.Key) bool {
	return r.All() || r.sees(t.GVK().Group, t.ID(), key)
}

// sees implements store.Sees: what may be listed is seen, and what may be got by its name.
func (r *Rights) sees(group string, table store.TableID, key object.Key) bool {
	at := place{group, string(table), key.Namespace}
	switch table {
	case tables.CustomObjects.ID():
		p := tables.ParseCustomKey(key)
		at, key = place{p.Group, p.Plural, p.Namespace}, p.Key
	case tables.Namespaces.ID():
		at.namespace = key.Name // Kubernetes: to get a namespace is a right in it
	}
	return r.lists(at) || r.may(access.Request{Verb: "get", APIGroup: at.group, Resource: at.resource, Namespace: at.namespace, Name: key.Name})
}

// lists reports whether the caller may list what is there.
func (r *Rights) lists(at place) bool {
	rules := r.rules.Rules()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.of != rules {
		r.of, r.listed = rules, map[place]bool{}
	}
	ok, asked := r.listed[at]
	if !asked {
		ok = r.may(access.Request{Verb: "list", APIGroup: at.group, Resource: at.resource, Namespace: at.namespace})
		r.listed[at] = ok
	}
	return ok
}
