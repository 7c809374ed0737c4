package account

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Checker checks tokens against the tables. It is safe for use by many
// goroutines.
type Checker struct {
	issuer *Issuer
	store  *store.Store

	mu   sync.Mutex
	seen map[[sha256.Size]byte]*Claims // whose signature was good
}

// seenMax is how many tokens are remembered: verifying one costs 70 µs.
const seenMax = 4096

// NewChecker returns a checker of the issuer's tokens over the committed state of
// s.
func NewChecker(i *Issuer, s *store.Store) *Checker {
	return &Checker{issuer: i, store: s, seen: map[[sha256.Size]byte]*Claims{}}
}

// Identity is what a good token says.
type Identity struct {
	Bound
	ID        string   // of the token; empty where a secret holds it
	Audiences []string // which of those asked for it is for
}

// Check returns whose the token is, if it is for one of the audiences (none: the
// API). ok is false where the token is not of our making; err says why one that is
// is not good.
func (c *Checker) Check(token string, audiences []string) (id *Identity, ok bool, err error) {
	claims, ok, err := c.verified(token)
	if err != nil || !ok {
		return nil, ok, err
	}
	now := c.issuer.cfg.Now()
	if err := claims.ValidateWithLeeway(jwt.Expected{Time: now}, 0); err != nil {
		return nil, true, kind.New(kind.Unauthenticated, "the service account token has expired or is not valid yet: %w", err)
	}
	if len(audiences) == 0 {
		audiences = c.issuer.Audiences()
	}
	shared := common(claims.Audience, audiences)
	if len(shared) == 0 {
		return nil, true, kind.New(kind.Unauthenticated, "the token is for the audiences %q, not for %q", []string(claims.Audience), audiences)
	}
	snap := c.store.Snapshot()
	if err := alive(snap, &claims.Kubernetes, now); err != nil {
		return nil, true, err
	}
	if claims.Issuer == legacyIssuer && !held(snap, &claims.Kubernetes, token) {
		return nil, true, kind.New(kind.Unauthenticated, "the service account token is not the one that secret %s holds", claims.Kubernetes.Secret.Name)
	}
	return &Identity{claims.Kubernetes, claims.ID, shared}, true, nil
}

// verified returns the claims of a token that the issuer signed.
func (c *Checker) verified(token string) (*Claims, bool, error) {
	sum := sha256.Sum256([]byte(token))
	c.mu.Lock()
	known := c.seen[sum]
	c.mu.Unlock()
	if known != nil {
		return known, true, nil
	}
	claims, ok, err := c.verify(token)
	if err != nil || !ok {
		return nil, ok, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.seen) >= seenMax {
		clear(c.seen)
	}
	c.seen[sum] = claims
	return claims, true, nil
}

func (c *Checker) verify(token string) (*Claims, bool, error) {
	if strings.Count(token, ".") != 2 {
		return nil, false, nil
	}
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return nil, false, nil // another's
	}
	var unsafe jwt.Claims
	if err := parsed.UnsafeClaimsWithoutVerification(&unsafe); err != nil {
		return nil, false, nil
	}
	switch unsafe.Issuer {
	case c.issuer.cfg.URL:
		claims := &Claims{}
		if err := parsed.Claims(c.issuer.public.Key, claims); err != nil {
			return nil, true, kind.New(kind.Unauthenticated, "the service account token was not signed by this cluster: %w", err)
		}
		return claims, true, nil
	case legacyIssuer:
		old := legacy{}
		if err := parsed.Claims(c.issuer.public.Key, &old); err != nil {
			return nil, true, kind.New(kind.Unauthenticated, "the service account token was not signed by this cluster: %w", err)
		}
		claims := &Claims{Claims: old.Claims, Kubernetes: Bound{Namespace: old.Namespace, Account: Ref{old.Account, old.AccountUID}, Secret: &Ref{Name: old.Secret}}}
		claims.Audience = c.issuer.Audiences()
		return claims, true, nil
	}
	return nil, false, nil
}

// held reports whether the secret that the token is bound to holds the token.
func held(r store.Reader, b *Bound, token string) bool {
	s, ok := tables.Secrets.Get(r, object.Key{Namespace: b.Namespace, Name: b.Secret.Name})
	return ok && subtle.ConstantTimeCompare(s.Data[corev1.ServiceAccountTokenKey], []byte(token)) == 1
}

// alive checks that the account and what the token is bound to are there.
func alive(r store.Reader, b *Bound, now time.Time) error {
	gone := func(what, name string) error {
		return kind.New(kind.Unauthenticated, "the %s %s that the service account token is bound to is gone", what, name)
	}
	sa, ok := tables.ServiceAccounts.Get(r, object.Key{Namespace: b.Namespace, Name: b.Account.Name})
	if !ok || sa.UID != b.Account.UID || going(sa, now) {
		return gone("service account", b.Namespace+"/"+b.Account.Name)
	}
	if b.Pod != nil {
		row, ok := tables.Pods.Row(r, object.Key{Namespace: b.Namespace, Name: b.Pod.Name})
		if !ok || row.Head().UID != b.Pod.UID {
			return gone("pod", b.Pod.Name)
		}
		if row.Head().Deleting && going(row.Object(), now) {
			return gone("pod", b.Pod.Name)
		}
	}
	if b.Secret != nil {
		s, ok := tables.Secrets.Get(r, object.Key{Namespace: b.Namespace, Name: b.Secret.Name})
		if !ok || (b.Secret.UID != "" && s.UID != b.Secret.UID) || going(s, now) {
			return gone("secret", b.Secret.Name)
		}
	}
	if b.Node != nil && b.Pod == nil {
		n, ok := tables.Nodes.Get(r, object.Key{Name: b.Node.Name})
		if !ok || n.UID != b.Node.UID || going(n, now) {
			return gone("node", b.Node.Name)
		}
	}
	return nil
}

// going reports whether an object's time to go away is over.
func going(o metav1.Object, now time.Time) bool {
	t := o.GetDeletionTimestamp()
	return t != nil && now.After(t.Add(leeway))
}

// User returns the name and the groups under which access knows the account.
func (b *Bound) User() (name string, groups []string) {
	return fmt.Sprintf("%s%s:%s", subjectPrefix, b.Namespace, b.Account.Name), []string{"system:serviceaccounts", "system:serviceaccounts:" + b.Namespace}
}
