package dispatch_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/account"
	"trireme/internal/dispatch"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/wire"
)

// manager is a dispatcher on a loopback port over a store without a log.
type manager struct {
	t     testing.TB
	store *store.Store
	pki   *wire.PKI
	token wire.Token
	addr  string
	d     *dispatch.Dispatcher

	accounts *account.Issuer
}

func newManager(t testing.TB, grace time.Duration) *manager {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{
		Now: time.Now, NewID: func() types.UID { return types.UID(uuid.NewString()) },
	}, tables.Defs()...)
	if err != nil {
		t.Fatal(err)
	}
	m := &manager{t: t, store: s}
	if m.pki, err = wire.OpenPKI(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	m.token = wire.NewToken(m.pki.Digest(), false)
	cert, err := m.pki.Issue(wire.Leaf{Name: wire.ManagerName, Group: wire.MastersGroup, Hosts: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	key, err := m.pki.AccountKey()
	if err != nil {
		t.Fatal(err)
	}
	if m.accounts, err = account.NewIssuer(account.Config{Key: key, URL: "https://api"}); err != nil {
		t.Fatal(err)
	}
	m.d, err = dispatch.New(s, dispatch.Config{
		PKI: m.pki, Token: func() wire.Token { return m.token }, Certificate: cert, Accounts: m.accounts,
		Audience: func(node string, account object.Key, audience string) bool {
			return node == "n1" && account.Name == "robot" && audience == "granted"
		},
		Heartbeat: grace / 4, Grace: grace, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.d.Run(ctx, l) }()
	t.Cleanup(func() { cancel(); <-done })
	return m
}

func (m *manager) update(f func(*store.Tx)) {
	m.t.Helper()
	if _, err := m.store.Update(m.t.Context(), func(tx *store.Tx) error { f(tx); return nil }); err != nil {
		m.t.Fatal(err)
	}
}

// await returns when f holds of a snapshot.
func (m *manager) await(what string, f func(*store.Snapshot) bool) {
	m.t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		snap := m.store.Snapshot()
		if f(snap) {
			return
		}
		select {
		case <-snap.Next():
		case <-timeout:
			m.t.Fatalf("never came: %s", what)
		}
	}
}

func (m *manager) awaitReady(name string, want corev1.ConditionStatus) {
	m.t.Helper()
	m.await(fmt.Sprintf("node %s Ready=%s", name, want), func(s *store.Snapshot) bool {
		n, ok := tables.Nodes.Get(s, object.Key{Name: name})
		return ok && ready(n).Status == want
	})
}

func ready(n *corev1.Node) corev1.NodeCondition {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c
		}
	}
	return corev1.NodeCondition{}
}

// batch is one call of Assign.
type batch struct {
	full  bool
	items []wire.Item
}

// agent is a client whose assignments arrive on a channel.
type agent struct {
	*wire.Client
	t    testing.TB
	got  chan batch
	stop func()
}

func (m *manager) identity(name string) (tls.Certificate, *x509.CertPool) {
	m.t.Helper()
	cert, ca, err := wire.Join(m.t.Context(), m.addr, m.token, name, []string{name, "127.0.0.1"})
	if err != nil {
		m.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	return cert, pool
}

func (m *manager) agent(name string, wants ...string) *agent {
	m.t.Helper()
	cert, pool := m.identity(name)
	return m.agentAs(cert, pool, name, wants...)
}

func (m *manager) agentAs(cert tls.Certificate, pool *x509.CertPool, name string, wants ...string) *agent {
	m.t.Helper()
	a := &agent{t: m.t, got: make(chan batch, 100)}
	var err error
	a.Client, err = wire.NewClient(wire.ClientConfig{
		Managers: []string{m.addr}, TLS: func() *tls.Config { return wire.ClientTLS(cert, pool) },
		Node: func() *corev1.Node {
			return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"rack": "r1"}}}
		},
		Wants: wants, Log: slog.New(slog.DiscardHandler),
		Assign: func(_ context.Context, full bool, items []wire.Item) error {
			a.got <- batch{full, items}
			return nil
		},
	})
	if err != nil {
		m.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	stopped := false
	a.stop = func() {
		if !stopped {
			stopped = true
			cancel()
			<-done
		}
	}
	m.t.Cleanup(a.stop)
	return a
}

