package acme

import (
	"context"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme"
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/certify/ask"
	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/object/route"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Config configures a Keeper. All is required.
type Config struct {
	Store    *store.Store
	Domain   string // of the cluster
	Settings Settings
	Server   *http.Client      // asks the ACME server (Settings.Client)
	Nodes    http.RoundTripper // asks nodes whether they answer a challenge
}

// Keeper keeps the secrets.
type Keeper struct {
	cfg    Config
	client atomic.Pointer[acme.Client] // with the account; nil: not opened yet
}

// New returns a keeper that is not running yet.
func New(cfg Config) (*Keeper, error) {
	if cfg.Store == nil || cfg.Domain == "" || cfg.Server == nil || cfg.Nodes == nil {
		return nil, kind.New(kind.Invalid, "acme: Config lacks a required field")
	}
	return &Keeper{cfg: cfg}, nil
}

const (
	// ordersAtOnce is how many ingresses' certificates are obtained at a time.
	ordersAtOnce = 8
	// orderTime is how long one try at an order may take.
	orderTime = 3 * time.Minute
)

// Run keeps the secrets until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	snap := k.cfg.Store.Snapshot()
	for row := range tables.Routes.Rows(snap, "") {
		if i, ok := route.ChallengesOf(row.Key()); ok && len(ask.Of(snap, i, route.ACMECertificate)) == 0 {
			if err := k.answer(ctx, i, nil); err != nil {
				return err
			}
		}
	}
	return ask.Keep(ctx, k.cfg.Store, ordersAtOnce, k.keep)
}

// keep keeps the secrets of one Ingress, and returns when to look at it again.
func (k *Keeper) keep(ctx context.Context, key object.Key) (next time.Time, err error) {
	for _, a := range ask.Of(k.cfg.Store.Snapshot(), key, route.ACMECertificate) {
		at, err := k.see(ctx, &a)
		if err != nil {
			return next, fmt.Errorf("keeping secret %s: %w", a.Secret, err)
		}
		if !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return next, k.answer(ctx, key, nil)
}

// see does what there is to do for one certificate, and returns when to look at it again.
// Only an error of the store is one.
func (k *Keeper) see(ctx context.Context, a *ask.Ask) (time.Time, error) {
	o, why := k.order(a)
	if no := refused(a, k.cfg.Domain); no != "" {
		why = no
	}
	if why != "" {
		return time.Time{}, k.update(ctx, func(tx *store.Tx) { a.Tell(tx, "CertificateRefused", why) })
	}
	if c := a.Held(); c != nil && ask.RenewAt(c).After(time.Now()) {
		if o.fresh() {
			return ask.RenewAt(c), nil
		}
		return ask.RenewAt(c), k.update(ctx, func(tx *store.Tx) { tables.Secrets.Delete(tx, a.Beside()) }) // it was about other hosts
	}
	if o.NotBefore.After(time.Now()) {
		return o.NotBefore, nil
	}
	chain, err := k.obtain(ctx, a, o)
	switch {
	case ctx.Err() != nil:
		return time.Time{}, ctx.Err()
	case err != nil:
		return k.failed(ctx, a, o, err)
	}
	return k.hold(ctx, a, o, chain)
}

// refused returns why no certificate is asked for, empty where one is.
func refused(a *ask.Ask, domain string) string {
	for _, h := range a.Hosts {
		if strings.HasPrefix(h, "*") {
			return fmt.Sprintf("%q is a wildcard, which cannot be proved by HTTP: name each host, or leave the annotation out and make the secret by other means", h)
		}
	}
	return a.Refused(domain)
}

// hold writes the certificate that was obtained.
func (k *Keeper) hold(ctx context.Context, a *ask.Ask, o *order, chain [][]byte) (time.Time, error) {
	leaf, err := o.fits(a, chain)
	if err != nil {
		return k.failed(ctx, a, o, err)
	}
	var encoded []byte
	for _, der := range chain {
		encoded = append(encoded, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return ask.RenewAt(leaf), k.update(ctx, func(tx *store.Tx) {
		if a.Put(tx, map[string][]byte{corev1.TLSCertKey: encoded, corev1.TLSPrivateKeyKey: o.Key}) {
			tables.Secrets.Delete(tx, a.Beside())
			a.Issued(tx, leaf.NotAfter)
		}
	})
}

// failed writes down when to try again, and tells why.
func (k *Keeper) failed(ctx context.Context, a *ask.Ask, o *order, why error) (time.Time, error) {
	if gone(why) {
		k.client.Store(nil)
	}
	again := o.fail(why, time.Now())
	return o.NotBefore, k.update(ctx, func(tx *store.Tx) {
		o.save(tx, a)
		a.Tell(tx, "CertificateFailed", fmt.Sprintf("%s: %v; it is tried again in %s", k.cfg.Settings.Directory, why, again))
	})
}

// answer makes nodes answer the challenges for an Ingress, these and no others.
func (k *Keeper) answer(ctx context.Context, ingress object.Key, all []route.Challenge) error {
	if _, ok := tables.Routes.Row(k.cfg.Store.Snapshot(), route.ChallengesPart(ingress)); !ok && len(all) == 0 {
		return nil
	}
	var want *route.Part
	if len(all) > 0 {
		want = route.OfChallenges(ingress, all)
	}
	return k.update(ctx, func(tx *store.Tx) { tables.SetRoute(tx, route.ChallengesPart(ingress), want) })
}

func (k *Keeper) update(ctx context.Context, f func(*store.Tx)) error {
	_, err := k.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		f(tx)
		return nil
	})
	return err
}
