package credential

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	mathrand "math/rand/v2"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/wire"
)

// certificateKey names a source of a projected volume. Keys never leave the node
// (KEP-4317).
type certificateKey struct {
	pod    types.UID
	volume string
	source int
}

// certificate is what a source has.
//
//	asked ──► good ──► asked for the next, while it is good ──► good …
//	  └──────────────► refused, for the pod's life
type certificate struct {
	key, chain []byte    // PEM; none yet: nil
	next       time.Time // when to ask for the next
	asked      *asked
	refused    string
}

// asked is a key without a certificate.
type asked struct{ key, request []byte }

// renewSpread is by how much certificates are renewed later than their signer says,
// at random, so that pods that started together do not ask together.
const renewSpread = 5 * time.Minute

// renewTimeout bounds a call for a certificate where there is a good one.
const renewTimeout = 2 * time.Second

// Certificate implements volume.Certificates.
func (k *Keeper) Certificate(pod *corev1.Pod, volume string, source int, src *corev1.PodCertificateProjection) (key, chain []byte, err error) {
	at := certificateKey{pod.UID, volume, source}
	k.mu.Lock()
	one := k.certificates[at]
	if one == nil {
		one = &certificate{}
		k.certificates[at] = one
	}
	now := *one // the pod's volumes are made by one hand: nobody else changes it
	k.mu.Unlock()
	if now.chain != nil && time.Now().Before(now.next) {
		return now.key, now.chain, nil
	}
	err = k.ask(pod, at, src, &now)
	k.mu.Lock()
	if k.certificates[at] == one { // else the pod has been forgotten
		*one = now
	}
	k.mu.Unlock()
	if err != nil && now.chain != nil && now.refused == "" {
		return now.key, now.chain, nil // it is good for a while
	}
	return now.key, now.chain, err
}

// ask takes the source a step further.
func (k *Keeper) ask(pod *corev1.Pod, at certificateKey, src *corev1.PodCertificateProjection, one *certificate) (err error) {
	if one.refused != "" {
		return fmt.Errorf("signer %q refused a certificate: %s", src.SignerName, one.refused)
	}
	if one.asked == nil {
		if one.asked, err = newKey(src.KeyType); err != nil {
			return err
		}
	}
	limit := askTimeout
	if one.chain != nil {
		limit = renewTimeout
	}
	ctx, cancel := context.WithTimeout(k.cfg.Context(), limit)
	defer cancel()
	resp, err := k.cfg.Session().Certificate(ctx, &wire.CertificateRequest{
		Namespace: pod.Namespace, Pod: pod.Name, Uid: string(pod.UID), Volume: at.volume, Source: int32(at.source), StubRequest: one.asked.request,
	})
	switch {
	case err != nil:
		return fmt.Errorf("asking signer %q for a certificate: %w", src.SignerName, err)
	case resp.Refused != "":
		one.refused, one.asked = resp.Refused, nil
		return k.ask(pod, at, src, one)
	case resp.Chain == "":
		return fmt.Errorf("signer %q has not answered PodCertificateRequest %s/%s", src.SignerName, pod.Namespace, resp.Name)
	}
	next := time.Unix(resp.BeginRefreshUnix, 0)
	if spread := min(renewSpread, time.Unix(resp.NotAfterUnix, 0).Sub(next)/2); spread > 0 {
		next = next.Add(mathrand.N(spread))
	}
	*one = certificate{key: one.asked.key, chain: []byte(resp.Chain), next: next}
	return nil
}

// newKey makes a key and the request that proves it (API reference,
// PodCertificateProjection.keyType).
func newKey(keyType string) (*asked, error) {
	var key crypto.Signer
	var err error
	switch keyType {
	case "RSA3072":
		key, err = rsa.GenerateKey(rand.Reader, 3072)
	case "RSA4096":
		key, err = rsa.GenerateKey(rand.Reader, 4096)
	case "ECDSAP256":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ECDSAP384":
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ECDSAP521":
		key, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "ED25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		err = fmt.Errorf("keyType %q is none of RSA3072, RSA4096, ECDSAP256, ECDSAP384, ECDSAP521, ED25519", keyType)
	}
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, fmt.Errorf("making a certificate request: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding a key: %w", err)
	}
	return &asked{pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), request}, nil
}
