package server

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"trireme/internal/kind"
)

// running is a manager without a node, in this process.
type running struct {
	*manager
	ended chan error
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// runManager runs a manager called name, which joins the one that is given, or begins a cluster.
func runManager(t *testing.T, name string, to *running) *running {
	t.Helper()
	cfg := Default()
	cfg.Root, cfg.Node, cfg.Address, cfg.Agent.Enabled = filepath.Join(t.TempDir(), "r"), name, "127.0.0.1", false
	m := &cfg.Manager
	m.UnsafeNoSync, m.DockerSocket, m.DockerListen, m.MesosListen, m.MarathonListen = true, noSocket, noSocket, noSocket, noSocket
	m.APIListen, m.AgentListen, m.PeerListen, m.RelayListen = "127.0.0.1:0", "127.0.0.1:0", freePort(t), "127.0.0.1:0"
	if to != nil {
		m.Join, m.Token = []string{to.agents.Addr().String()}, to.managerToken.Show()
	}
	if err := cfg.Complete(); err != nil {
		t.Fatal(err)
	}
	join, err := joinManagers(t.Context(), &cfg)
	if err != nil {
		t.Fatal(err)
	}
	one, err := newManager(cfg, join)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{manager: one, ended: make(chan error, 1)}
	go func() {
		r.ended <- one.Run(ctx)
		close(r.ended)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-r.ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("manager %s ended: %v", name, err)
		}
	})
	return r
}

// client returns a client of this manager's own kubeconfig.
func (r *running) client(t *testing.T) *kubernetes.Clientset {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", r.cfg.KubeconfigPath())
	if err != nil {
		t.Fatal(err)
	}
	cs, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return cs
}

// until does what may fail for a while.
func until(t *testing.T, what string, do func() error) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	late := time.NewTimer(20 * time.Second)
	defer late.Stop()
	for {
		err := do()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-late.C:
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// TestTwoManagers: a second manager joins and answers for the cluster; when the first, which leads,
// is taken out, the second leads, and a watch goes on from the revision that it had.
func TestTwoManagers(t *testing.T) {
	a := runManager(t, "a", nil)
	b := runManager(t, "b", a)
	ctx, maps := t.Context(), b.client(t).CoreV1().ConfigMaps("default")
	put := func(name string) error {
		_, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		return err
	}
	until(t, "writing at the second", func() error { return put("one") })
	list, err := maps.List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := put("two"); err != nil {
		t.Fatal(err)
	}
	until(t, "the second has a vote", func() error {
		raw, err := b.client(t).CoreV1().RESTClient().Get().AbsPath("/apis/trireme.dev/v1/managers/b").DoRaw(ctx)
		if err == nil && !strings.Contains(string(raw), `"state":"Follower"`) {
			err = kind.New(kind.NotFound, "%s", raw)
		}
		return err
	})
	began := time.Now()
	if err := b.client(t).CoreV1().RESTClient().Delete().AbsPath("/apis/trireme.dev/v1/managers/a").Do(ctx).Error(); err != nil {
		t.Fatal(err)
	}
	if err := <-a.ended; !kind.Is(err, kind.Gone) {
		t.Errorf("who was taken out ended: %v", err)
	}
	var w interface{ Stop() }
	until(t, "the second serves alone", func() error {
		events, err := maps.Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
		if err != nil {
			return err
		}
		w = events
		e := <-events.ResultChan()
		if c, ok := e.Object.(*corev1.ConfigMap); !ok || c.Name != "two" {
			t.Errorf("the watch went on with %+v", e)
		}
		return nil
	})
	w.Stop()
	t.Logf("the second served %s after the first was to be taken out", time.Since(began).Round(time.Millisecond))
}
