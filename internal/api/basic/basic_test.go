package basic

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"trireme/internal/access"
	"trireme/internal/kind"
)

func TestWho(t *testing.T) {
	a := Auth{Realm: "mesos", Identify: func(req *http.Request) (Caller, error) {
		if req.Header.Get("Authorization") != "Bearer good" {
			return Caller{}, kind.New(kind.Unauthenticated, "not good")
		}
		return Caller{User: access.User{Name: "system:serviceaccount:x:ann"}}, nil
	}}
	for name, c := range map[string]struct {
		set       func(*http.Request)
		anonymous bool
		principal string
		fails     bool
	}{
		"basic":     {set: func(r *http.Request) { r.SetBasicAuth("ann", "good") }, principal: "ann"},
		"bearer":    {set: func(r *http.Request) { r.Header.Set("Authorization", "Bearer good") }, principal: "system:serviceaccount:x:ann"},
		"bad":       {set: func(r *http.Request) { r.SetBasicAuth("ann", "bad") }, anonymous: true, fails: true},
		"nothing":   {set: func(*http.Request) {}, fails: true},
		"anonymous": {set: func(*http.Request) {}, anonymous: true},
	} {
		req := httptest.NewRequest(http.MethodPost, "/", nil)
		c.set(req)
		if a.Anonymous = nil; c.anonymous {
			a.Anonymous = &Caller{User: access.User{Name: "guest"}}
		}
		who, err := a.Who(req)
		if c.fails != (err != nil) || c.fails && !kind.Is(err, kind.Unauthenticated) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil && who.Principal != c.principal {
			t.Errorf("%s: principal %q", name, who.Principal)
		}
	}
	ann := Caller{User: access.User{Name: "sa:ann"}, Principal: "ann"}
	if !ann.Is("ann") || !ann.Is("sa:ann") || !ann.Is("") || ann.Is("bob") {
		t.Error("who ann may call herself")
	}
}
