package acme_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/certify/acme"
	"trireme/internal/loop/looptest"
	"trireme/internal/object"
	"trireme/internal/object/route"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// world is a store with two ready nodes, an ACME server and a keeper.
type world struct {
	*looptest.World
	t      *testing.T
	server *server
	stop   func() // the keeper
}

// run runs f in a bubble, with a keeper that runs.
func run(t *testing.T, f func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{World: looptest.New(t, append(tables.All(), tables.Samples()...)), t: t}
		w.server = newServer(t, w.Store)
		w.Update(func(tx *store.Tx) {
			tables.IngressClasses.Put(tx, &networkingv1.IngressClass{
				ObjectMeta: metav1.ObjectMeta{Name: "trireme", Annotations: map[string]string{networkingv1.AnnotationIsDefaultIngressClass: "true"}},
				Spec:       networkingv1.IngressClassSpec{Controller: "trireme.dev/ingress"},
			})
			for name, address := range map[string]string{"a": "192.0.2.1", "b": "192.0.2.2"} {
				tables.Nodes.Put(tx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{
					Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
					Addresses:  []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address}},
				}})
			}
		})
		w.start()
		f(w)
		w.stop()
	})
}

// start starts a keeper, as a new leader does.
func (w *world) start() {
	w.t.Helper()
	k, err := acme.New(acme.Config{
		Store: w.Store, Domain: "cluster.local", Settings: acme.Settings{Directory: directory, Contact: "a@b.example"},
		Server: &http.Client{Transport: w.server}, Nodes: w.server,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	w.stop = func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			w.t.Error(err)
		}
	}
	synctest.Wait()
}

// put writes an Ingress that asks for a certificate, and lets the keeper work on it.
func (w *world) put(name string, hosts ...string) {
	w.t.Helper()
	w.Update(func(tx *store.Tx) {
		next := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Annotations: map[string]string{"trireme.dev/certificate": "acme"}}}
		if old, ok := tables.Ingresses.Get(tx, object.Key{Namespace: "default", Name: name}); ok {
			next = old.DeepCopy()
		}
		next.Spec.TLS = []networkingv1.IngressTLS{{Hosts: hosts, SecretName: name + "-tls"}}
		tables.Ingresses.Put(tx, next)
	})
	time.Sleep(time.Minute) // what is left to do then waits for longer
	synctest.Wait()
}

func (w *world) secret(name string) *corev1.Secret {
	s, _ := tables.Secrets.Get(w.Store.Snapshot(), object.Key{Namespace: "default", Name: name})
	return s
}

// pair returns the certificate that a secret holds.
func (w *world) pair(name string) tls.Certificate {
	w.t.Helper()
	s := w.secret(name)
	if s == nil {
		w.t.Fatalf("no secret %s; events:\n%s", name, w.events(""))
	}
	pair, err := tls.X509KeyPair(s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		w.t.Fatal(err)
	}
	return pair
}

// events returns what was told of an Ingress, of all where its name is empty.
func (w *world) events(name string) string {
	var b strings.Builder
	for e := range tables.Events.All(w.Store.Snapshot()) {
		if name == "" || e.InvolvedObject.Name == name {
			b.WriteString(e.Reason + ": " + e.Message + "\n")
		}
	}
	return b.String()
}

func (w *world) rest() {
	w.t.Helper()
	for row := range tables.Routes.Rows(w.Store.Snapshot(), "") {
		w.t.Errorf("row %s of routes is left", row.Key())
	}
	for row := range tables.Secrets.Rows(w.Store.Snapshot(), "default") {
		if strings.HasSuffix(row.Key().Name, ".acme") {
			w.t.Errorf("secret %s is left", row.Key())
		}
	}
}

// TestKeeper: who asks has a certificate of the server's, which is renewed when a third
// of its life is left, and made anew for other hosts.
func TestKeeper(t *testing.T) {
	run(t, func(w *world) {
		w.put("web", "web.example", "WWW.web.example")
		pair := w.pair("web-tls")
		if want := []string{"web.example", "www.web.example"}; !slices.Equal(pair.Leaf.DNSNames, want) {
			t.Errorf("the certificate is for %v", pair.Leaf.DNSNames)
		}
		if s := w.secret("web-tls"); s.Type != corev1.SecretTypeTLS || len(s.OwnerReferences) != 1 {
			t.Errorf("the secret is %+v", s)
		}
		if e := w.events("web"); !strings.Contains(e, "CertificateIssued: spec.tls[0]: secret web-tls") {
			t.Errorf("events: %s", e)
		}
		w.rest()
		time.Sleep(59 * 24 * time.Hour)
		synctest.Wait()
		if n := len(w.server.orders); n != 1 {
			t.Errorf("%d orders with more than a third of its life left", n)
		}
		time.Sleep(2 * 24 * time.Hour)
		synctest.Wait()
		if n := len(w.server.orders); n != 2 || w.pair("web-tls").Leaf.SerialNumber.Cmp(pair.Leaf.SerialNumber) == 0 {
			t.Errorf("%d orders with less than a third of its life left", n)
		}
		w.put("web", "new.example")
		if err := w.pair("web-tls").Leaf.VerifyHostname("new.example"); err != nil {
			t.Error(err)
		}
		if n := w.server.calls["account"]; n != 1 {
			t.Errorf("the account was opened %d times", n)
		}
		w.rest()
	})
}

