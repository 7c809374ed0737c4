package kube

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/wire"
)

// handler is the door's whole handler over a store in memory, without a
// network. Its caller is the administrator.
type handler struct {
	store  *store.Store
	server *Server
	http   http.Handler
	tls    *tls.ConnectionState
}

func newHandler(t testing.TB) *handler {
	t.Helper()
	s, err := store.Open(context.Background(), store.Config{Now: time.Now, NewID: func() types.UID { return types.UID(uuid.NewString()) }}, tables.Defs()...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Update(context.Background(), func(tx *store.Tx) error {
		tables.Namespaces.Put(tx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}, Status: corev1.NamespaceStatus{Phase: corev1.NamespaceActive}})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	pki, err := wire.OpenPKI(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := pki.Issue(wire.Leaf{Name: wire.AdminName, Group: wire.MastersGroup})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	srv, err := New(s, Config{
		Listener: l, TLS: wire.ServerTLS(cert, pki.Pool(), false), ClientCA: pki.Pool(), NodeTLS: wire.ClientTLS(cert, pki.Pool()),
		Log: slog.New(slog.DiscardHandler), Allocate: func(*store.Tx, store.Object, store.Object) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	srv.api.PrepareRun()
	leaf := []*x509.Certificate{cert.Leaf}
	return &handler{s, srv, srv.api.Handler, &tls.ConnectionState{HandshakeComplete: true, PeerCertificates: leaf, VerifiedChains: [][]*x509.Certificate{leaf}}}
}

func (h *handler) do(method, path, media, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "https://door"+path, strings.NewReader(body))
	r.TLS = h.tls
	if media != "" {
		r.Header.Set("Content-Type", media)
	}
	w := httptest.NewRecorder()
	h.http.ServeHTTP(w, r)
	return w
}

// rows counts everything that is stored.
func (h *handler) rows() int {
	n := 0
	for _, t := range tables.All() {
		n += t.Len(h.store.Snapshot())
	}
	return n
}

var medias = []string{"application/json", "application/yaml", "application/vnd.kubernetes.protobuf"}

func encoded(f *testing.F, o runtime.Object) string {
	f.Helper()
	_, plain, err := schemes()
	if err != nil {
		f.Fatal(err)
	}
	var b strings.Builder
	if err := protobuf.NewSerializer(plain, plain).Encode(o, &b); err != nil {
		f.Fatal(err)
	}
	return b.String()
}

// FuzzBody sends any body to a create: it is never the server's fault, and what
// is refused is not stored.
func FuzzBody(f *testing.F) {
	pod := &corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}, ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	one := int32(1)
	deployment := &appsv1.Deployment{TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"}, ObjectMeta: metav1.ObjectMeta{Name: "d"}, Spec: appsv1.DeploymentSpec{Replicas: &one}}
	for kind := range uint8(4) {
		f.Add(kind, uint8(0), `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"containers":[{"name":"c","image":"i","resources":{"limits":{"cpu":"1e99"}}}]}}`)
		f.Add(kind, uint8(0), `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"../x"},"spec":{"replicas":2147483648}}`)
		f.Add(kind, uint8(0), strings.Repeat(`{"a":`, 2000))
		f.Add(kind, uint8(1), "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {ports: [{port: 0}]}\n")
		f.Add(kind, uint8(1), "a: &a [*a]")
		f.Add(kind, uint8(2), encoded(f, pod))
		f.Add(kind, uint8(2), encoded(f, deployment))
		f.Add(kind, uint8(2), "k8s\x00\xff\xff\xff\xff")
	}
	h := newHandler(f)
	paths := []string{
		"/api/v1/namespaces/default/pods", "/api/v1/namespaces/default/services",
		"/apis/apps/v1/namespaces/default/deployments", "/api/v1/namespaces/default/configmaps",
	}
	f.Fuzz(func(t *testing.T, kind, media uint8, body string) {
		before := h.rows()
		w := h.do("POST", paths[int(kind)%len(paths)], medias[int(media)%len(medias)], body)
		after := h.rows()
		switch {
		case w.Code >= 500:
			t.Errorf("%d: %s", w.Code, w.Body)
		case w.Code >= 400 && after != before:
			t.Errorf("%d, and stored: %s", w.Code, w.Body)
		case w.Code < 300 && after != before+1:
			t.Errorf("%d, and %d rows of %d", w.Code, after, before)
		}
	})
}

// FuzzPatch applies any patch of any type to a Deployment.
func FuzzPatch(f *testing.F) {
	types := []string{"application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json", "application/apply-patch+yaml"}
	for i := range uint8(4) {
		f.Add(i, `[{"op":"replace","path":"/spec/replicas","value":-1}]`)
		f.Add(i, `{"spec":{"replicas":3,"template":{"spec":{"containers":[{"name":"c","$patch":"delete"}]}}}}`)
		f.Add(i, "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {replicas: 2}\n")
		f.Add(i, `[{"op":"copy","from":"/spec","path":"/spec/template/spec"}]`)
	}
	h := newHandler(f)
	const d = `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d"},"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}`
	const path = "/apis/apps/v1/namespaces/default/deployments"
	if w := h.do("POST", path, medias[0], d); w.Code != 201 {
		f.Fatalf("%d: %s", w.Code, w.Body)
	}
	f.Fuzz(func(t *testing.T, kind uint8, patch string) {
		w := h.do("PATCH", path+"/d?fieldManager=fuzz&force=true", types[int(kind)%len(types)], patch)
		if w.Code >= 500 {
			t.Errorf("%d: %s", w.Code, w.Body)
		}
		for row := range tables.Deployments.Rows(h.store.Snapshot(), "") {
			if n := row.Object().Spec.Replicas; n == nil || *n < 0 {
				t.Errorf("%v replicas were stored", n)
			}
		}
	})
}

// FuzzQuery lists with any selector, continue token and resource version.
func FuzzQuery(f *testing.F) {
	f.Add("a=b,c in (d)", "metadata.name=x", "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MX0", "1", "Exact", "5")
	f.Add("!a", "spec.nodeName!=", "%%%", "-1", "NotOlderThan", "-5")
	f.Add(strings.Repeat("a,", 1000), "status.phase=Running", "", "99999999999999999999", "", "x")
	h := newHandler(f)
	f.Fuzz(func(t *testing.T, label, field, token, rev, match, limit string) {
		q := url.Values{}
		for k, v := range map[string]string{
			"labelSelector": label, "fieldSelector": field, "continue": token, "resourceVersion": rev, "resourceVersionMatch": match, "limit": limit,
		} {
			if v != "" {
				q.Set(k, v)
			}
		}
		// 504 is Kubernetes' word for a resource version that is not there yet.
		if w := h.do("GET", "/api/v1/namespaces/default/pods?"+q.Encode(), "", ""); w.Code >= 500 && w.Code != http.StatusGatewayTimeout {
			t.Errorf("%d: %s", w.Code, w.Body)
		}
	})
}
