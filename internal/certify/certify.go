package certify

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/access"
	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/object/validate/trust"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Config configures a Signer. All but Now is required.
type Config struct {
	Store  *store.Store
	Access *access.Checker
	// Sign signs what the template describes and returns PEM.
	Sign func(template *x509.Certificate, key crypto.PublicKey) ([]byte, error)
	Now  func() time.Time // nil: time.Now
}

// Signer approves and signs requests.
type Signer struct{ cfg Config }

// New returns a signer that is not running yet.
func New(cfg Config) (*Signer, error) {
	if cfg.Store == nil || cfg.Access == nil || cfg.Sign == nil {
		return nil, kind.New(kind.Invalid, "certify: Config lacks a required field")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Signer{cfg}, nil
}

// Run answers requests until ctx ends.
func (s *Signer) Run(ctx context.Context) error {
	return s.cfg.Store.Follow(ctx, tables.CertificateSigningRequests.Any(), func(key object.Key) error { return s.answer(ctx, key) })
}

// answer takes one request a step further: to its approval, or to its
// certificate.
func (s *Signer) answer(ctx context.Context, key object.Key) error {
	r, ok := tables.CertificateSigningRequests.Get(s.cfg.Store.Snapshot(), key)
	if !ok || r.DeletionTimestamp != nil || len(r.Status.Certificate) > 0 || has(r, certificatesv1.CertificateDenied) || has(r, certificatesv1.CertificateFailed) {
		return nil
	}
	rules, ok := signers[r.Spec.SignerName]
	if !ok {
		return nil // somebody else's
	}
	request, err := trust.CertificateRequest(r.Spec.Request)
	if err != nil {
		return s.write(ctx, r, condition(certificatesv1.CertificateFailed, "SignerValidationFailure", err.Error()), nil)
	}
	if !has(r, certificatesv1.CertificateApproved) {
		if reason := s.approves(r, request); reason != "" {
			return s.write(ctx, r, condition(certificatesv1.CertificateApproved, "AutoApproved", reason), nil)
		}
		return nil
	}
	if err := rules.check(request, r.Spec.Usages); err != nil {
		return s.write(ctx, r, condition(certificatesv1.CertificateFailed, "SignerValidationFailure", err.Error()), nil)
	}
	cert, err := s.cfg.Sign(s.template(r, request), request.PublicKey)
	if err != nil {
		return err
	}
	return s.write(ctx, r, nil, cert)
}

// lifeMax is how long a certificate is good where the request does not ask for
// less.
const lifeMax = 365 * 24 * time.Hour

func (s *Signer) template(r *certificatesv1.CertificateSigningRequest, request *x509.CertificateRequest) *x509.Certificate {
	life := lifeMax
	if n := r.Spec.ExpirationSeconds; n != nil {
		life = min(life, time.Duration(*n)*time.Second)
	}
	t := &x509.Certificate{
		Subject: request.Subject, DNSNames: request.DNSNames, IPAddresses: request.IPAddresses, EmailAddresses: request.EmailAddresses,
		URIs: request.URIs, NotAfter: s.cfg.Now().Add(life),
	}
	for _, u := range r.Spec.Usages {
		switch u {
		case certificatesv1.UsageDigitalSignature:
			t.KeyUsage |= x509.KeyUsageDigitalSignature
		case certificatesv1.UsageKeyEncipherment:
			t.KeyUsage |= x509.KeyUsageKeyEncipherment
		case certificatesv1.UsageClientAuth:
			t.ExtKeyUsage = append(t.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
		case certificatesv1.UsageServerAuth:
			t.ExtKeyUsage = append(t.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
		}
	}
	return t
}

func has(r *certificatesv1.CertificateSigningRequest, t certificatesv1.RequestConditionType) bool {
	for _, c := range r.Status.Conditions {
		if c.Type == t {
			return true
		}
	}
	return false
}

func condition(t certificatesv1.RequestConditionType, reason, message string) *certificatesv1.CertificateSigningRequestCondition {
	return &certificatesv1.CertificateSigningRequestCondition{Type: t, Status: corev1.ConditionTrue, Reason: reason, Message: message}
}

// write adds what was decided, unless the request changed meanwhile: then its
// change comes here too.
func (s *Signer) write(ctx context.Context, r *certificatesv1.CertificateSigningRequest, c *certificatesv1.CertificateSigningRequestCondition, cert []byte) error {
	_, err := s.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		now, ok := tables.CertificateSigningRequests.Get(tx, object.KeyOf(r))
		if !ok || now.ResourceVersion != r.ResourceVersion {
			return nil
		}
		next := now.DeepCopy()
		if c != nil {
			c.LastUpdateTime = metav1.NewTime(tx.Now().Truncate(time.Second))
			c.LastTransitionTime = c.LastUpdateTime
			next.Status.Conditions = append(next.Status.Conditions, *c)
		}
		if cert != nil {
			next.Status.Certificate = cert
		}
		tables.CertificateSigningRequests.Put(tx, next)
		return nil
	})
	if err != nil {
		return fmt.Errorf("answering the request for a certificate %s: %w", r.Name, err)
	}
	return nil
}
