package dispatch_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/wire"
)

// TestCertificate asks, as a node, for certificates of its own pods and of others',
// and hears what the signer says.
func TestCertificate(t *testing.T) {
	m := newManager(t, 4*time.Second)
	put := func(name, node string) {
		m.update(func(tx *store.Tx) {
			tables.Pods.Put(tx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name, UID: "uid-x"}, Spec: corev1.PodSpec{
				NodeName: node, ServiceAccountName: "robot",
				Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
					{DownwardAPI: &corev1.DownwardAPIProjection{}},
					{PodCertificate: &corev1.PodCertificateProjection{SignerName: "example.com/s", UserAnnotations: map[string]string{"example.com/a": "b"}}},
				}}}}},
			}})
		})
	}
	m.update(func(tx *store.Tx) {
		tables.ServiceAccounts.Put(tx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "robot"}})
	})
	put("mine", "n1")
	put("other", "n2")
	a := m.agent("n1")
	<-a.got
	m.awaitReady("n1", corev1.ConditionTrue)
	stub := func() []byte {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	for _, c := range []*struct {
		name string
		r    wire.CertificateRequest
		want codes.Code
	}{
		{"another's pod", wire.CertificateRequest{Pod: "other", Volume: "v", Source: 1, StubRequest: stub()}, codes.PermissionDenied},
		{"another source", wire.CertificateRequest{Pod: "mine", Volume: "v", Source: 0, StubRequest: stub()}, codes.PermissionDenied},
		{"no such source", wire.CertificateRequest{Pod: "mine", Volume: "v", Source: -1, StubRequest: stub()}, codes.PermissionDenied},
		{"no such volume", wire.CertificateRequest{Pod: "mine", Volume: "w", Source: 1, StubRequest: stub()}, codes.PermissionDenied},
		{"no proof", wire.CertificateRequest{Pod: "mine", Volume: "v", Source: 1, StubRequest: []byte("x")}, codes.InvalidArgument},
	} {
		c.r.Namespace, c.r.Uid = "a", "uid-x"
		if _, err := a.Certificate(t.Context(), &c.r); status.Code(err) != c.want {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	// The signer: it answers the first request that it sees, and refuses the second.
	go func() {
		n := 0
		for e, err := range m.store.Events(t.Context(), m.store.Snapshot().Rev(), tables.PodCertificateRequests) {
			if err != nil {
				return
			}
			_ = e
			var open []*certificatesv1.PodCertificateRequest
			for r := range tables.PodCertificateRequests.All(m.store.Snapshot()) {
				if len(r.Status.Conditions) == 0 {
					open = append(open, r.DeepCopy())
				}
			}
			for _, r := range open {
				n++
				r.Status.Conditions = []metav1.Condition{{Type: certificatesv1.PodCertificateRequestConditionTypeIssued, Status: metav1.ConditionTrue}}
				at := metav1.Unix(2_000_000_000, 0)
				r.Status.CertificateChain, r.Status.BeginRefreshAt, r.Status.NotAfter = "chain", &at, &at
				if n == 2 {
					r.Status = certificatesv1.PodCertificateRequestStatus{Conditions: []metav1.Condition{{
						Type: certificatesv1.PodCertificateRequestConditionTypeDenied, Reason: "Policy", Message: "not you", Status: metav1.ConditionTrue,
					}}}
				}
				m.update(func(tx *store.Tx) { tables.PodCertificateRequests.Put(tx, r) })
			}
		}
	}()
	ask := func(der []byte) *wire.CertificateResponse {
		resp, err := a.Certificate(t.Context(), &wire.CertificateRequest{Namespace: "a", Pod: "mine", Uid: "uid-x", Volume: "v", Source: 1, StubRequest: der})
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	der := stub()
	resp := ask(der)
	if resp.Chain != "chain" || resp.BeginRefreshUnix != 2_000_000_000 {
		t.Fatalf("the signer answered, and the node hears %v", resp)
	}
	if again := ask(der); again.Name != resp.Name || again.Chain != resp.Chain {
		t.Errorf("asked again for the same key: %v, want %v", again, resp)
	}
	r, ok := tables.PodCertificateRequests.Get(m.store.Snapshot(), object.Key{Namespace: "a", Name: resp.Name})
	if !ok || r.Spec.PodName != "mine" || r.Spec.ServiceAccountName != "robot" || r.Spec.ServiceAccountUID == "" || r.Spec.NodeUID == "" ||
		*r.Spec.MaxExpirationSeconds != 24*3600 || r.Spec.UnverifiedUserAnnotations["example.com/a"] != "b" || r.OwnerReferences[0].UID != "uid-x" {
		t.Errorf("the request is %+v", r)
	}
	if resp := ask(stub()); !strings.Contains(resp.Refused, "not you") {
		t.Errorf("refused, and the node hears %v", resp)
	}
}
