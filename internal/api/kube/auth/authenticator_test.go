package auth

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/http/httptest"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/wire"
)

// TestAuthenticator checks who a request comes from, by what its connection
// showed.
func TestAuthenticator(t *testing.T) {
	ours, err := wire.OpenPKI(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := wire.OpenPKI(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), store.Config{Now: time.Now, NewID: func() types.UID { return "1" }}, tables.Defs()...)
	if err != nil {
		t.Fatal(err)
	}
	a := NewAuthenticator(AuthenticatorConfig{ClientCA: ours.Pool(), Store: s})
	issue := func(p *wire.PKI) *x509.Certificate {
		c, err := p.Issue(wire.Leaf{Name: "jane", Group: wire.MastersGroup})
		if err != nil {
			t.Fatal(err)
		}
		return c.Leaf
	}
	ended := &x509.Certificate{Subject: pkix.Name{CommonName: "old"}, NotAfter: time.Now().Add(-time.Minute)}
	for _, c := range []struct {
		name, path string
		tls        *tls.ConnectionState
		want       string // the user's name
	}{
		{"verified by the handshake", "/api", &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{issue(ours)}}}, "jane"},
		{"shown only, ours", "/api", &tls.ConnectionState{PeerCertificates: []*x509.Certificate{issue(ours)}}, "jane"},
		{"shown only, of another", "/api", &tls.ConnectionState{PeerCertificates: []*x509.Certificate{issue(theirs)}}, ""},
		{"ended since", "/api", &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{ended}}, PeerCertificates: []*x509.Certificate{ended}}, ""},
		{"none", "/api", &tls.ConnectionState{}, "system:anonymous"},
		{"none, open to all", "/healthz", &tls.ConnectionState{}, "system:anonymous"},
	} {
		r := httptest.NewRequest("GET", "https://door"+c.path, nil)
		r.TLS = c.tls
		got := ""
		who, ok, err := a.AuthenticateRequest(r)
		if ok {
			got = who.User.GetName()
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q (%v)", c.name, got, c.want, err)
		}
	}
}
