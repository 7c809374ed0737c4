package account

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"

	"trireme/internal/kind"
)

// Config configures an Issuer.
type Config struct {
	// Key signs: an ECDSA key on P-256. Required.
	Key crypto.Signer
	// URL is who the tokens say they are from, and the audience of the API:
	// "https://kubernetes.default.svc.cluster.local". Required.
	URL string
	// Audiences are further names of the API.
	Audiences []string
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Issuer signs tokens. It is safe for use by many goroutines.
type Issuer struct {
	cfg    Config
	signer jose.Signer
	public jose.JSONWebKey
}

// NewIssuer returns an issuer; kind.Invalid where its configuration is.
func NewIssuer(cfg Config) (*Issuer, error) {
	if cfg.Key == nil || cfg.URL == "" {
		return nil, kind.New(kind.Invalid, "account: Config lacks the key or the URL")
	}
	public, ok := cfg.Key.Public().(*ecdsa.PublicKey)
	if !ok || public.Curve != elliptic.P256() {
		return nil, kind.New(kind.Invalid, "account: the signing key is not an ECDSA key on P-256")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("encoding the signing key: %w", err)
	}
	sum := sha256.Sum256(der)
	id := base64.RawURLEncoding.EncodeToString(sum[:])
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: cfg.Key, KeyID: id}}, nil)
	if err != nil {
		return nil, fmt.Errorf("making the signer of tokens: %w", err)
	}
	return &Issuer{cfg, signer, jose.JSONWebKey{Key: public, KeyID: id, Algorithm: string(jose.ES256), Use: "sig"}}, nil
}

// Audiences returns the names under which the API takes tokens.
func (i *Issuer) Audiences() []string { return append([]string{i.cfg.URL}, i.cfg.Audiences...) }

// Issue signs a token with what it is bound to, for the audiences (none: the
// API), good for the duration. It returns when the token ends.
func (i *Issuer) Issue(b Bound, audiences []string, lasts time.Duration) (token string, ends time.Time, err error) {
	if len(audiences) == 0 {
		audiences = i.Audiences()
	}
	now := i.cfg.Now().Truncate(time.Second)
	ends = now.Add(lasts)
	token, err = i.sign(Claims{
		Claims: jwt.Claims{
			Issuer: i.cfg.URL, Subject: subjectPrefix + b.Namespace + ":" + b.Account.Name, Audience: audiences, ID: uuid.NewString(),
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(ends),
		},
		Kubernetes: b,
	})
	return token, ends, err
}

// legacy signs a token for a secret to hold.
func (i *Issuer) legacy(namespace, secret string, a Ref) (string, error) {
	return i.sign(legacy{
		Claims:    jwt.Claims{Issuer: legacyIssuer, Subject: subjectPrefix + namespace + ":" + a.Name},
		Namespace: namespace, Secret: secret, Account: a.Name, AccountUID: a.UID,
	})
}

func (i *Issuer) sign(claims any) (string, error) {
	token, err := jwt.Signed(i.signer).Claims(claims).Serialize()
	if err != nil {
		return "", fmt.Errorf("signing a token: %w", err)
	}
	return token, nil
}

// KeySet returns the public key as a JSON web key set (RFC 7517).
func (i *Issuer) KeySet() ([]byte, error) {
	return json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{i.public}})
}

// Discovery returns the OpenID provider's metadata (OpenID Connect Discovery 1.0);
// keys is the URL of the key set.
func (i *Issuer) Discovery(keys string) ([]byte, error) {
	return json.Marshal(struct {
		Issuer        string   `json:"issuer"`
		KeySet        string   `json:"jwks_uri"`
		ResponseTypes []string `json:"response_types_supported"`
		SubjectTypes  []string `json:"subject_types_supported"`
		Algorithms    []string `json:"id_token_signing_alg_values_supported"`
	}{i.cfg.URL, keys, []string{"id_token"}, []string{"public"}, []string{string(jose.ES256)}})
}

// common returns what both lists hold, in the order of the first.
func common(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return !slices.Contains(b, s) })
}
