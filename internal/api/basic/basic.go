// Package basic finds out who asks at the doors whose clients show a name and a password
// (RFC 7617), Mesos' and Marathon's: the password is any token that the Kubernetes door
// takes, or they show it as Authorization: Bearer (RFC 6750).
//
// It is not for what a caller may do (access), nor for whose tokens are taken
// (api/kube/identity).
package basic

import (
	"net/http"

	"k8s.io/client-go/rest"

	"trireme/internal/access"
	"trireme/internal/kind"
)

// Caller is who asks.
type Caller struct {
	access.User
	Key    string       // the same for the same user
	Client *rest.Config // calls the Kubernetes door as the user
	// Principal is how the caller calls itself: the name beside the password, or the
	// user's; empty for who showed nothing.
	Principal string
}

// Is reports whether the caller may call itself so: nobody has to, by the name that it
// showed or is known by. Who showed nothing may have any.
func (c *Caller) Is(principal string) bool {
	return principal == "" || c.Principal == "" || principal == c.Principal || principal == c.Name
}

// Auth says who is let in.
type Auth struct {
	// Identify finds out whose bearer token or client certificate a request shows, kind
	// Unauthenticated where it shows none that is good.
	Identify func(*http.Request) (Caller, error)
	// Anonymous is taken for who shows nothing; nil: they are not let in.
	Anonymous *Caller
	Realm     string // that clients are told of
}

// Who returns who asks, an error of kind Unauthenticated where nobody knows.
func (a *Auth) Who(req *http.Request) (Caller, error) {
	name, token, ok := req.BasicAuth()
	switch {
	case ok:
		req = req.Clone(req.Context())
		req.Header.Set("Authorization", "Bearer "+token)
	case req.Header.Get("Authorization") == "" && (req.TLS == nil || len(req.TLS.PeerCertificates) == 0):
		if a.Anonymous == nil {
			return Caller{}, kind.New(kind.Unauthenticated, "nobody: show a name and, as the password, a token (HTTP basic authentication), or Authorization: Bearer TOKEN")
		}
		return *a.Anonymous, nil
	}
	c, err := a.Identify(req)
	if err != nil {
		return Caller{}, err
	}
	if c.Principal = c.Name; ok && name != "" {
		c.Principal = name
	}
	return c, nil
}

// Challenge tells the client of an answer with status 401 what to show (RFC 7235, section 4.1).
func (a *Auth) Challenge(w http.ResponseWriter) {
	w.Header().Set("WWW-Authenticate", `Basic realm="`+a.Realm+`"`)
}
