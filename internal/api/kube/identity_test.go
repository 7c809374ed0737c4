package kube_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"trireme/internal/access"
	"trireme/internal/api/kube"
	"trireme/internal/api/kube/identity"
	"trireme/internal/store"
	"trireme/internal/wire"
)

// issuer is a small OpenID provider.
type issuer struct {
	*httptest.Server
	signer jose.Signer
	caFile string
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{}
	i.signer, err = jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "1"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(map[string]string{"issuer": i.URL, "jwks_uri": i.URL + "/keys"})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "1", Algorithm: "ES256", Use: "sig"}}})
	})
	i.Server = httptest.NewTLSServer(mux)
	t.Cleanup(i.Close)
	i.caFile = write(t, "ca.crt", i.ca())
	return i
}

func (i *issuer) ca() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.Certificate().Raw}))
}

// token signs what the issuer says of jane, with more claims.
func (i *issuer) token(t *testing.T, more map[string]any) string {
	t.Helper()
	claims := map[string]any{"iss": i.URL, "aud": "me", "sub": "jane", "exp": time.Now().Add(time.Hour).Unix(), "groups": []string{"devs"}, "hd": "corp"}
	for k, v := range more {
		claims[k] = v
	}
	token, err := jwt.Signed(i.signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// serveIdentity runs a door that takes the word of those whom cfg names.
func serveIdentity(t *testing.T, cfg identity.Config) *door {
	t.Helper()
	proxies, err := wire.OpenPKI(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	d := serve(t, func(c *kube.Config) {
		sources, err := identity.Open(cfg, identity.Cluster{
			Issuer: c.Accounts.Audiences()[0], Audiences: c.Accounts.Audiences(), ProxyCA: proxies.CAPEM(), ProxyName: "front", Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- sources.Run(t.Context()) }()
		t.Cleanup(func() { <-done })
		c.Identity = sources
	})
	if _, err := d.store.Update(t.Context(), func(tx *store.Tx) error { access.Bootstrap(tx); return nil }); err != nil {
		t.Fatal(err)
	}
	return d
}

// bearer writes a kubeconfig without a certificate, so that a token counts.
func (d *door) bearer(t *testing.T) *door {
	t.Helper()
	b, err := os.ReadFile(d.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	var keep []string
	for line := range strings.Lines(string(b)) {
		if !strings.Contains(line, "client-certificate-data") && !strings.Contains(line, "client-key-data") {
			keep = append(keep, line)
		}
	}
	o := *d
	o.kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(o.kubeconfig, []byte(strings.Join(keep, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	return &o
}

// whoami returns who kubectl with the token is, or why it is nobody.
func (d *door) whoami(t *testing.T, token string) string {
	out, _ := d.kubectl(t, "", "auth", "whoami", "--token", token, "-o", "jsonpath={.status.userInfo.username} {.status.userInfo.groups} {.status.userInfo.extra}")
	return out
}

func (d *door) awaitWho(t *testing.T, token, want string) {
	t.Helper()
	var got string
	if err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, 30*time.Second, true, func(context.Context) (bool, error) {
		got = d.whoami(t, token)
		return strings.Contains(got, want), nil
	}); err != nil {
		t.Fatalf("%s, want %s", got, want)
	}
}

// TestOIDC comes with tokens of an issuer that flags name.
func TestOIDC(t *testing.T) {
	needKubectl(t)
	i := newIssuer(t)
	cfg := identity.Default()
	cfg.OIDC = identity.OIDC{
		IssuerURL: i.URL, ClientID: "me", UsernameClaim: "sub", UsernamePrefix: "corp:", GroupsClaim: "groups", GroupsPrefix: "corp:",
		RequiredClaims: map[string]string{"hd": "corp"}, CAFile: i.caFile, SigningAlgs: []string{"ES256"},
	}
	d := serveIdentity(t, cfg).bearer(t)
	d.awaitWho(t, i.token(t, nil), `corp:jane ["corp:devs","system:authenticated"]`)
	for name, token := range map[string]string{
		"audience":       i.token(t, map[string]any{"aud": "you"}),
		"ended":          i.token(t, map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}),
		"required claim": i.token(t, map[string]any{"hd": "other"}),
		"issuer":         i.token(t, map[string]any{"iss": "https://other"}),
		"key":            strings.Replace(newIssuer(t).token(t, nil), "x", "y", 1),
	} {
		if got := d.whoami(t, token); !strings.Contains(got, "Unauthorized") {
			t.Errorf("%s: %s", name, got)
		}
	}
	// The name is one that RBAC knows.
	if out, err := d.kubectl(t, "", "auth", "can-i", "list", "pods", "--token", i.token(t, nil)); err == nil || !strings.Contains(out, "no") {
		t.Errorf("may list pods: %s", out)
	}
}

// TestAuthenticationConfig takes over a file's new content, and keeps the old
// where the new is bad.
func TestAuthenticationConfig(t *testing.T) {
	needKubectl(t)
	i := newIssuer(t)
	file := func(name, more string) string {
		return fmt.Sprintf(`
apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
jwt:
- issuer: {url: %q, audiences: [me], certificateAuthority: %q}
  claimMappings:
    username: {expression: '%s'}
    groups: {expression: claims.groups}
    extra: [{key: corp.example/hd, valueExpression: claims.hd}]
  claimValidationRules: [{expression: 'claims.hd == "corp"', message: not of corp}]
%s`, i.URL, i.ca(), name, more)
	}
	cfg := identity.Default()
	cfg.File = write(t, "auth.yaml", file(`"a-" + claims.sub`, ""))
	d := serveIdentity(t, cfg).bearer(t)
	d.awaitWho(t, i.token(t, nil), `a-jane ["devs","system:authenticated"]`)
	if got := d.whoami(t, i.token(t, nil)); !strings.Contains(got, `corp.example/hd`) {
		t.Errorf("extra: %s", got)
	}
	if got := d.whoami(t, i.token(t, map[string]any{"hd": "x"})); !strings.Contains(got, "Unauthorized") {
		t.Errorf("a claim that breaks a rule: %s", got)
	}
	put := func(text string) {
		if err := os.WriteFile(cfg.File, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(file(`"b-" + claims.`, ""))
	put(file(`"c-" + claims.sub`, "anonymous: {enabled: true, conditions: [{path: /livez}]}"))
	d.awaitWho(t, i.token(t, nil), "c-jane")
	for path, code := range map[string]int{"/livez": 200, "/api": 401} {
		if got, _ := d.ask(t, nil, path, nil); got != code {
			t.Errorf("%s, by nobody: %d, want %d", path, got, code)
		}
	}
}

// ask sends a request with a certificate (nil: none) and headers.
func (d *door) ask(t *testing.T, cert *tls.Certificate, path string, headers map[string]string) (int, string) {
	t.Helper()
	c := &tls.Config{RootCAs: d.pki.Pool()}
	if cert != nil {
		c.Certificates = []tls.Certificate{*cert}
	}
	tr := &http.Transport{TLSClientConfig: c}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+d.addr+path, nil)
	if strings.HasPrefix(path, "/apis/authentication") {
		req.Method, req.Body = "POST", io.NopCloser(strings.NewReader(`{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}`))
		req.Header.Set("Content-Type", "application/json")
	}
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range headers {
		req.Header.Set(k, v)
	}
	res, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// TestFrontProxy believes the headers of a proxy of the right authority and name,
// and nobody else's.
func TestFrontProxy(t *testing.T) {
	proxies, err := wire.OpenPKI(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cfg := identity.Default()
	cfg.Proxy.CAFile, cfg.Proxy.AllowedNames = write(t, "ca.crt", string(proxies.CAPEM())), []string{"gate"}
	d := serveIdentity(t, cfg)
	issue := func(p *wire.PKI, name string) *tls.Certificate {
		c, err := p.Issue(wire.Leaf{Name: name, Group: wire.MastersGroup})
		if err != nil {
			t.Fatal(err)
		}
		return &c
	}
	says := map[string]string{"X-Remote-User": "jane", "X-Remote-Group": "devs", "X-Remote-Extra-Scope": "s", "X-Remote-Uid": "7"}
	for _, c := range []struct {
		name    string
		cert    *tls.Certificate
		headers map[string]string
		want    string // the user; empty: refused
	}{
		{"proxy", issue(proxies, "gate"), says, "jane"},
		{"another name", issue(proxies, "gape"), says, ""},
		{"no headers", issue(proxies, "gate"), nil, ""}, // not even as the group in its certificate
		{"a user's certificate", issue(d.pki, "joe"), says, "joe"},
		{"no certificate", nil, says, "system:anonymous"},
	} {
		code, body := d.ask(t, c.cert, "/apis/authentication.k8s.io/v1/selfsubjectreviews", c.headers)
		var r authenticationv1.SelfSubjectReview
		_ = json.Unmarshal([]byte(body), &r)
		got := r.Status.UserInfo
		switch {
		case c.want == "" && code == 401, c.want == "system:anonymous" && code == 403 && strings.Contains(body, c.want):
		case code != 201 || got.Username != c.want:
			t.Errorf("%s: %d %s", c.name, code, body)
		case c.want == "jane" && (got.UID != "7" || len(got.Extra["scope"]) != 1 || got.Groups[0] != "devs"):
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

// TestTokenWebhook asks a server about tokens that nobody knows.
func TestTokenWebhook(t *testing.T) {
	needKubectl(t)
	asked := 0
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		var r authenticationv1.TokenReview
		if err := json.NewDecoder(req.Body).Decode(&r); err != nil {
			t.Error(err)
		}
		asked++
		r.Status = authenticationv1.TokenReviewStatus{Authenticated: r.Spec.Token == "open-sesame", User: authenticationv1.UserInfo{Username: "ali"}}
		json.NewEncoder(w).Encode(r)
	}))
	t.Cleanup(hook.Close)
	cfg := identity.Default()
	cfg.Webhook.Version = "v1"
	cfg.Webhook.File = write(t, "hook.yaml", `{apiVersion: v1, kind: Config, clusters: [{name: c, cluster: {server: "`+hook.URL+`"}}], contexts: [{name: x, context: {cluster: c, user: u}}], users: [{name: u}], current-context: x}`)
	d := serveIdentity(t, cfg).bearer(t)
	for range 2 {
		if got := d.whoami(t, "open-sesame"); !strings.HasPrefix(got, "ali ") {
			t.Errorf("a good token: %s", got)
		}
	}
	if asked != 1 {
		t.Errorf("the webhook was asked %d times about one token", asked)
	}
	if got := d.whoami(t, "closed"); !strings.Contains(got, "Unauthorized") {
		t.Errorf("a bad token: %s", got)
	}
}
