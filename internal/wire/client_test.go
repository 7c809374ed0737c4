package wire

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object"
)

func newTestClient(t *testing.T, managers ...string) *Client {
	t.Helper()
	c, err := NewClient(ClientConfig{
		Managers: managers, TLS: func() *tls.Config { return &tls.Config{} },
		Node:   func() *corev1.Node { return &corev1.Node{} },
		Assign: func(context.Context, bool, []Item) error { return nil },
		Log:    slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func podItem(name, uid string) Item {
	key := object.Key{Namespace: "default", Name: name}
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(uid)}}
	return Item{Table: "pods", Key: key, Object: p}
}

func (c *Client) reportRunning(name, uid string) {
	c.ReportPod(PodReport{
		Key: object.Key{Namespace: "default", Name: name}, UID: types.UID(uid), Status: &corev1.PodStatus{Phase: corev1.PodRunning},
	})
}

// taken returns the UIDs of the pods in the next report.
func (c *Client) taken() map[string]bool {
	uids := map[string]bool{}
	if r, _ := c.takeReport(); r != nil {
		for _, p := range r.Pods {
			uids[p.Uid] = true
		}
	}
	return uids
}

// TestReports checks what is sent, what is sent again after a reconnect, and what
// is forgotten.
func TestReports(t *testing.T) {
	c := newTestClient(t, "m:1")
	c.reportRunning("a", "1")
	c.reportRunning("b", "2")
	c.reportRunning("c", "3")
	if got := c.taken(); len(got) != 0 {
		t.Errorf("before the full set: %v", got)
	}
	c.note(true, []Item{podItem("a", "1"), podItem("b", "2")})
	c.sync()
	if got := c.taken(); len(got) != 3 {
		t.Errorf("after the full set: %v, want all three", got)
	}
	if got := c.taken(); len(got) != 0 {
		t.Errorf("said twice in one session: %v", got)
	}
	c.sync()
	if got := c.taken(); len(got) != 2 || got["3"] {
		t.Errorf("after a reconnect: %v, want the two that are assigned", got)
	}
	replaced := podItem("a", "9")
	c.note(false, []Item{replaced, {Table: "pods", Key: podItem("b", "2").Key, Deleted: true}})
	c.sync()
	if got := c.taken(); len(got) != 0 || len(c.reports) != 0 {
		t.Errorf("after one was replaced and one deleted: %v", got)
	}
	c.reportRunning("a", "9")
	c.note(true, nil)
	c.sync()
	if got := c.taken(); len(got) != 0 {
		t.Errorf("after a full set without pods: %v", got)
	}
}

// TestReportsAreBounded checks the sizes of reports and of the queue of events.
func TestReportsAreBounded(t *testing.T) {
	c := newTestClient(t, "m:1")
	for i := range batchPodsMax + 1 {
		c.reportRunning(fmt.Sprint("p", i), fmt.Sprint(i))
	}
	for i := range eventsMax + 5 {
		c.ReportEvent(&corev1.Event{Reason: fmt.Sprint(i)})
	}
	c.sync()
	r, more := c.takeReport()
	if len(r.Pods) != batchPodsMax || !more || len(r.Events) != eventsMax {
		t.Fatalf("first report: %d pods, %d events, more: %t", len(r.Pods), len(r.Events), more)
	}
	first := &corev1.Event{}
	if err := first.Unmarshal(r.Events[0]); err != nil || first.Reason != "5" {
		t.Errorf("the oldest event left is %q (%v), want the sixth", first.Reason, err)
	}
	if r, more := c.takeReport(); len(r.Pods) != 1 || more {
		t.Errorf("second report: %d pods, more: %t", len(r.Pods), more)
	}
}

// TestRotation checks that a client goes on to the next manager, slower each time,
// and ends with its context. Nobody listens at the addresses.
func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines strings.Builder
		c := newTestClient(t, "bad address 1", "bad address 2")
		c.cfg.Log = slog.New(slog.NewTextHandler(&lines, nil))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := c.Run(ctx); err != context.DeadlineExceeded {
			t.Errorf("Run = %v", err)
		}
		log := lines.String()
		first, second := strings.Count(log, "manager=\"bad address 1\""), strings.Count(log, "manager=\"bad address 2\"")
		// 100 ms, doubled to 2 s, each less at most half of it: 34 to 67 tries.
		if first-second > 1 || second > first || first+second < 34 || first+second > 68 {
			t.Errorf("%d and %d tries:\n%s", first, second, log)
		}
	})
}

// TestJoinTrustsManagersOnly checks that a node of the cluster cannot pose as a
// manager, although its certificate comes from the pinned authority.
func TestJoinTrustsManagersOnly(t *testing.T) {
	pki, err := OpenPKI(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := pki.Issue(Leaf{Name: NodePrefix + "n1", Group: NodesGroup, Hosts: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	config := ServerTLS(cert, pki.Pool(), false)
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = conn.(*tls.Conn).Handshake() // the client breaks it off
			_ = conn.Close()
		}
	}()
	defer func() { _ = l.Close(); <-done }()
	_, _, err = Join(t.Context(), l.Addr().(*net.TCPAddr).String(), NewToken(pki.Digest(), false), "n2", nil)
	if err == nil || !strings.Contains(err.Error(), "is no manager") {
		t.Errorf("Join = %v, want a refusal", err)
	}
}

// TestToken checks that tokens survive their text and that others are refused.
func TestToken(t *testing.T) {
	token := NewToken(strings.Repeat("ab", 32), false)
	if got, err := ParseToken(" " + token.String() + "\n"); err != nil || got != token {
		t.Errorf("ParseToken = %v, %v", got, err)
	}
	for _, s := range []string{"", "TRIREME-1-", token.String()[1:], token.String() + "0", "TRIREME-1-ab-cd"} {
		if _, err := ParseToken(s); err == nil {
			t.Errorf("%q is taken for a token", s)
		}
	}
	if !token.Matches(token.Secret) || token.Matches(token.Secret[1:]) || token.Matches("") {
		t.Error("Matches takes the wrong secret")
	}
}