// next returns the next assignments as text, sorted by nothing: as they came.
func (a *agent) next() (full bool, items map[string]wire.Item) {
	a.t.Helper()
	select {
	case b := <-a.got:
		items = map[string]wire.Item{}
		for _, i := range b.items {
			items[i.Table+" "+i.Key.String()] = i
		}
		return b.full, items
	case <-time.After(20 * time.Second):
		a.t.Fatal("no assignments came")
		return false, nil
	}
}

func pod(name, node string, f ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "c", Image: "i"}}},
		Status:     corev1.PodStatus{Phase: corev1.PodPending, PodIP: "10.128.0.5", QOSClass: corev1.PodQOSBestEffort},
	}
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}}
	for _, f := range f {
		f(p)
	}
	return p
}

func withSecret(name string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
			Secret: &corev1.SecretVolumeSource{SecretName: name}}})
	}
}

func secret(name, value string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Data: map[string][]byte{"v": []byte(value)}}
}

var podKey = object.Key{Namespace: "default", Name: "a"}

// TestAssignments follows one pod and its secret from the full set through deltas
// to their going; another node's pods and secrets never come.
func TestAssignments(t *testing.T) {
	m := newManager(t, time.Minute)
	m.update(func(tx *store.Tx) {
		tables.Secrets.Put(tx, secret("s", "1"))
		tables.Secrets.Put(tx, secret("other", "1"))
		tables.Pods.Put(tx, pod("a", "n1", withSecret("s")))
		tables.Pods.Put(tx, pod("b", "n2", withSecret("other")))
	})
	a := m.agent("n1")
	full, items := a.next()
	for ; len(items) == 0; full, items = a.next() {
	}
	if !full || len(items) != 2 || items["pods default/a"].Object == nil || items["secrets default/s"].Object == nil {
		t.Fatalf("full set = %t %v", full, items)
	}
	if got := items["pods default/a"].Object.(*corev1.Pod); got.Status.PodIP != "10.128.0.5" || got.ResourceVersion == "" {
		t.Errorf("the pod came as %+v", got)
	}
	m.awaitReady("n1", corev1.ConditionTrue)
	m.update(func(tx *store.Tx) { tables.Secrets.Put(tx, secret("s", "2")) })
	for a.drainUntil("secrets default/s").Object.(*corev1.Secret).Data["v"][0] != '2' {
	}
	m.update(func(tx *store.Tx) { tables.Pods.Put(tx, pod("c", "n1", withSecret("late"))) })
	a.drainUntil("pods default/c")
	m.update(func(tx *store.Tx) { tables.Secrets.Put(tx, secret("late", "1")) })
	a.drainUntil("secrets default/late")
	m.update(func(tx *store.Tx) { tables.Pods.Delete(tx, podKey) })
	_, items = a.next()
	if !items["pods default/a"].Deleted || !items["secrets default/s"].Deleted || len(items) != 2 {
		t.Errorf("after the deletion came %v", items)
	}
}

// drainUntil returns the first item of the name that comes.
func (a *agent) drainUntil(name string) wire.Item {
	a.t.Helper()
	for {
		_, items := a.next()
		if i, ok := items[name]; ok {
			return i
		}
		for n := range items {
			if n == "secrets default/other" || n == "pods default/b" {
				a.t.Errorf("%s came to a node it does not concern", n)
			}
		}
	}
}

