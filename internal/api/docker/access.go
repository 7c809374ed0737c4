package docker

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"trireme/internal/access"
	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Caller is who asks.
type Caller struct {
	access.User
	Key    string       // the same for the same user
	Client *rest.Config // calls the Kubernetes door as the user
}

// clients call the Kubernetes door as one user.
type clients struct {
	config *rest.Config
	typed  kubernetes.Interface
	custom dynamic.Interface
}

// clientsMax is how many users' clients are kept: to make them takes longer than most
// requests.
const clientsMax = 256

func (s *Server) clients(who Caller) (*clients, error) {
	if have, ok := s.callers.Get(who.Key); ok {
		return have.(*clients), nil
	}
	typed, err := kubernetes.NewForConfig(who.Client)
	if err != nil {
		return nil, err
	}
	own := rest.CopyConfig(who.Client)
	own.ContentType, own.AcceptContentTypes = "application/json", "application/json"
	custom, err := dynamic.NewForConfig(own)
	if err != nil {
		return nil, err
	}
	made := &clients{who.Client, typed, custom}
	s.callers.Add(who.Key, made)
	return made, nil
}

type callerKey struct{}

// known finds out who asks before a request goes on.
func known(who func(*http.Request) (Caller, error), next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		c, err := who(req)
		if err != nil {
			fail(w, err)
			return
		}
		next.ServeHTTP(w, req.WithContext(context.WithValue(req.Context(), callerKey{}, c)))
	})
}

// newCall begins a call, as who its context says.
func (s *Server) newCall(w http.ResponseWriter, req *http.Request) (*call, error) {
	who, ok := req.Context().Value(callerKey{}).(Caller)
	if !ok {
		return nil, kind.New(kind.Unauthenticated, "nobody asks")
	}
	as, err := s.clients(who)
	if err != nil {
		return nil, err
	}
	c := &call{Request: req, door: s, out: w, raw: req.Body, as: as, rights: &rights{who: who.User, rules: s.rules}}
	c.all, c.snap = s.store.Snapshot(), c.look()
	return c, nil
}

// typed, custom and config call the Kubernetes door as whoever asks.
func (c *call) typed() kubernetes.Interface { return c.as.typed }
func (c *call) custom() dynamic.Interface   { return c.as.custom }
func (c *call) config() *rest.Config        { return c.as.config }

// look returns the committed state as it is now, without what the caller may neither list
// nor get.
func (c *call) look() *store.Snapshot {
	snap := c.door.store.Snapshot()
	if c.rights.all() {
		return snap
	}
	return snap.Only(c.rights.sees)
}

// sees reports whether the caller may see the row of a table: for who follows what happens.
func (c *call) sees(t table, key object.Key) bool {
	return c.rights.all() || c.rights.sees(t.GVK().Group, t.ID(), key)
}

// table is any of package tables.
type table interface {
	ID() store.TableID
	GVK() schema.GroupVersionKind
}

// may reports whether the caller may do the verb to a resource of a group; in no
// namespace, or in all, where the key names none.
func (c *call) may(verb, group, resource string, key object.Key) bool {
	resource, sub, _ := strings.Cut(resource, "/")
	return c.rights.may(access.Request{Verb: verb, APIGroup: group, Resource: resource, Subresource: sub, Namespace: key.Namespace, Name: key.Name})
}

// rights are what one caller may do, as RBAC has it at each moment.
type rights struct {
	who   access.User
	rules *access.Checker

	mu     sync.Mutex
	of     *access.Rules
	listed map[place]bool // may list there, by these rules
}

// place is where objects of a kind are.
type place struct{ group, resource, namespace string }

func (r *rights) all() bool { return slices.Contains(r.who.Groups, access.Masters) }

func (r *rights) may(q access.Request) bool {
	q.User = r.who
	ok, _ := r.rules.Allows(&q)
	return ok
}

// sees implements store.Sees: what may be listed is seen, and what may be got by its name.
func (r *rights) sees(group string, table store.TableID, key object.Key) bool {
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
func (r *rights) lists(at place) bool {
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
