package credential

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object"
	"trireme/internal/wire"
)

// Config is what a Keeper needs; all is required.
type Config struct {
	Session func() Session
	// Account returns the UID of a service account, empty where it is not known.
	Account func(object.Key) types.UID
	// Context returns what calls live in.
	Context func() context.Context
}

// Session asks a manager; *wire.Client is the real one.
type Session interface {
	Token(context.Context, *wire.TokenRequest) (*wire.TokenResponse, error)
	Certificate(context.Context, *wire.CertificateRequest) (*wire.CertificateResponse, error)
}

const (
	// Every is how often pods are to be looked at for what is to be renewed.
	Every = 30 * time.Second
	// askTimeout is how long a manager may take.
	askTimeout = 10 * time.Second
)

// Keeper keeps the credentials of this node's pods. Safe for concurrent use.
type Keeper struct {
	cfg Config

	mu           sync.Mutex
	tokens       map[tokenKey]token
	certificates map[certificateKey]*certificate
}

// New returns a keeper that knows nothing yet.
func New(cfg Config) *Keeper {
	return &Keeper{cfg: cfg, tokens: map[tokenKey]token{}, certificates: map[certificateKey]*certificate{}}
}

// Due returns the pods with a credential that is to be renewed: their volumes are
// to be made again.
func (k *Keeper) Due(now time.Time) map[types.UID]bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	pods := map[types.UID]bool{}
	for key, have := range k.tokens {
		if !now.Before(have.next) {
			pods[key.pod] = true
		}
	}
	for key, one := range k.certificates {
		if one.chain != nil && one.refused == "" && !now.Before(one.next) {
			pods[key.pod] = true
		}
	}
	return pods
}

// Forget drops the credentials of the pods that are not here any more.
func (k *Keeper) Forget(here func(types.UID) bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for key := range k.tokens {
		if !here(key.pod) {
			delete(k.tokens, key)
		}
	}
	for key := range k.certificates {
		if !here(key.pod) {
			delete(k.certificates, key)
		}
	}
}

// Len returns how many tokens and certificates are kept.
func (k *Keeper) Len() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.tokens) + len(k.certificates)
}