// TestStatus checks who owns what of a pod's status, and that an agent's own
// words do not come back to it.
func TestStatus(t *testing.T) {
	m := newManager(t, time.Minute)
	m.update(func(tx *store.Tx) { tables.Pods.Put(tx, pod("a", "n1")) })
	a := m.agent("n1")
	got := a.drainUntil("pods default/a").Object.(*corev1.Pod)
	a.ReportPod(wire.PodReport{Key: podKey, UID: got.UID, Status: &corev1.PodStatus{
		Phase: corev1.PodRunning, PodIP: "1.2.3.4",
		Conditions: []corev1.PodCondition{
			{Type: corev1.PodReady, Status: corev1.ConditionTrue}, {Type: corev1.PodScheduled, Status: corev1.ConditionFalse},
		},
	}})
	var p *corev1.Pod
	m.await("the pod running", func(s *store.Snapshot) bool {
		p, _ = tables.Pods.Get(s, podKey)
		return p.Status.Phase == corev1.PodRunning
	})
	scheduled := object.PodCondition(p, corev1.PodScheduled)
	if p.Status.PodIP != "10.128.0.5" || p.Status.QOSClass != corev1.PodQOSBestEffort || !object.PodReady(p) ||
		scheduled == nil || scheduled.Status != corev1.ConditionTrue {
		t.Errorf("status = %+v", p.Status)
	}
	// The next thing that comes is a change of another's.
	m.update(func(tx *store.Tx) {
		next := p.DeepCopy()
		next.Labels = map[string]string{"l": "1"}
		tables.Pods.Put(tx, next)
	})
	got = a.drainUntil("pods default/a").Object.(*corev1.Pod)
	for got.Status.Phase == corev1.PodPending { // its first state comes twice where the session begins while it is written
		got = a.drainUntil("pods default/a").Object.(*corev1.Pod)
	}
	if got.Labels["l"] != "1" {
		t.Errorf("the agent's own report came back: %+v", got.Status)
	}
	a.ReportPod(wire.PodReport{Key: podKey, UID: "another", Gone: true})
	m.update(func(tx *store.Tx) {
		next := p.DeepCopy()
		next.DeletionTimestamp = &metav1.Time{Time: time.Now()}
		tables.Pods.Put(tx, next)
	})
	a.drainUntil("pods default/a")
	a.ReportPod(wire.PodReport{Key: podKey, UID: got.UID, Gone: true})
	m.await("the pod's end", func(s *store.Snapshot) bool { return tables.Pods.Len(s) == 0 })
	if !a.drainUntil("pods default/a").Deleted {
		t.Error("the pod came back")
	}
}

// TestGoneUnasked checks that a pod that vanished is failed, not deleted.
func TestGoneUnasked(t *testing.T) {
	m := newManager(t, time.Minute)
	m.update(func(tx *store.Tx) { tables.Pods.Put(tx, pod("a", "n1")) })
	a := m.agent("n1")
	uid := a.drainUntil("pods default/a").Object.(*corev1.Pod).UID
	a.ReportPod(wire.PodReport{Key: podKey, UID: uid, Gone: true})
	m.await("the pod failed", func(s *store.Snapshot) bool {
		p, ok := tables.Pods.Get(s, podKey)
		return ok && p.Status.Phase == corev1.PodFailed
	})
}

// TestAway checks that a node without a session becomes Unknown with its pods not
// ready, and comes back with a new session and its known reports.
func TestAway(t *testing.T) {
	m := newManager(t, 400*time.Millisecond)
	m.update(func(tx *store.Tx) { tables.Pods.Put(tx, pod("a", "n1")) })
	cert, pool := m.identity("n1")
	a := m.agentAs(cert, pool, "n1")
	uid := a.drainUntil("pods default/a").Object.(*corev1.Pod).UID
	report := wire.PodReport{Key: podKey, UID: uid, Status: &corev1.PodStatus{
		Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
	}}
	a.ReportPod(report)
	podReady := func(want bool) func(*store.Snapshot) bool {
		return func(s *store.Snapshot) bool {
			p, ok := tables.Pods.Get(s, podKey)
			return ok && object.PodReady(p) == want
		}
	}
	m.await("the pod ready", podReady(true))
	a.stop()
	m.awaitReady("n1", corev1.ConditionUnknown)
	m.await("the pod not ready", podReady(false))
	a = m.agentAs(cert, pool, "n1")
	a.ReportPod(report)
	m.awaitReady("n1", corev1.ConditionTrue)
	m.await("the pod ready again", podReady(true))
}

