package kube

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/endpoints/request"

	"trireme/internal/store"
	"trireme/internal/tables"
)

// proxyServer is a door without its listener, over a pod at 10.1.2.3 that
// declares port 8080, a second pod that has no address, and a service of three
// ports. Every connection to a pod ends at one web server that says what it was
// asked; dialed is the address that was meant.
func proxyServer(t *testing.T) (s *Server, dialed *string) {
	t.Helper()
	st, err := store.Open(t.Context(), store.Config{Now: time.Now, NewID: func() types.UID { return "u" }}, tables.Defs()...)
	if err != nil {
		t.Fatal(err)
	}
	port := func(name string, n int32) discoveryv1.EndpointPort {
		return discoveryv1.EndpointPort{Name: &name, Port: &n}
	}
	yes, no := true, false
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "default", Name: name} }
	if _, err := st.Update(t.Context(), func(tx *store.Tx) error {
		spec := corev1.PodSpec{Containers: []corev1.Container{{Name: "a"}, {Name: "b", Ports: []corev1.ContainerPort{{ContainerPort: 8080}}}}}
		tables.Pods.Put(tx, &corev1.Pod{ObjectMeta: meta("p"), Spec: spec, Status: corev1.PodStatus{PodIP: "10.1.2.3"}})
		tables.Pods.Put(tx, &corev1.Pod{ObjectMeta: meta("new"), Spec: spec})
		tables.Pods.Put(tx, &corev1.Pod{ObjectMeta: meta("sly"), Spec: spec, Status: corev1.PodStatus{PodIP: "127.0.0.1"}})
		tables.Services.Put(tx, &corev1.Service{ObjectMeta: meta("s"), Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "web", Port: 80}, {Name: "tls", Port: 443}, {Name: "idle", Port: 1}}}})
		tables.Services.Put(tx, &corev1.Service{ObjectMeta: meta("one"), Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}})
		slice := &discoveryv1.EndpointSlice{ObjectMeta: meta("s-1"), Ports: []discoveryv1.EndpointPort{port("web", 8080), port("tls", 8443)}, Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"10.9.9.9"}, Conditions: discoveryv1.EndpointConditions{Ready: &no}},
			{Addresses: []string{"10.1.2.3"}, Conditions: discoveryv1.EndpointConditions{Ready: &yes}},
		}}
		slice.Labels = map[string]string{discoveryv1.LabelServiceName: "s"}
		tables.EndpointSlices.Put(tx, slice)
		slice = slice.DeepCopy()
		slice.Name, slice.Labels, slice.Ports = "one-1", map[string]string{discoveryv1.LabelServiceName: "one"}, []discoveryv1.EndpointPort{port("", 9090)}
		tables.EndpointSlices.Put(tx, slice)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/away" {
			http.Redirect(w, r, "/there", http.StatusFound)
			return
		}
		io.WriteString(w, r.Method+" "+r.URL.RequestURI())
	}))
	t.Cleanup(web.Close)
	dialed = new(string)
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		*dialed = addr
		return (&net.Dialer{}).DialContext(ctx, network, web.Listener.Addr().String())
	}
	return &Server{store: st, pods: &http.Transport{DialContext: dial, DisableKeepAlives: true}}, dialed
}

// failed takes the error of a proxy that could not connect.
type failed struct{ err error }

func (f *failed) Object(int, runtime.Object) {}
func (f *failed) Error(err error)            { f.err = err }

func TestProxyReaches(t *testing.T) {
	s, dialed := proxyServer(t)
	for _, c := range []struct{ plural, id, path, want string }{
		{"pods", "p", "/x/y/", "10.1.2.3:8080 GET /x/y/?q=1"},
		{"pods", "p", "/", "10.1.2.3:8080 GET /?q=1"},
		{"pods", "p:9", "/x", "10.1.2.3:9 GET /x?q=1"},
		{"pods", "http:p:9", "/x", "10.1.2.3:9 GET /x?q=1"},
		{"pods", "gone", "", "404"},
		{"pods", "new", "", "503"},
		{"pods", "sly", "", "400"},
		{"pods", "ftp:p:9:9", "", "400"},
		{"services", "s:web", "/x", "10.1.2.3:8080 GET /x?q=1"},
		{"services", "s:443", "/x", "10.1.2.3:8443 GET /x?q=1"},
		{"services", "s", "/x", "400"},
		{"services", "s:idle", "/x", "503"},
		{"services", "s:8080", "/x", "503"},
		{"services", "one", "/x", "10.1.2.3:9090 GET /x?q=1"},
		{"services", "none", "/x", "404"},
	} {
		p := &proxied{server: s, plural: c.plural}
		opts := p.New()
		*proxyPath(opts) = c.path
		h, err := p.Connect(request.WithNamespace(t.Context(), "default"), c.id, opts, &failed{})
		if err != nil {
			if got := apierrors.ReasonForError(err); !strings.HasPrefix(c.want, map[metav1.StatusReason]string{"NotFound": "404", "ServiceUnavailable": "503", "BadRequest": "400"}[got]) {
				t.Errorf("%s/%s: %v", c.plural, c.id, err)
			}
			continue
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "https://manager/api/v1/namespaces/default/"+c.plural+"/"+c.id+"/proxy"+c.path+"?q=1", nil))
		if got := *dialed + " " + w.Body.String(); got != c.want {
			t.Errorf("%s/%s %s: %d %s, want %s", c.plural, c.id, c.path, w.Code, got, c.want)
		}
	}
}

// TestProxyRedirect: what the pod calls its root is the proxy's path to it.
func TestProxyRedirect(t *testing.T) {
	s, _ := proxyServer(t)
	p := &proxied{server: s, plural: "pods"}
	h, err := p.Connect(request.WithNamespace(t.Context(), "default"), "p", &corev1.PodProxyOptions{Path: "/away"}, &failed{})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "https://manager/api/v1/namespaces/default/pods/p/proxy/away", nil))
	if got, want := w.Header().Get("Location"), "/api/v1/namespaces/default/pods/p/proxy/there"; w.Code != http.StatusFound || !strings.HasSuffix(got, want) {
		t.Errorf("%d to %q, want %q", w.Code, got, want)
	}
	h, err = p.Connect(request.WithNamespace(t.Context(), "default"), "p", &corev1.PodProxyOptions{}, &failed{})
	if err != nil {
		t.Fatal(err)
	}
	w = httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "https://manager/api/v1/namespaces/default/pods/p/proxy?q=1", nil))
	if got := w.Header().Get("Location"); w.Code != http.StatusMovedPermanently || got != "/api/v1/namespaces/default/pods/p/proxy/?q=1" {
		t.Errorf("without a slash: %d to %q", w.Code, got)
	}
}
