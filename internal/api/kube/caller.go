package kube

import (
	"fmt"
	"net/http"

	"k8s.io/apiserver/pkg/authentication/user"
	restclient "k8s.io/client-go/rest"

	"trireme/internal/access"
	"trireme/internal/kind"
)

// Caller is who made a request to another door of the cluster.
type Caller struct {
	access.User
	info user.Info
}

// Caller finds out whose a request to another door is as if it had come to this one: by
// the client certificate of its connection, a token or what a front proxy says. Who
// shows nothing, or something bad, is refused with kind.Unauthenticated.
func (s *Server) Caller(req *http.Request) (*Caller, error) {
	r, ok, err := s.who.AuthenticateRequest(req)
	switch {
	case err != nil:
		return nil, kind.New(kind.Unauthenticated, "%v", err)
	case !ok || r.User.GetName() == user.Anonymous:
		return nil, kind.New(kind.Unauthenticated, "nobody: give a client certificate of this cluster's authority, or a bearer token")
	}
	return &Caller{access.User{Name: r.User.GetName(), Groups: r.User.GetGroups()}, r.User}, nil
}

// CallerOf returns a caller that this process vouches for.
func CallerOf(u access.User) *Caller {
	return &Caller{u, &user.DefaultInfo{Name: u.Name, Groups: u.Groups}}
}

// LoopbackAs is Loopback for a client whose requests are the caller's.
func (s *Server) LoopbackAs(c *Caller) *restclient.Config { return s.loop.as(c.info) }

// Key is the same for callers who are the same in everything.
func (c *Caller) Key() string {
	return fmt.Sprintf("%q %q %q %q", c.Name, c.info.GetUID(), c.Groups, c.info.GetExtra())
}