// session opens a session by hand and returns why it was refused.
func (m *manager) session(cert tls.Certificate, pool *x509.CertPool, name string, wants ...string) error {
	return m.hold(cert, pool, name, nil, wants...)
}

// hold opens a session by hand, closes open when its first message has come, and
// returns why it ended.
func (m *manager) hold(cert tls.Certificate, pool *x509.CertPool, name string, open chan<- struct{}, wants ...string) error {
	conn, err := grpc.NewClient(m.addr, grpc.WithTransportCredentials(credentials.NewTLS(wire.ClientTLS(cert, pool))))
	if err != nil {
		return err
	}
	defer conn.Close()
	stream, err := wire.NewAgentsClient(conn).Session(m.t.Context())
	if err != nil {
		return err
	}
	node, err := (&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}).Marshal()
	if err != nil {
		return err
	}
	_ = stream.Send(&wire.Report{Hello: &wire.Hello{Node: node, Tables: wants}}) // Recv says what is wrong
	for {
		if _, err := stream.Recv(); err != nil {
			return err
		}
		if open != nil {
			close(open)
			open = nil
		}
	}
}

// TestIdentity checks who is let in: not without the secret, not with another
// authority's token, not as another node, not as an administrator.
func TestIdentity(t *testing.T) {
	m := newManager(t, time.Minute)
	if _, _, err := wire.Join(t.Context(), m.addr, wire.Token{Digest: m.token.Digest, Secret: "no"}, "n1", nil); err == nil {
		t.Error("joined without the secret")
	}
	other, err := wire.OpenPKI(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := wire.Join(t.Context(), m.addr, wire.Token{Digest: other.Digest(), Secret: m.token.Secret}, "n1", nil); err == nil {
		t.Error("joined a cluster that the token does not name")
	}
	cert, pool := m.identity("n1")
	admin, err := m.pki.Issue(wire.Leaf{Name: wire.AdminName, Group: wire.MastersGroup})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.session(cert, pool, "n2"); status.Code(err) != codes.InvalidArgument {
		t.Errorf("n1 opens a session as n2: %v", err)
	}
	if err := m.session(admin, pool, "n2"); status.Code(err) != codes.PermissionDenied {
		t.Errorf("an administrator opens a session as n2: %v", err)
	}
	a := m.agentAs(cert, pool, "n1")
	a.next()
	renewed, _, err := wire.Renew(t.Context(), m.addr, wire.ClientTLS(cert, pool), []string{"n1"})
	if err != nil || renewed.Leaf.Subject.CommonName != wire.NodePrefix+"n1" || renewed.Leaf.Equal(cert.Leaf) {
		t.Errorf("Renew = %v, %v", renewed.Leaf, err)
	}
	if _, _, err := wire.Join(t.Context(), m.addr, m.token, "n1", nil); err == nil {
		t.Error("took the name of a node that is connected")
	}
}

// TestEvents checks that equal events are one row.
func TestEvents(t *testing.T) {
	m := newManager(t, time.Minute)
	a := m.agent("n1")
	for range 3 {
		a.ReportEvent(&corev1.Event{
			InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "a", UID: "u"}, Reason: "Pulled", Message: "m",
		})
	}
	m.await("one event of three", func(s *store.Snapshot) bool {
		for e := range tables.Events.All(s) {
			if e.Count == 3 {
				return tables.Events.Len(s) == 1
			}
		}
		return false
	})
}
