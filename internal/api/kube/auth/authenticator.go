package auth

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"slices"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/anonymous"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/request/union"
	"k8s.io/apiserver/pkg/authentication/request/websocket"
	x509request "k8s.io/apiserver/pkg/authentication/request/x509"
	tokenunion "k8s.io/apiserver/pkg/authentication/token/union"
	"k8s.io/apiserver/pkg/authentication/user"

	"trireme/internal/account"
	"trireme/internal/store"
)

// Authenticator finds out who asks.
type Authenticator struct {
	authenticator.Request
	tokens    authenticator.Token
	audiences authenticator.Audiences
}

// AuthenticatorConfig says by what a request may show who it is from.
type AuthenticatorConfig struct {
	ClientCA *x509.CertPool // of client certificates
	Store    *store.Store   // where accounts and bootstrap tokens are looked up
	// Accounts made the tokens of service accounts; nil: none are taken.
	Accounts *account.Issuer
	// Requests are further authenticators, asked first.
	Requests []authenticator.Request
	// Tokens are further authenticators of tokens.
	Tokens []authenticator.Token
	// Anonymous authenticates who shows nothing; nil: as system:anonymous.
	Anonymous authenticator.Request
	// ProxyCAs are authorities that the handshake takes too, of certificates whose
	// owners may say who others are and are nobody themselves.
	ProxyCAs []*x509.Certificate
}

// NewAuthenticator takes client certificates of the authority and tokens, and lets
// who shows nothing in as system:anonymous. Who shows something bad is refused.
func NewAuthenticator(cfg AuthenticatorConfig) *Authenticator {
	opts := x509request.DefaultVerifyOptions()
	opts.Roots = cfg.ClientCA
	opts.KeyUsages = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	tokens := []authenticator.Token{bootstrapTokens{cfg.Store, time.Now}}
	a := &Authenticator{}
	if cfg.Accounts != nil {
		tokens = append(tokens, accountTokens{account.NewChecker(cfg.Accounts, cfg.Store)})
		a.audiences = cfg.Accounts.Audiences()
	}
	tokens = append(tokens, cfg.Tokens...)
	a.tokens = group.NewTokenGroupAdder(tokenunion.New(tokens...), []string{user.AllAuthenticated})
	if cfg.Anonymous == nil {
		cfg.Anonymous = anonymous.NewAuthenticator(nil)
	}
	known := append(slices.Clone(cfg.Requests),
		byHandshake{cfg.ProxyCAs}, x509request.New(opts, x509request.CommonNameUserConversion),
		bearertoken.New(a.tokens), websocket.NewProtocolAuthenticator(a.tokens))
	a.Request = union.NewFailOnError(group.NewAuthenticatedGroupAdder(union.New(known...)), cfg.Anonymous)
	return a
}

// Audiences returns the names under which the API takes tokens; nil: it takes
// none.
func (a *Authenticator) Audiences() authenticator.Audiences { return slices.Clone(a.audiences) }

// byHandshake takes the certificate that the TLS handshake verified, unless an
// authority of except did. To verify it again, 70 µs, would cost more than most
// requests do; only its end may have passed since.
type byHandshake struct{ except []*x509.Certificate }

// AuthenticateRequest implements authenticator.Request.
func (h byHandshake) AuthenticateRequest(req *http.Request) (*authenticator.Response, bool, error) {
	if req.TLS == nil || len(req.TLS.VerifiedChains) == 0 {
		return nil, false, nil
	}
	chain := req.TLS.VerifiedChains[0]
	if slices.ContainsFunc(h.except, chain[len(chain)-1].Equal) {
		return nil, false, nil
	}
	if end := chain[0].NotAfter; time.Now().After(end) {
		return nil, false, fmt.Errorf("the client certificate of %s ended at %s", chain[0].Subject, end)
	}
	return x509request.CommonNameUserConversion(chain)
}
