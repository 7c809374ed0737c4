package kube_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"trireme/internal/access"
	"trireme/internal/certify"
)

// asking returns a request for a certificate in PEM.
func asking(t *testing.T, name string, groups []string, hosts ...string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r := &x509.CertificateRequest{Subject: pkix.Name{CommonName: name, Organization: groups}}
	for _, h := range hosts {
		r.IPAddresses = append(r.IPAddresses, net.ParseIP(h))
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, r, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

// impersonator returns a client that acts as the user.
func (d *door) impersonator(t *testing.T, name string, groups ...string) *kubernetes.Clientset {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", d.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.Impersonate = rest.ImpersonationConfig{UserName: name, Groups: append(groups, "system:authenticated")}
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestSigning asks for certificates of every signer and looks at what comes.
func TestSigning(t *testing.T) {
	d := serve(t)
	d.withRoles(t)
	admin, _ := d.clients(t)
	signer, err := certify.New(certify.Config{Store: d.store, Access: access.NewChecker(d.store), Sign: d.pki.Certify})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- signer.Run(ctx) }()
	defer func() { cancel(); <-done }()
	node, nodes := "system:node:n1", []string{"system:nodes"}
	client := []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth, certificatesv1.UsageDigitalSignature}
	server := []certificatesv1.KeyUsage{certificatesv1.UsageServerAuth}
	for _, c := range []struct {
		name, signer string
		request      []byte
		usages       []certificatesv1.KeyUsage
		as           string
		approve      bool
		want         string // the certificate's name, or a word of the failure; empty: nothing happens
	}{
		{"client", "kubernetes.io/kube-apiserver-client", asking(t, "jane", []string{"devs"}), client, "jane", true, "jane"},
		{"not-approved", "kubernetes.io/kube-apiserver-client", asking(t, "jane", nil), client, "jane", false, ""},
		{"masters", "kubernetes.io/kube-apiserver-client", asking(t, "jane", []string{"system:masters"}), client, "jane", true, "system:masters cannot be asked for"},
		{"wrong-usage", "kubernetes.io/kube-apiserver-client", asking(t, "jane", nil), server, "jane", true, `must include "client auth"`},
		{"self", "kubernetes.io/kube-apiserver-client-kubelet", asking(t, node, nodes), client, node, false, node},
		{"join", "kubernetes.io/kube-apiserver-client-kubelet", asking(t, node, nodes), client, "system:bootstrap:aaaaaa", false, node},
		{"stranger", "kubernetes.io/kube-apiserver-client-kubelet", asking(t, node, nodes), client, "jane", false, ""},
		{"other-node", "kubernetes.io/kube-apiserver-client-kubelet", asking(t, "system:node:n2", nodes), client, node, false, ""},
		{"serving", "kubernetes.io/kubelet-serving", asking(t, node, nodes, "192.0.2.1"), server, node, true, node},
		{"serving-nothing", "kubernetes.io/kubelet-serving", asking(t, node, nodes), server, node, true, "DNS or IP names"},
		{"foreign", "example.com/mine", asking(t, "x", nil), client, "jane", true, ""},
	} {
		groups := map[string][]string{node: nodes, "system:bootstrap:aaaaaa": {"system:bootstrappers"}, "jane": {"devs"}}[c.as]
		if c.as == "jane" {
			letJaneAsk(t, admin)
		}
		r := &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: c.name}, Spec: certificatesv1.CertificateSigningRequestSpec{
			Request: c.request, SignerName: c.signer, Usages: c.usages, Username: "liar",
		}}
		r, err := d.impersonator(t, c.as, groups...).CertificatesV1().CertificateSigningRequests().Create(t.Context(), r, metav1.CreateOptions{})
		if err != nil || r.Spec.Username != c.as {
			t.Fatalf("%s: %v, by %q", c.name, err, r.Spec.Username)
		}
		if c.approve {
			approve(t, admin, r)
		}
		got := awaitAnswer(t, admin, c.name, c.want != "")
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	mayNotDecide(t, d, admin)
}

