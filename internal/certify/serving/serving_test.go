package serving_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/certify/serving"
	"trireme/internal/loop/looptest"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// authority signs as wire.PKI does.
func authority(t *testing.T) (func(*x509.Certificate, crypto.PublicKey) ([]byte, error), []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, NotAfter: time.Now().AddDate(10, 0, 0), KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	toPEM := func(der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}) }
	return func(c *x509.Certificate, to crypto.PublicKey) ([]byte, error) {
		c.SerialNumber, c.NotBefore = big.NewInt(2), time.Now()
		der, err := x509.CreateCertificate(rand.Reader, c, ca, to, key)
		return toPEM(der), err
	}, toPEM(der)
}

func ingress(name, secret string, hosts ...string) *networkingv1.Ingress {
	return &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Annotations: map[string]string{"trireme.dev/certificate": "cluster"}},
		Spec:       networkingv1.IngressSpec{TLS: []networkingv1.IngressTLS{{Hosts: hosts, SecretName: secret}}},
	}
}

func TestKeeper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := looptest.New(t, tables.All())
		sign, ca := authority(t)
		k, err := serving.New(serving.Config{Store: w.Store, CAPEM: ca, Sign: sign, Domain: "cluster.local", Hosts: []string{"m.machines.example"}})
		if err != nil {
			t.Fatal(err)
		}
		w.Update(func(tx *store.Tx) {
			tables.IngressClasses.Put(tx, &networkingv1.IngressClass{
				ObjectMeta: metav1.ObjectMeta{Name: "trireme", Annotations: map[string]string{networkingv1.AnnotationIsDefaultIngressClass: "true"}},
				Spec:       networkingv1.IngressClassSpec{Controller: "trireme.dev/ingress"},
			})
			tables.Secrets.Put(tx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "theirs"}})
			tables.Ingresses.Put(tx, ingress("web", "web-tls", "web.example", "*.Web.example"))
			tables.Ingresses.Put(tx, ingress("other", "theirs", "other.example"))
			for name, host := range map[string]string{"svc": "kubernetes.default.svc", "short": "kubernetes", "domain": "*.cluster.local", "machine": "*.machines.example"} {
				tables.Ingresses.Put(tx, ingress(name, name, host))
			}
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- k.Run(ctx) }()
		synctest.Wait()
		secret := func(name string) *corev1.Secret {
			s, _ := tables.Secrets.Get(w.Store.Snapshot(), object.Key{Namespace: "default", Name: name})
			return s
		}
		first := secret("web-tls")
		if first == nil || first.Type != corev1.SecretTypeTLS || len(first.OwnerReferences) != 1 {
			t.Fatalf("the secret is %+v", first)
		}
		pair, err := tls.X509KeyPair(first.Data[corev1.TLSCertKey], first.Data[corev1.TLSPrivateKeyKey])
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(ca)
		for _, name := range []string{"web.example", "a.web.example"} {
			if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); err != nil {
				t.Error(err)
			}
		}
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err == nil {
			t.Error("the certificate is somebody's identity")
		}
		refused := map[string]string{}
		for e := range tables.Events.All(w.Store.Snapshot()) {
			refused[e.InvolvedObject.Name] = e.Message
		}
		for name, why := range map[string]string{"svc": "inside", "short": "no dot", "domain": "inside", "machine": "covers m.machines.example", "other": "not the ingress' own"} {
			if !strings.Contains(refused[name], why) || !strings.HasPrefix(refused[name], "spec.tls[0]: ") || name != "other" && secret(name) != nil {
				t.Errorf("%s: %q", name, refused[name])
			}
		}
		if len(secret("theirs").Data) != 0 {
			t.Error("somebody's secret was overwritten")
		}

		time.Sleep(15 * 24 * time.Hour)
		synctest.Wait()
		if secret("web-tls").ResourceVersion != first.ResourceVersion {
			t.Error("renewed with more than a third of its life left")
		}
		time.Sleep(6 * 24 * time.Hour)
		synctest.Wait()
		second := secret("web-tls")
		if second.ResourceVersion == first.ResourceVersion {
			t.Error("not renewed with less than a third of its life left")
		}
		w.Update(func(tx *store.Tx) {
			old, _ := tables.Ingresses.Get(tx, object.Key{Namespace: "default", Name: "web"})
			next := old.DeepCopy()
			next.Spec.TLS[0].Hosts = []string{"new.example"}
			tables.Ingresses.Put(tx, next)
		})
		synctest.Wait()
		if pair, err := tls.X509KeyPair(secret("web-tls").Data[corev1.TLSCertKey], secret("web-tls").Data[corev1.TLSPrivateKeyKey]); err != nil || pair.Leaf.VerifyHostname("new.example") != nil {
			t.Errorf("after a change of hosts: %v", err)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}
