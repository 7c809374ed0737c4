package dispatch_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/object/route"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// The secrets of certificates go to the nodes that want routes, with the routes that
// name them, and to no other.
func TestSecretsFollowRoutes(t *testing.T) {
	m := newManager(t, time.Minute)
	serves, other := m.agent("n1", "routes"), m.agent("n2")
	serves.next()
	other.next()
	key := object.Key{Namespace: "default", Name: "ingress.web"}
	m.update(func(tx *store.Tx) {
		for _, name := range []string{"shown", "mine"} {
			tables.Secrets.Put(tx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}})
		}
		tables.Routes.Put(tx, &route.Part{
			ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}, Ports: []route.Port{{Port: 443, TLS: true}},
			Certificates: []route.Certificate{{Port: 443, Host: "web.example", Secret: object.Key{Namespace: "default", Name: "shown"}}},
		})
	})
	_, items := serves.next()
	p, _ := items["routes default/ingress.web"].Object.(*route.Part)
	if len(items) != 2 || p == nil || len(p.Certificates) != 1 || items["secrets default/shown"].Object == nil {
		t.Errorf("with a route came %v", items)
	}
	m.update(func(tx *store.Tx) { tables.Routes.Delete(tx, key) })
	for items = nil; !items["routes default/ingress.web"].Deleted; { // the secret may come once more before: it is new
		_, items = serves.next()
	}
	if len(items) != 2 || !items["secrets default/shown"].Deleted {
		t.Errorf("with its going came %v", items)
	}
	m.update(func(tx *store.Tx) { tables.Pods.Put(tx, pod("a", "n2")) }) // the first that n2 hears
	if _, items := other.next(); len(items) == 0 || items["pods default/a"].Object == nil || items["secrets default/shown"].Object != nil {
		t.Errorf("a node that answers for no ingress was sent %v", items)
	}
}
