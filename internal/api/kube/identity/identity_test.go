package identity

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trireme/internal/kind"
	"trireme/internal/wire"
)

// proxies returns an authority's certificate in PEM, and the name of a file with
// it.
func proxies(t *testing.T) (pem []byte, file string) {
	t.Helper()
	p, err := wire.OpenPKI(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return p.CAPEM(), write(t, string(p.CAPEM()))
}

func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

const head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n"

// TestOpen refuses what cannot work, with the setting and what is wrong with it.
func TestOpen(t *testing.T) {
	own, file := proxies(t)
	issuer := func(c *Config) { c.OIDC.IssuerURL, c.OIDC.ClientID = "https://issuer.example", "me" }
	for _, c := range []struct {
		name string
		set  func(*Config)
		want string // in the error; empty: none
	}{
		{"nothing", func(*Config) {}, ""},
		{"an issuer", issuer, ""},
		{"no client", func(c *Config) { c.OIDC.IssuerURL = "https://issuer.example" }, "--oidc-client-id"},
		{"no issuer", func(c *Config) { c.OIDC.GroupsClaim = "groups" }, "--oidc-issuer-url"},
		{"http", func(c *Config) { issuer(c); c.OIDC.IssuerURL = "http://issuer.example" }, "issuer.url"},
		{"our name", func(c *Config) { issuer(c); c.OIDC.IssuerURL = "https://ours" }, "must not overlap"},
		{"algorithm", func(c *Config) { issuer(c); c.OIDC.SigningAlgs = []string{"HS256"} }, "--oidc-signing-algs"},
		{"no such file", func(c *Config) { issuer(c); c.OIDC.CAFile = "/none" }, "--oidc-ca-file"},
		{"both", func(c *Config) { issuer(c); c.File = write(t, head) }, "exclude each other"},
		{"file", func(c *Config) { c.File = write(t, head) }, ""},
		{"no file", func(c *Config) { c.File = "/none" }, "--authentication-config"},
		{"empty file", func(c *Config) { c.File = write(t, "") }, "AuthenticationConfiguration"},
		{"unknown field", func(c *Config) { c.File = write(t, head+"jwts: []\n") }, "jwts"},
		{"bad expression", func(c *Config) {
			c.File = write(t, head+"jwt: [{issuer: {url: https://i, audiences: [a]}, claimMappings: {username: {expression: 'claims.'}}}]")
		}, "jwt[0].claimMappings.username.expression"},
		{"proxy", func(c *Config) { c.Proxy.CAFile = file }, ""},
		{"half a certificate", func(c *Config) { c.Proxy.CertFile = file }, "--proxy-client-key-file"},
		{"a certificate, no authority", func(c *Config) { c.Proxy.CertFile, c.Proxy.KeyFile = file, file }, "--requestheader-client-ca-file"},
		{"no authority in the file", func(c *Config) { c.Proxy.CAFile, c.Proxy.CertFile, c.Proxy.KeyFile = write(t, "x"), file, file }, "--requestheader-client-ca-file"},
		{"no header", func(c *Config) { c.Proxy.UsernameHeaders = nil }, "--requestheader-username-headers"},
		{"empty header", func(c *Config) { c.Proxy.GroupHeaders = []string{" "} }, "groupHeaders"},
		{"no webhook", func(c *Config) { c.Webhook.File = "/none" }, "--authentication-token-webhook-config-file"},
		{"webhook's version", func(c *Config) { c.Webhook.File, c.Webhook.Version = "/none", "v2" }, "--authentication-token-webhook-version"},
	} {
		cfg := Default()
		c.set(&cfg)
		_, err := Open(cfg, Cluster{Issuer: "https://ours", ProxyCA: own, ProxyName: "front", Log: slog.New(slog.DiscardHandler)})
		if c.want == "" && err != nil || c.want != "" && (!kind.Is(err, kind.Invalid) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// TestPublished says which proxies aggregated servers are told to believe.
func TestPublished(t *testing.T) {
	own, _ := proxies(t)
	theirs, file := proxies(t)
	for _, c := range []struct {
		name      string
		set       func(*Proxy)
		ca, names string
	}{
		{"ours", func(*Proxy) {}, string(own), `["front"]`},
		{"theirs too", func(p *Proxy) { p.CAFile = file }, string(theirs) + string(own), `[]`},
		{"theirs, by name", func(p *Proxy) { p.CAFile, p.AllowedNames = file, []string{"gate"} }, string(theirs) + string(own), `["gate","front"]`},
		{"theirs alone", func(p *Proxy) { p.CAFile, p.CertFile, p.KeyFile, p.AllowedNames = file, "c", "k", []string{"gate"} }, string(theirs), `["gate"]`},
	} {
		cfg := Default()
		c.set(&cfg.Proxy)
		f, err := openFront(cfg.Proxy, Cluster{ProxyCA: own, ProxyName: "front"})
		if err != nil {
			t.Fatal(err)
		}
		got := f.Published()
		if got["requestheader-client-ca-file"] != c.ca || got["requestheader-allowed-names"] != c.names || got["requestheader-username-headers"] != `["X-Remote-User"]` {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// FuzzDecode reads whatever a file may hold: what is taken is taken again.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(head + "jwt: [{issuer: {url: https://i, audiences: [a]}, claimMappings: {username: {claim: sub, prefix: x}}}]\nanonymous: {enabled: true, conditions: [{path: /livez}]}"))
	f.Add([]byte(head + "jwt: [{issuer: {url: https://i, audiences: [a, b], audienceMatchPolicy: MatchAny}, claimMappings: {username: {expression: claims.sub}}, userValidationRules: [{expression: 'user.username != \"\"'}]}]"))
	f.Add([]byte("kind: Secret"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := decode(data, []string{"https://ours"})
		if err == nil && check(c, []string{"https://ours"}) != nil {
			t.Error("was good, is not good")
		}
	})
}
