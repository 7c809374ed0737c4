package docker

import (
	"context"
	"net/http"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"trireme/internal/access"
	"trireme/internal/api/caller"
	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/store"
)

// Caller is who asks.
type Caller struct {
	access.User
	Key    string       // the same for the same user
	Client *rest.Config // calls the Kubernetes door as the user
}

func (s *Server) clients(who Caller) (*caller.Clients, error) {
	return s.callers.Clients(who.Key, who.Client)
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
	c := &call{Request: req, door: s, out: w, raw: req.Body, as: as, rights: caller.New(who.User, s.rules)}
	c.all, c.snap = s.store.Snapshot(), c.look()
	return c, nil
}

// typed, custom and config call the Kubernetes door as whoever asks.
func (c *call) typed() kubernetes.Interface { return c.as.Typed }
func (c *call) custom() dynamic.Interface   { return c.as.Custom }
func (c *call) config() *rest.Config        { return c.as.Config }

// look returns the committed state as it is now, without what the caller may neither list
// nor get.
func (c *call) look() *store.Snapshot { return c.rights.Look(c.door.store.Snapshot()) }

// sees reports whether the caller may see the row of a table: for who follows what happens.
func (c *call) sees(t caller.Table, key object.Key) bool { return c.rights.Sees(t, key) }

// may reports whether the caller may do the verb to a resource of a group; in no
// namespace, or in all, where the key names none.
func (c *call) may(verb, group, resource string, key object.Key) bool {
	return c.rights.May(verb, group, resource, key)
}
