package kube_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"trireme/internal/kind"
	"trireme/internal/wire"
)

// TestCaller: who calls another door is known by the same certificates and tokens, and in
// process is nobody else.
func TestCaller(t *testing.T) {
	d := serve(t)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/services", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.server.Caller(req); !kind.Is(err, kind.Unauthenticated) {
		t.Errorf("who shows nothing: %v", err)
	}
	req.Header.Set("Authorization", "Bearer none")
	if _, err := d.server.Caller(req); !kind.Is(err, kind.Unauthenticated) {
		t.Errorf("who shows a bad token: %v", err)
	}
	req.Header.Del("Authorization")
	cert, err := d.pki.Issue(wire.Leaf{Name: "jane", Group: "dev"})
	if err != nil {
		t.Fatal(err)
	}
	ca, err := x509.ParseCertificate(cert.Certificate[1])
	if err != nil {
		t.Fatal(err)
	}
	req.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert.Leaf}, VerifiedChains: [][]*x509.Certificate{{cert.Leaf, ca}}}
	jane, err := d.server.Caller(req)
	if err != nil || jane.Name != "jane" || len(jane.Groups) != 2 || jane.Groups[0] != "dev" {
		t.Fatalf("jane is %+v, %v", jane, err)
	}
	c, err := kubernetes.NewForConfig(d.server.LoopbackAs(jane))
	if err != nil {
		t.Fatal(err)
	}
	me, err := c.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsForbidden(err) || err == nil && me.Status.UserInfo.Username != "jane" {
		t.Errorf("jane's client is %v, %v", me, err)
	}
	if _, err := c.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("jane's list: %v", err)
	}
}