func letJaneAsk(t *testing.T, admin *kubernetes.Clientset) {
	b := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "jane"}, Subjects: []rbacv1.Subject{{Kind: "User", Name: "jane"}}, RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "system:node-bootstrapper"}}
	if _, err := admin.RbacV1().ClusterRoleBindings().Create(t.Context(), b, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
}

func approve(t *testing.T, c *kubernetes.Clientset, r *certificatesv1.CertificateSigningRequest) {
	t.Helper()
	r.Status.Conditions = append(r.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "Test"})
	if _, err := c.CertificatesV1().CertificateSigningRequests().UpdateApproval(t.Context(), r.Name, r, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// awaitAnswer returns the name in the certificate, or why there is none; empty
// where nothing was answered by the time that a later request is.
func awaitAnswer(t *testing.T, admin *kubernetes.Clientset, name string, comes bool) string {
	t.Helper()
	api := admin.CertificatesV1().CertificateSigningRequests()
	w, err := api.Watch(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=" + name, ResourceVersion: "0"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	limit := 10 * time.Second
	if !comes {
		limit = 100 * time.Millisecond
	}
	end := time.After(limit)
	for {
		select {
		case e := <-w.ResultChan():
			r := e.Object.(*certificatesv1.CertificateSigningRequest)
			for _, c := range r.Status.Conditions {
				if c.Type == certificatesv1.CertificateFailed {
					return c.Message
				}
			}
			if block, _ := pem.Decode(r.Status.Certificate); block != nil {
				cert, err := x509.ParseCertificate(block.Bytes)
				if err != nil {
					t.Fatal(err)
				}
				return cert.Subject.CommonName
			}
		case <-end:
			return ""
		}
	}
}

// mayNotDecide checks what is refused at the decision.
func mayNotDecide(t *testing.T, d *door, admin *kubernetes.Clientset) {
	api := admin.CertificatesV1().CertificateSigningRequests()
	r, err := api.Get(t.Context(), "not-approved", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "half"}, Rules: []rbacv1.PolicyRule{{APIGroups: []string{"certificates.k8s.io"}, Resources: []string{"certificatesigningrequests/approval"}, Verbs: []string{"update"}}}}
	if _, err := admin.RbacV1().ClusterRoles().Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	b := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "half"}, Subjects: []rbacv1.Subject{{Kind: "User", Name: "half"}}, RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "half"}}
	if _, err := admin.RbacV1().ClusterRoleBindings().Create(t.Context(), b, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	next := r.DeepCopy()
	next.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue}}
	half := d.impersonator(t, "half").CertificatesV1().CertificateSigningRequests()
	if _, err := half.UpdateApproval(t.Context(), r.Name, next, metav1.UpdateOptions{}); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "not permitted to approve requests with signerName") {
		t.Errorf("approval without the right on the signer: %v", err)
	}
	next.Status.Conditions = append(next.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{Type: certificatesv1.CertificateDenied, Status: corev1.ConditionTrue})
	if _, err := api.UpdateApproval(t.Context(), r.Name, next, metav1.UpdateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("approved and denied: %v", err)
	}
	done, err := api.Get(t.Context(), "client", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	done.Status.Conditions = nil
	if _, err := api.UpdateApproval(t.Context(), "client", done, metav1.UpdateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("an approval taken back: %v", err)
	}
	for _, bad := range []certificatesv1.CertificateSigningRequestSpec{
		{Request: []byte("x"), SignerName: "example.com/s", Usages: []certificatesv1.KeyUsage{"any"}},
		{Request: r.Spec.Request, SignerName: "nodomain", Usages: []certificatesv1.KeyUsage{"any"}},
		{Request: r.Spec.Request, SignerName: "example.com/s"},
		{Request: r.Spec.Request, SignerName: "example.com/s", Usages: []certificatesv1.KeyUsage{"nonsense"}},
		{Request: r.Spec.Request, SignerName: "example.com/s", Usages: []certificatesv1.KeyUsage{"any"}, ExpirationSeconds: new(int32(5))},
	} {
		if _, err := api.Create(t.Context(), &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: "bad"}, Spec: bad}, metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}
