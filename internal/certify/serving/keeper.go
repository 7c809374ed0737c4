package serving

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/object/route"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/tell"
)

// Config configures a Keeper. All but Now is required.
type Config struct {
	Store *store.Store
	CAPEM []byte
	// Sign signs what the template describes and returns PEM.
	Sign   func(template *x509.Certificate, key crypto.PublicKey) ([]byte, error)
	Domain string   // of the cluster
	Hosts  []string // that managers serve under
	Now    func() time.Time
}

// Keeper keeps the secrets.
type Keeper struct{ cfg Config }

// New returns a keeper that is not running yet.
func New(cfg Config) (*Keeper, error) {
	if cfg.Store == nil || cfg.Sign == nil || cfg.Domain == "" {
		return nil, kind.New(kind.Invalid, "serving: Config lacks a required field")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Keeper{cfg}, nil
}

// life is how long a certificate holds, lookEvery how often its age is looked at.
const (
	life      = 30 * 24 * time.Hour
	lookEvery = time.Hour
)

// Run keeps the secrets until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	snap := k.cfg.Store.Snapshot()
	g.Go(func() error {
		return k.cfg.Store.FollowFrom(ctx, snap, tables.Ingresses.Any(), func(key object.Key) error { return k.keep(ctx, key) })
	})
	g.Go(func() error {
		return k.cfg.Store.FollowFrom(ctx, snap, tables.Secrets.Any(), func(key object.Key) error { return k.keepAll(ctx, key.Namespace) })
	})
	g.Go(func() error {
		return k.cfg.Store.FollowFrom(ctx, snap, tables.IngressClasses.Any(), func(object.Key) error { return k.keepAll(ctx, "") })
	})
	g.Go(func() error {
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return ctx.Err()
			}
			if err := k.keepAll(ctx, ""); err != nil {
				return err
			}
		}
	})
	return g.Wait()
}

// keepAll keeps the secrets of a namespace's ingresses; empty: of all.
func (k *Keeper) keepAll(ctx context.Context, namespace string) error {
	for row := range tables.Ingresses.Rows(k.cfg.Store.Snapshot(), namespace) {
		if err := k.keep(ctx, row.Key()); err != nil {
			return err
		}
	}
	return nil
}

// keep keeps the secrets of one Ingress.
func (k *Keeper) keep(ctx context.Context, key object.Key) error {
	snap := k.cfg.Store.Snapshot()
	i, ok := tables.Ingresses.Get(snap, key)
	if !ok || i.DeletionTimestamp != nil || i.Annotations[route.CertificateAnnotation] != route.ClusterCertificate || !route.Serves(i, classes(snap)) {
		return nil
	}
	for n := range i.Spec.TLS {
		t := &i.Spec.TLS[n]
		if t.SecretName == "" || len(t.Hosts) == 0 {
			continue
		}
		have, _ := tables.Secrets.Get(snap, object.Key{Namespace: i.Namespace, Name: t.SecretName})
		why := k.refuses(snap, t.Hosts)
		if have != nil && !metav1.IsControlledBy(have, i) {
			why = "the secret is there and is not the ingress' own: delete it, or leave the annotation out"
		}
		if why != "" {
			why = fmt.Sprintf("spec.tls[%d]: no certificate for secret %s: %s", n, t.SecretName, why)
			if err := k.complain(ctx, i, why); err != nil {
				return err
			}
			continue
		}
		if have != nil && k.holds(have, t.Hosts) {
			continue
		}
		if err := k.issue(ctx, i, t, have); err != nil {
			return fmt.Errorf("making a certificate for ingress %s: %w", key, err)
		}
	}
	return nil
}

func classes(r store.Reader) map[string]*networkingv1.IngressClass {
	all := map[string]*networkingv1.IngressClass{}
	for c := range tables.IngressClasses.All(r) {
		all[c.Name] = c
	}
	return all
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
		h = strings.ToLower(h)
		switch {
		case !strings.Contains(h, "."):
			return fmt.Sprintf("%q has no dot: only names outside of the cluster are signed for", h)
		case strings.HasSuffix(h, ".svc") || strings.HasSuffix(h, "."+k.cfg.Domain) || h == k.cfg.Domain:
			return fmt.Sprintf("%q is a name inside of the cluster", h)
		}
		for _, t := range taken {
			if (&x509.Certificate{DNSNames: []string{h}}).VerifyHostname(t) == nil {
				return fmt.Sprintf("%q covers %s, which is a machine of the cluster", h, t)
			}
		}
	}
	return ""
}

// holds reports whether a secret's certificate is for the hosts, and for long enough.
func (k *Keeper) holds(s *corev1.Secret, hosts []string) bool {
	block, _ := pem.Decode(s.Data[corev1.TLSCertKey])
	if block == nil || len(s.Data[corev1.TLSPrivateKeyKey]) == 0 || !bytes.Equal(s.Data[corev1.ServiceAccountRootCAKey], k.cfg.CAPEM) {
		return false
	}
	c, err := x509.ParseCertificate(block.Bytes)
	return err == nil && slices.Equal(c.DNSNames, names(hosts)) && c.NotAfter.Sub(k.cfg.Now()) > life/3
}

func names(hosts []string) []string {
	out := make([]string, len(hosts))
	for i, h := range hosts {
		out[i] = strings.ToLower(h)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// issue writes a secret with a new key and certificate.
func (k *Keeper) issue(ctx context.Context, i *networkingv1.Ingress, t *networkingv1.IngressTLS, have *corev1.Secret) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	cert, err := k.cfg.Sign(&x509.Certificate{
		DNSNames: names(t.Hosts), NotAfter: k.cfg.Now().Add(life),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, key.Public())
	if err != nil {
		return err
	}
	next := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Namespace: i.Namespace, Name: t.SecretName,
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(i, networkingv1.SchemeGroupVersion.WithKind("Ingress"))},
	}}
	if have != nil {
		next = have.DeepCopy()
	}
	next.Type = corev1.SecretTypeTLS
	next.Data = map[string][]byte{
		corev1.TLSCertKey: append(cert, k.cfg.CAPEM...), corev1.ServiceAccountRootCAKey: k.cfg.CAPEM,
		corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
	}
	_, err = k.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		now, ok := tables.Secrets.Get(tx, object.KeyOf(next))
		if ok != (have != nil) || ok && now.ResourceVersion != have.ResourceVersion {
			return nil // its change comes here too
		}
		if ing, ok := tables.Ingresses.Get(tx, object.KeyOf(i)); !ok || ing.UID != i.UID {
			return nil
		}
		tables.Secrets.Put(tx, next)
		return nil
	})
	return err
}

func (k *Keeper) complain(ctx context.Context, i *networkingv1.Ingress, why string) error {
	_, err := k.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		tell.Once(tx, tables.Ingresses, i, tell.Event{From: "ingress-certificates", Type: corev1.EventTypeWarning, Reason: "CertificateRefused", Message: why})
		return nil
	})
	return err
}