// TestRefused: what no server is asked for is told of.
func TestRefused(t *testing.T) {
	run(t, func(w *world) {
		w.Update(func(tx *store.Tx) {
			for _, name := range []string{"theirs-tls", "beside-tls.acme"} {
				tables.Secrets.Put(tx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}})
			}
		})
		for name, want := range map[string][2]string{
			"wild": {"*.web.example", "name each host"}, "inner": {"web.default.svc", "inside of the cluster"}, "short": {"web", "no dot"},
			"theirs": {"a.example", "not the ingress' own"}, "beside": {"b.example", "secret beside-tls.acme is there"},
		} {
			w.put(name, want[0])
			if e := w.events(name); !strings.HasPrefix(e, "CertificateRefused: spec.tls[0]: ") || !strings.Contains(e, want[1]) {
				t.Errorf("%s: events: %s", name, e)
			}
		}
		if len(w.server.calls) != 0 || len(w.secret("theirs-tls").Data) != 0 {
			t.Errorf("the server was asked: %v", w.server.calls)
		}
	})
}

// TestFailure: a host that leads elsewhere is told of in the server's words, and tried
// again ever later; at once when the order's secret is deleted.
func TestFailure(t *testing.T) {
	run(t, func(w *world) {
		w.server.unproved["bad.example"] = true
		w.put("bad", "bad.example")
		if e := w.events("bad"); !strings.Contains(e, "CertificateFailed") || !strings.Contains(e, "bad.example") ||
			!strings.Contains(e, "it is somewhere else") || !strings.Contains(e, "in 2m0s") {
			t.Errorf("events: %s", e)
		}
		for _, c := range []struct {
			after  time.Duration
			orders int
		}{{2 * time.Minute, 2}, {time.Minute, 2}, {3 * time.Minute, 3}, {time.Hour, 6}, {24 * time.Hour, 11}} {
			time.Sleep(c.after)
			synctest.Wait()
			if n := len(w.server.orders); n != c.orders {
				t.Errorf("%v later: %d orders, want %d", c.after, n, c.orders)
			}
		}
		w.server.unproved["bad.example"] = false
		w.Update(func(tx *store.Tx) {
			tables.Secrets.Delete(tx, object.Key{Namespace: "default", Name: "bad-tls.acme"})
		})
		time.Sleep(time.Minute)
		w.pair("bad-tls")
		w.rest()
	})
}

// TestRateLimit: the server is left alone for as long as it wants.
func TestRateLimit(t *testing.T) {
	run(t, func(w *world) {
		w.server.limited = 24 * time.Hour
		w.put("web", "web.example")
		time.Sleep(23 * time.Hour)
		synctest.Wait()
		if n := w.server.calls["new"]; n != 1 {
			t.Errorf("%d orders within the limit", n)
		}
		w.server.limited = 0
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		w.pair("web-tls")
	})
}

// TestNewLeader: who leads next goes on with the order, and with its key.
func TestNewLeader(t *testing.T) {
	run(t, func(w *world) {
		w.server.finalize = make(chan struct{})
		w.put("web", "web.example")
		if w.server.calls["finalize"] != 1 || w.secret("web-tls") != nil {
			t.Fatalf("calls: %v", w.server.calls)
		}
		w.stop()
		w.server.finalize = nil
		w.start()
		time.Sleep(time.Minute)
		synctest.Wait()
		w.pair("web-tls")
		if len(w.server.orders) != 1 || len(w.server.keys) == 2 && w.server.keys[0] != w.server.keys[1] {
			t.Errorf("%d orders", len(w.server.orders))
		}
		w.rest()
	})
}

// TestNodesAnswer: the server is told to ask only when nodes answer; one that answers
// otherwise is waited for, and then is not what decides.
func TestNodesAnswer(t *testing.T) {
	run(t, func(w *world) {
		w.server.deaf["192.0.2.1"], w.server.deaf["192.0.2.2"] = true, true
		w.put("web", "web.example")
		if e := w.events("web"); w.server.calls["challenge"] != 0 || !strings.Contains(e, "no node answers on port 80") {
			t.Errorf("calls %v, events: %s", w.server.calls, e)
		}
		w.server.deaf["192.0.2.1"] = false
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		w.pair("web-tls")
		if n := len(w.server.orders); n != 1 {
			t.Errorf("%d orders: the first was good still", n)
		}
	})
}

// TestGone: nothing is left of an Ingress that went while its order was open.
func TestGone(t *testing.T) {
	run(t, func(w *world) {
		w.server.finalize = make(chan struct{})
		w.put("web", "web.example")
		w.stop()
		w.Update(func(tx *store.Tx) { tables.Ingresses.Delete(tx, object.Key{Namespace: "default", Name: "web"}) })
		if _, ok := tables.Routes.Row(w.Store.Snapshot(), route.ChallengesPart(object.Key{Namespace: "default", Name: "web"})); !ok {
			t.Error("the answers went before")
		}
		w.start()
		if n := tables.Routes.Len(w.Store.Snapshot()); n != 0 {
			t.Errorf("%d rows of routes are left", n)
		}
	})
}
