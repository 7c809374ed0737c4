package serving

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

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
	Store *store.Store
	CAPEM []byte
	// Sign signs what the template describes and returns PEM.
	Sign   func(template *x509.Certificate, key crypto.PublicKey) ([]byte, error)
	Domain string   // of the cluster
	Hosts  []string // that managers serve under
}

// Keeper keeps the secrets.
type Keeper struct{ cfg Config }

// New returns a keeper that is not running yet.
func New(cfg Config) (*Keeper, error) {
	if cfg.Store == nil || cfg.Sign == nil || cfg.Domain == "" {
		return nil, kind.New(kind.Invalid, "serving: Config lacks a required field")
	}
	return &Keeper{cfg}, nil
}

// life is how long a certificate holds.
const life = 30 * 24 * time.Hour

// Run keeps the secrets until ctx ends.
func (k *Keeper) Run(ctx context.Context) error { return ask.Keep(ctx, k.cfg.Store, 1, k.keep) }

// keep keeps the secrets of one Ingress, and returns when one is to be renewed.
func (k *Keeper) keep(ctx context.Context, key object.Key) (next time.Time, err error) {
	snap := k.cfg.Store.Snapshot()
	for _, a := range ask.Of(snap, key, route.ClusterCertificate) {
		why := a.Refused(k.cfg.Domain)
		if why == "" {
			why = k.refuses(snap, a.Hosts)
		}
		if why != "" {
			err = k.update(ctx, func(tx *store.Tx) { a.Tell(tx, "CertificateRefused", why) })
		} else if at := k.renewAt(&a); !at.After(time.Now()) {
			err = k.issue(ctx, &a)
		} else if next.IsZero() || at.Before(next) {
			next = at
		}
		if err != nil {
			return next, fmt.Errorf("making a certificate for ingress %s: %w", key, err)
		}
	}
	return next, nil
}

// renewAt returns when the secret's certificate is to be renewed; zero: it holds none.
func (k *Keeper) renewAt(a *ask.Ask) time.Time {
	c := a.Held()
	if c == nil || !bytes.Equal(a.Have.Data[corev1.ServiceAccountRootCAKey], k.cfg.CAPEM) {
		return time.Time{}
	}
	return ask.RenewAt(c)
}

// refuses returns why the authority signs for none of the hosts, empty where it does.
func (k *Keeper) refuses(r store.Reader, hosts []string) string {
	taken := slices.Clone(k.cfg.Hosts)
	for n := range tables.Nodes.All(r) {
		taken = append(taken, n.Name)
		for _, a := range n.Status.Addresses {
			taken = append(taken, a.Address)
		}
	}
	for _, h := range hosts {
		for _, t := range taken {
			if (&x509.Certificate{DNSNames: []string{h}}).VerifyHostname(t) == nil {
				return fmt.Sprintf("%q covers %s, which is a machine of the cluster", h, t)
			}
		}
	}
	return ""
}

// issue writes a secret with a new key and certificate.
func (k *Keeper) issue(ctx context.Context, a *ask.Ask) error {
	key, encoded, err := ask.NewKey()
	if err != nil {
		return err
	}
	cert, err := k.cfg.Sign(&x509.Certificate{
		DNSNames: a.Hosts, NotAfter: time.Now().Add(life),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, key.Public())
	if err != nil {
		return err
	}
	return k.update(ctx, func(tx *store.Tx) {
		a.Put(tx, map[string][]byte{
			corev1.TLSCertKey: append(cert, k.cfg.CAPEM...), corev1.TLSPrivateKeyKey: encoded,
			corev1.ServiceAccountRootCAKey: k.cfg.CAPEM,
		})
	})
}

func (k *Keeper) update(ctx context.Context, f func(*store.Tx)) error {
	_, err := k.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		f(tx)
		return nil
	})
	return err
}
