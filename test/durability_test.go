package test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"trireme/test/cluster"
)

// rounds returns how often the manager is killed: TRIREME_KILL_ROUNDS, which
// make soak sets to 200.
func rounds(t *testing.T) int {
	n := 8
	if s := os.Getenv("TRIREME_KILL_ROUNDS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// TestKilledManager kills the whole process again and again while clients
// write: no acknowledged write may be lost, none doubled, a watch resumes
// without gap or repeat, and the containers go on throughout.
func TestKilledManager(t *testing.T) {
	h := ownMachines(t, 1)[0]
	if err := bringUp(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	k := &client{t: t, h: h, namespace: "default"}
	k.apply(webPods)
	k.must("rollout", "status", "deployment/web", "--timeout=60s")
	uid := podUID(k, k.must("get", "pods", "-o", "jsonpath={.items[0].metadata.name}"))
	before := pidsOf(t, uid, "web")

	l := newLedger(t, h)
	for round := range rounds(t) {
		l.load(t, time.Duration(rand.IntN(400))*time.Millisecond, func() {
			if err := h.Kill(); err != nil {
				t.Fatal(err)
			}
		})
		if err := h.Start(); err != nil {
			t.Fatal(err)
		}
		await(t, h, 60*time.Second, "the API answers again", func() error {
			_, err := l.cs.CoreV1().Namespaces().Get(t.Context(), "default", metav1.GetOptions{})
			return err
		})
		l.check(t, round)
	}
	if after := pidsOf(t, uid, "web"); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("the container was %v and is %v", before, after)
	}
	if err := h.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	t.Logf("%d acknowledged writes, %d events", len(l.acked), l.events)
}

// ledger is what was acknowledged, and what a watch has seen of it.
type ledger struct {
	cs *kubernetes.Clientset

	mu    sync.Mutex
	next  int
	acked map[string]string // name → resourceVersion of its creation

	resume string
	events int
	last   int64
	seen   map[string]bool
}

// clientset returns a client whose connections are made on the host.
func clientset(t *testing.T, h *cluster.Host) *kubernetes.Clientset {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", h.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	config.Dial, config.QPS, config.Burst = h.Dial, 10000, 10000
	config.Timeout = 10 * time.Second
	cs, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return cs
}

func newLedger(t *testing.T, h *cluster.Host) *ledger {
	t.Helper()
	cs := clientset(t, h)
	list, err := cs.CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return &ledger{cs: cs, acked: map[string]string{}, resume: list.ResourceVersion, seen: map[string]bool{}}
}

const writers = 8

// load writes from several clients, calls kill after a while, and returns when
// every writer has noticed.
func (l *ledger) load(t *testing.T, d time.Duration, kill func()) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for ctx.Err() == nil && l.write(ctx) == nil {
			}
		})
	}
	timer := time.NewTimer(d)
	<-timer.C
	kill()
	wg.Wait()
}

func (l *ledger) write(ctx context.Context) error {
	l.mu.Lock()
	name := fmt.Sprintf("w%06d", l.next)
	l.next++
	l.mu.Unlock()
	c, err := l.cs.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"v": name},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acked[name] = c.ResourceVersion
	return nil
}

// check lists what there is and lets the watch catch up.
func (l *ledger) check(t *testing.T, round int) {
	t.Helper()
	list, err := l.cs.CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]string{}
	for i := range list.Items {
		c := &list.Items[i]
		if !strings.HasPrefix(c.Name, "w") {
			continue
		}
		if c.Data["v"] != c.Name {
			t.Fatalf("round %d: %s holds %q", round, c.Name, c.Data["v"])
		}
		have[c.Name] = c.ResourceVersion
	}
	for name, rev := range l.acked {
		if have[name] != rev {
			t.Fatalf("round %d: %s was acknowledged at %s and is at %q", round, name, rev, have[name])
		}
	}
	l.catchUp(t, round, list.ResourceVersion, len(have))
}

// catchUp resumes the watch where it was cut, until it has come to revision to.
func (l *ledger) catchUp(t *testing.T, round int, to string, want int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	w, err := l.cs.CoreV1().ConfigMaps("default").Watch(ctx, metav1.ListOptions{ResourceVersion: l.resume})
	if err != nil {
		t.Fatalf("round %d: resuming at %s: %v", round, l.resume, err)
	}
	defer w.Stop()
	for len(l.seen) < want {
		select {
		case e := <-w.ResultChan():
			c, ok := e.Object.(*corev1.ConfigMap)
			if !ok {
				t.Fatalf("round %d: the watch resumed at %s says %v", round, l.resume, apierrors.FromObject(e.Object))
			}
			rev, err := strconv.ParseInt(c.ResourceVersion, 10, 64)
			if err != nil || rev <= l.last {
				t.Fatalf("round %d: event at %s after %d: %v", round, c.ResourceVersion, l.last, err)
			}
			l.last, l.resume = rev, c.ResourceVersion
			l.events++
			if strings.HasPrefix(c.Name, "w") {
				if l.seen[c.Name] {
					t.Fatalf("round %d: %s came twice", round, c.Name)
				}
				l.seen[c.Name] = true
			}
		case <-ctx.Done():
			t.Fatalf("round %d: the watch has seen %d of %d", round, len(l.seen), want)
		}
	}
	l.resume = to
}
