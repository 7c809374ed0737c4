package acme

import (
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"golang.org/x/crypto/acme"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/certify/ask"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// order is how far a certificate has come, as the secret beside the one that is asked for
// keeps it.
type order struct {
	Directory string    `json:"directory"`
	Hosts     []string  `json:"hosts"`
	URL       string    `json:"url,omitempty"` // empty: none is open
	Key       []byte    `json:"key,omitempty"` // of the certificate, as PEM
	Failures  int       `json:"failures,omitempty"`
	NotBefore time.Time `json:"notBefore,omitzero"` // of the next try
}

// orderType is the type of the secrets that keep orders.
const orderType corev1.SecretType = "trireme.dev/acme-order"

// orderKey is where in them.
const orderKey = "order"

// order returns how far an ask has come: a fresh one where nothing is kept, or it is about
// other hosts or of another server; and why there can be none, where the secret is somebody
// else's.
func (k *Keeper) order(a *ask.Ask) (o *order, why string) {
	none := &order{Directory: k.cfg.Settings.Directory, Hosts: a.Hosts}
	s, ok := tables.Secrets.Get(k.cfg.Store.Snapshot(), a.Beside())
	if !ok {
		return none, ""
	}
	if !metav1.IsControlledBy(s, a.Ingress) {
		return none, fmt.Sprintf("secret %s is there and is not the ingress' own: delete it", s.Name)
	}
	o = &order{}
	if json.Unmarshal(s.Data[orderKey], o) != nil || o.Directory != none.Directory || !slices.Equal(o.Hosts, a.Hosts) {
		return none, ""
	}
	return o, ""
}

// fresh reports whether nothing was tried yet.
func (o *order) fresh() bool { return o.URL == "" && o.Failures == 0 }

// save keeps the order, unless the secret has become somebody else's.
func (o *order) save(tx *store.Tx, a *ask.Ask) {
	next := &corev1.Secret{ObjectMeta: a.Owned(a.Beside().Name), Type: orderType}
	if now, ok := tables.Secrets.Get(tx, a.Beside()); ok {
		if !metav1.IsControlledBy(now, a.Ingress) {
			return
		}
		next = now.DeepCopy()
	}
	b, err := json.Marshal(o)
	if err != nil {
		panic(err) // strings, bytes and times
	}
	next.Data = map[string][]byte{orderKey: b}
	tables.Secrets.Put(tx, next)
}

// begin takes in a new order at the server, with a new key.
func (o *order) begin(url string) error {
	_, key, err := ask.NewKey()
	o.URL, o.Key = url, key
	return err
}

// signer returns the certificate's private key.
func (o *order) signer() (crypto.Signer, error) { return parseKey(o.Key) }

func parseKey(encoded []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(encoded)
	if block == nil {
		return nil, errors.New("it is no PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	s, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a %T signs nothing", key)
	}
	return s, nil
}

// fits returns the certificate of a chain if it is what was ordered.
func (o *order) fits(a *ask.Ask, chain [][]byte) (*x509.Certificate, error) {
	key, err := o.signer()
	if err != nil {
		return nil, fmt.Errorf("reading the key in secret %s: %w", a.Beside().Name, err)
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return nil, err
	}
	if p, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !p.Equal(leaf.PublicKey) {
		return nil, errors.New("the certificate is for another key")
	}
	for _, h := range a.Hosts {
		if err := leaf.VerifyHostname(h); err != nil {
			return nil, err
		}
	}
	return leaf, nil
}

// What is between two tries. Let's Encrypt bears five failures an hour for a host.
const (
	backOffMin = 2 * time.Minute
	backOffMax = 8 * time.Hour
)

// fail is a try that came to nothing: it returns after how long the next one is.
func (o *order) fail(why error, now time.Time) time.Duration {
	again := backOffMax
	if o.Failures < 8 {
		again = min(backOffMin<<o.Failures, backOffMax)
	}
	again = max(again, retryAfter(why).Round(time.Second))
	o.Failures++
	o.NotBefore = now.Add(again)
	if ended(why) {
		o.URL, o.Key = "", nil
	}
	return again
}

// retryAfter returns what the server asks for in a Retry-After, if it does.
func retryAfter(err error) time.Duration {
	var e *acme.Error
	if !errors.As(err, &e) {
		return 0
	}
	limit := *e
	limit.ProblemType = rateLimited // RateLimit reads the header of these only; others may have it too (RFC 9110 §10.2.3)
	d, _ := acme.RateLimit(&limit)
	return d
}

// Types of problems (RFC 8555 §6.7).
const (
	rateLimited   = "urn:ietf:params:acme:error:rateLimited"
	noSuchAccount = "urn:ietf:params:acme:error:accountDoesNotExist"
	unauthorized  = "urn:ietf:params:acme:error:unauthorized"
)

// ended reports whether an error ends the order, so that the next try needs another.
func ended(err error) bool {
	if o := (*acme.OrderError)(nil); errors.As(err, &o) {
		return true
	}
	if z := (*acme.AuthorizationError)(nil); errors.As(err, &z) {
		return true
	}
	var e *acme.Error
	return errors.As(err, &e) && e.StatusCode >= 400 && e.StatusCode < 500 && e.StatusCode != http.StatusTooManyRequests
}

// gone reports whether the server does not know the account, or no longer wants it.
func gone(err error) bool {
	var e *acme.Error
	return errors.As(err, &e) && (e.ProblemType == noSuchAccount || e.ProblemType == unauthorized)
}
