package dispatch_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/wire"
)

// TestCrowd: nodes that come back one after the other, from a manager that was cut off
// from all of them, are told nothing before the last one is there, or is given up;
// their pods are ready again before they say so.
func TestCrowd(t *testing.T) {
	const grace = 2 * time.Second
	m := newManager(t, grace)
	type member struct {
		name string
		cert tls.Certificate
		pool *x509.CertPool
		*agent
	}
	var nodes []*member
	for i := range 4 {
		n := &member{name: fmt.Sprint("n", i)}
		m.update(func(tx *store.Tx) { tables.Pods.Put(tx, pod("on-"+n.name, n.name)) })
		n.cert, n.pool = m.identity(n.name)
		nodes = append(nodes, n)
	}
	key := func(n *member) object.Key { return object.Key{Namespace: "default", Name: "on-" + n.name} }
	podReady := func(n *member, want bool) {
		t.Helper()
		m.await(fmt.Sprintf("the pod of %s ready: %t", n.name, want), func(s *store.Snapshot) bool {
			p, ok := tables.Pods.Get(s, key(n))
			return ok && object.PodReady(p) == want
		})
	}
	start := func(n *member) { n.agent = m.agentAs(n.cert, n.pool, n.name) }
	for _, n := range nodes {
		start(n)
		uid := n.drainUntil("pods default/on-" + n.name).Object.(*corev1.Pod).UID
		n.ReportPod(wire.PodReport{Key: key(n), UID: uid, Status: &corev1.PodStatus{
			Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
		}})
		podReady(n, true)
	}
	lose := func() {
		for _, n := range nodes {
			n.stop()
		}
		for _, n := range nodes {
			m.awaitReady(n.name, corev1.ConditionUnknown)
			podReady(n, false)
		}
	}

	lose()
	for i, n := range nodes {
		start(n)
		podReady(n, true)
		for _, back := range nodes[:i] {
			if len(back.got) > 0 {
				t.Fatalf("%s was told something before %s was back", back.name, n.name)
			}
		}
	}
	for _, n := range nodes {
		if full, _ := n.next(); !full {
			t.Errorf("%s was not told everything", n.name)
		}
	}

	lose()
	for _, n := range nodes[1:] { // the first one is lost for good
		start(n)
	}
	began := time.Now()
	if nodes[1].next(); time.Since(began) > grace {
		t.Errorf("a node waited %s for one that does not come", time.Since(began))
	}
}
