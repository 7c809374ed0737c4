package trust_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	storagemigrationv1 "k8s.io/api/storagemigration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"trireme/internal/object/validate"
	"trireme/internal/object/validate/trust"
)

var certBegin = time.Unix(1_900_000_000, 0).UTC()

// certificate returns a certificate of the key, signed with itself, in PEM.
func certificate(t *testing.T, key *ecdsa.PrivateKey, ca bool) string {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, IsCA: ca, BasicConstraintsValid: true,
		NotBefore: certBegin, NotAfter: certBegin.Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func newKey(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// expect checks that the faults are the wanted one, or none.
func expect(t *testing.T, what string, errs field.ErrorList, want string) {
	t.Helper()
	if got := errs.ToAggregate(); got == nil && want != "" || got != nil && (want == "" || !strings.Contains(got.Error(), want)) {
		t.Errorf("%s: %v, want %q", what, got, want)
	}
}

func TestClusterTrustBundle(t *testing.T) {
	key := newKey(t, elliptic.P256())
	ca := certificate(t, key, true)
	for _, c := range []struct{ name, signer, bundle, want string }{
		{"a", "", ca, ""},
		{"example.com:s:a", "example.com/s", ca, ""},
		{"a", "example.com/s", ca, "must be named with prefix example.com:s:"},
		{"example.com:s:a", "", ca, "metadata.name"},
		{"example:s:a", "example/s", ca, "at least two segments"},
		{"a", "", "", "at least one trust anchor"},
		{"a", "", "rubbish", "at least one trust anchor"},
		{"a", "", ca + ca, "entry 1 is a duplicate"},
		{"a", "", certificate(t, key, false), "CA bit"},
		{"a", "", strings.ReplaceAll(ca, "CERTIFICATE", "X"), "bad block type: X"},
		{"a", "", strings.Replace(ca, "-----\n", "-----\nA: b\n\n", 1), "headers"},
		{"a", "", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "does not parse"},
	} {
		o := &certificatesv1.ClusterTrustBundle{ObjectMeta: metav1.ObjectMeta{Name: c.name}, Spec: certificatesv1.ClusterTrustBundleSpec{SignerName: c.signer, TrustBundle: c.bundle}}
		expect(t, c.name+" of "+c.signer, validate.Object(o), c.want)
	}
}

func podCertificateRequest(t *testing.T, key *ecdsa.PrivateKey) *certificatesv1.PodCertificateRequest {
	t.Helper()
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	seconds := int32(86400)
	return &certificatesv1.PodCertificateRequest{ObjectMeta: metav1.ObjectMeta{Namespace: "d", Name: "r"}, Spec: certificatesv1.PodCertificateRequestSpec{
		SignerName: "example.com/s", PodName: "p", PodUID: "1", ServiceAccountName: "default", ServiceAccountUID: "2", NodeName: "n", NodeUID: "3",
		MaxExpirationSeconds: &seconds, StubPKCS10Request: csr,
	}}
}

func TestPodCertificateRequest(t *testing.T) {
	type spec = certificatesv1.PodCertificateRequestSpec
	long := int32(25 * 3600)
	for want, change := range map[string]func(*spec){
		"":                        func(*spec) {},
		"spec.podUID":             func(s *spec) { s.PodUID = "" },
		"spec.serviceAccountName": func(s *spec) { s.ServiceAccountName = "A" },
		"spec.nodeUID: Too long": func(s *spec) {
			s.NodeUID = "3333333333333333333333333333333333333333333333333333333333333333333333333333333333333333333333333333333333333333333333333333333333333"
		},
		"maxExpirationSeconds: Required": func(s *spec) { s.MaxExpirationSeconds = nil },
		"in the range [3600, 86400]":     func(s *spec) { s.SignerName, s.MaxExpirationSeconds = "kubernetes.io/s", &long },
		"valid PKCS#10":                  func(s *spec) { s.StubPKCS10Request = []byte("x") },
		"must have a domain prefix":      func(s *spec) { s.UnverifiedUserAnnotations = map[string]string{"a": "b"} },
		"must use curve": func(s *spec) {
			s.StubPKCS10Request = podCertificateRequest(t, newKey(t, elliptic.P224())).Spec.StubPKCS10Request
		},
		"form 'example.com/signer-name'": func(s *spec) { s.SignerName = "example.com" },
	} {
		o := podCertificateRequest(t, newKey(t, elliptic.P256()))
		change(&o.Spec)
		expect(t, want, validate.Object(o), want)
	}
	old := podCertificateRequest(t, newKey(t, elliptic.P256()))
	next := old.DeepCopy()
	next.ResourceVersion, old.ResourceVersion, next.Spec.PodName = "2", "1", "q"
	expect(t, "another pod", validate.Update(next, old), "spec: Invalid value")
}

func TestIssuedPodCertificate(t *testing.T) {
	type status = certificatesv1.PodCertificateRequestStatus
	key := newKey(t, elliptic.P256())
	condition := func(typ string) metav1.Condition {
		return metav1.Condition{Type: typ, Status: metav1.ConditionTrue, Reason: "R", LastTransitionTime: metav1.NewTime(certBegin)}
	}
	at := func(after time.Duration) *metav1.Time { m := metav1.NewTime(certBegin.Add(after)); return &m }
	for want, change := range map[string]func(*status){
		"":                        func(*status) {},
		"status.notBefore":        func(s *status) { s.NotBefore = at(time.Second) },
		"status.notAfter":         func(s *status) { s.NotAfter = nil },
		"status.beginRefreshAt":   func(s *status) { s.BeginRefreshAt = at(25 * time.Hour) },
		"requested public key":    func(s *status) { s.CertificateChain = certificate(t, newKey(t, elliptic.P256()), false) },
		"at least one":            func(s *status) { s.CertificateChain = "" },
		"at most one condition":   func(s *status) { s.Conditions = append(s.Conditions, condition("Denied")) },
		"must be empty":           func(s *status) { s.Conditions[0].Type = "Failed" },
		"conditions[0].type: Uns": func(s *status) { s.Conditions[0].Type = "Other" },
		"conditions[0].status":    func(s *status) { s.Conditions[0].Status = metav1.ConditionFalse },
	} {
		o := podCertificateRequest(t, key)
		o.Status = status{
			Conditions: []metav1.Condition{condition("Issued")}, CertificateChain: certificate(t, key, false),
			NotBefore: at(0), NotAfter: at(24 * time.Hour), BeginRefreshAt: at(time.Hour),
		}
		change(&o.Status)
		expect(t, want, validate.Status(o), want)
	}
}

func TestStorageVersionMigration(t *testing.T) {
	for _, c := range []struct{ group, resource, want string }{
		{"", "pods", ""}, {"example.com", "things", ""}, {"", "", "spec.resource.resource: Required"}, {"A", "pods", "spec.resource.group"}, {"", "A", "spec.resource.resource"},
	} {
		o := &storagemigrationv1.StorageVersionMigration{ObjectMeta: metav1.ObjectMeta{Name: "m"}}
		o.Spec.Resource = metav1.GroupResource{Group: c.group, Resource: c.resource}
		expect(t, c.group+"/"+c.resource, validate.Object(o), c.want)
	}
}

func TestProjection(t *testing.T) {
	text := func(s string) *string { return &s }
	type projection = corev1.ClusterTrustBundleProjection
	for want, p := range map[string]projection{
		"":                       {Name: text("a")},
		"only one of":            {Name: text("a"), SignerName: text("e.com/s")},
		"must be specified":      {},
		"must be unset":          {Name: text("a"), LabelSelector: &metav1.LabelSelector{}},
		"signer-name":            {SignerName: text("e.com")},
		"labelSelector.matchLab": {SignerName: text("e.com/s"), LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"a b": ""}}},
	} {
		expect(t, want, trust.Projection(&p, field.NewPath("p")), want)
	}
}
