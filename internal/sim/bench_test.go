package sim_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"runtime/metrics"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/dispatch"
	"trireme/internal/etcdlog"
	"trireme/internal/object"
	"trireme/internal/sim"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/wire"
)

var (
	benchNodes = flag.Int("nodes", 50, "hollow nodes of TestFleet")
	benchPods  = flag.Int("pods", 500, "pods of TestFleet")
	benchLog   = flag.Bool("etcd", false, "commit to a real log on disk in TestFleet")
)

// openStore returns a running store, on etcd in a temporary folder if asked.
func openStore(t *testing.T, disk bool) *store.Store {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cfg := store.Config{Now: time.Now, NewID: func() types.UID { return types.UID(uuid.NewString()) }}
	var done []chan error
	run := func(f func(context.Context) error) chan error {
		c := make(chan error, 1)
		go func() { c <- f(ctx) }()
		done = append(done, c)
		return c
	}
	t.Cleanup(func() {
		cancel()
		for _, c := range done {
			<-c
		}
	})
	if disk {
		log, err := etcdlog.New(etcdlog.Config{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		failed := run(log.Run)
		select {
		case <-log.Ready():
		case err := <-failed:
			t.Fatal(err)
		}
		cfg.Log = log.Leader()
	}
	s, err := store.Open(ctx, cfg, tables.Defs()...)
	if err != nil {
		t.Fatal(err)
	}
	if disk {
		run(s.Run)
	}
	return s
}

// startManager serves agents on a loopback port.
func startManager(t *testing.T, s *store.Store) (addr string, token wire.Token) {
	t.Helper()
	pki, err := wire.OpenPKI(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	token = wire.NewToken(pki.Digest(), false)
	cert, err := pki.Issue(wire.Leaf{Name: wire.ManagerName, Group: wire.MastersGroup, Hosts: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	d, err := dispatch.New(s, dispatch.Config{
		PKI: pki, Token: func() wire.Token { return token }, Certificate: cert, Grace: time.Minute, Heartbeat: 5 * time.Second, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx, l) }()
	t.Cleanup(func() { cancel(); <-done })
	return l.Addr().String(), token
}

func hollowPod(i, nodes int) *corev1.Pod {
	env := []corev1.EnvVar{{Name: "A", Value: "b"}, {Name: "C", Value: "d"}}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: fmt.Sprintf("p-%05d", i), Labels: map[string]string{"app": "web", "pod-template-hash": "abc"},
		},
		Spec: corev1.PodSpec{
			NodeName: fmt.Sprintf("hollow-%d", i%nodes), ServiceAccountName: "default", RestartPolicy: corev1.RestartPolicyAlways,
			Containers: []corev1.Container{{Name: "web", Image: "registry.example/web:1", Env: env}},
		},
		Status: corev1.PodStatus{
			Phase: corev1.PodPending, PodIP: "10.128.0.5", QOSClass: corev1.PodQOSBestEffort,
			Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}},
		},
	}
}

// TestFleet connects hollow nodes, binds pods to them in one transaction, waits
// until all are written as running, deletes them all and waits until none is left.
// Its figures are for `go test -v -run TestFleet ./internal/sim -nodes 1000 -pods 10000 -etcd`.
func TestFleet(t *testing.T) {
	s := openStore(t, *benchLog)
	addr, token := startManager(t, s)
	memory, goroutines := used()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	begin := time.Now()
	go func() {
		done <- sim.Run(ctx, sim.Config{Count: *benchNodes, Manager: addr, Token: token})
	}()
	defer func() { cancel(); <-done }()
	await(t, s, "all nodes", done, func(snap *store.Snapshot) bool { return tables.Nodes.Len(snap) == *benchNodes })
	t.Logf("%d nodes joined and known after %v", *benchNodes, time.Since(begin).Round(time.Millisecond))
	idle, idleGo := used()
	t.Logf("both sides of a session: %d KiB, %d goroutines a node", (idle-memory)/uint64(*benchNodes)/1024, (idleGo-goroutines) / *benchNodes)

	from, begin, cpu := s.Snapshot().Rev(), time.Now(), cpuTime()
	if _, err := s.Update(ctx, func(tx *store.Tx) error {
		for i := range *benchPods {
			tables.Pods.Put(tx, hollowPod(i, *benchNodes))
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	written := time.Since(begin)
	countPods(t, s, from, running)
	report(t, "running", time.Since(begin), written, cpuTime()-cpu)

	from, begin, cpu = s.Snapshot().Rev(), time.Now(), cpuTime()
	if _, err := s.Update(ctx, func(tx *store.Tx) error {
		for i := range *benchPods {
			key := object.Key{Namespace: "default", Name: fmt.Sprintf("p-%05d", i)}
			p, _ := tables.Pods.Get(tx, key)
			next := *p
			next.DeletionTimestamp = &metav1.Time{Time: tx.Now()}
			tables.Pods.Put(tx, &next)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	written = time.Since(begin)
	countPods(t, s, from, deleted)
	report(t, "gone", time.Since(begin), written, cpuTime()-cpu)
}

func report(t *testing.T, what string, all, written, cpu time.Duration) {
	t.Helper()
	t.Logf("%d pods %s: written after %v, done after %v: %.0f/s, %v of CPU", *benchPods, what,
		written.Round(time.Millisecond), all.Round(time.Millisecond), float64(*benchPods)/all.Seconds(), cpu.Round(time.Millisecond))
}

// countPods returns when n events of pods fulfil f.
func countPods(t *testing.T, s *store.Store, from store.Rev, f func(*store.Event) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	n := 0
	for e, err := range s.Events(ctx, from, tables.Pods) {
		if err != nil {
			t.Fatalf("after %d of %d pods: %v", n, *benchPods, err)
		}
		if f(e) {
			n++
		}
		if n == *benchPods {
			return
		}
	}
}

func running(e *store.Event) bool { return e.Head().(*tables.PodHead).Phase == corev1.PodRunning }

func deleted(e *store.Event) bool { return e.Type() == store.Deleted }

func await(t *testing.T, s *store.Store, what string, ended <-chan error, f func(*store.Snapshot) bool) {
	t.Helper()
	timeout := time.After(2 * time.Minute)
	for {
		snap := s.Snapshot()
		if f(snap) {
			return
		}
		select {
		case <-snap.Next():
		case err := <-ended:
			t.Fatalf("the fleet ended before %s: %v", what, err)
		case <-timeout:
			t.Fatalf("never came: %s", what)
		}
	}
}

// used returns the memory in use after a collection, stacks included.
func used() (bytes uint64, goroutines int) {
	runtime.GC()
	samples := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	metrics.Read(samples)
	return samples[0].Value.Uint64() + samples[1].Value.Uint64(), runtime.NumGoroutine()
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
