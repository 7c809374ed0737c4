package allocate_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/allocate"
	"trireme/internal/kind"
	"trireme/internal/loop"
	"trireme/internal/loop/looptest"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

var config = allocate.Config{
	PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.128.0.0/10")}, ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/12")},
	NodePortMin: 30000, NodePortMax: 30010, Reserved: []int32{6443},
}

func TestScripts(t *testing.T) {
	looptest.Scripts(t, "testdata/*.txtar", append(tables.All(), tables.NetworkMembers.Any()), allocate.New(config).Loops)
}

func open(t *testing.T) *store.Store {
	t.Helper()
	n := 0
	s, err := store.Open(t.Context(), store.Config{Now: time.Now, NewID: func() types.UID { n++; return types.UID(fmt.Sprintf("%032d", n)) }}, tables.Defs()...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func service(name string, typ corev1.ServiceType, ports ...corev1.ServicePort) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.ServiceSpec{Type: typ, Ports: ports}}
}

func put(s *store.Store, svc *corev1.Service) error {
	_, err := s.Update(context.Background(), func(tx *store.Tx) error {
		old, _ := tables.Services.Get(tx, object.KeyOf(svc))
		if err := allocate.New(config).Service(tx, svc, old); err != nil {
			return err
		}
		tables.Services.Put(tx, svc)
		return nil
	})
	return err
}

func TestService(t *testing.T) {
	s := open(t)
	for _, c := range []struct {
		name string
		svc  *corev1.Service
		want string // part of the error
	}{
		{"address", service("a", corev1.ServiceTypeClusterIP, corev1.ServicePort{Port: 80}), ""},
		{"headless", func() *corev1.Service {
			s := service("h", corev1.ServiceTypeClusterIP)
			s.Spec.ClusterIP = "None"
			return s
		}(), ""},
		{"own address", func() *corev1.Service {
			s := service("b", corev1.ServiceTypeClusterIP)
			s.Spec.ClusterIP = "10.96.0.77"
			return s
		}(), ""},
		{"taken address", func() *corev1.Service {
			s := service("c", corev1.ServiceTypeClusterIP)
			s.Spec.ClusterIP = "10.96.0.77"
			return s
		}(), "provided IP is already allocated (to service default/b)"},
		{"foreign address", func() *corev1.Service {
			s := service("c", corev1.ServiceTypeClusterIP)
			s.Spec.ClusterIP = "10.1.0.1"
			return s
		}(), "not in the valid range"},
		{"node port", service("n", corev1.ServiceTypeNodePort, corev1.ServicePort{Port: 80, NodePort: 30005}), ""},
		{"taken node port", service("m", corev1.ServiceTypeNodePort, corev1.ServicePort{Port: 80, NodePort: 30005}), "spec.ports[0].nodePort"},
		{"wild node port", service("m", corev1.ServiceTypeNodePort, corev1.ServicePort{Port: 80, NodePort: 80}), "range of valid ports is 30000-30010"},
		{"mesh port", service("l", corev1.ServiceTypeLoadBalancer, corev1.ServicePort{Port: 8088, Protocol: corev1.ProtocolTCP}), ""},
		{"taken mesh port", service("k", corev1.ServiceTypeLoadBalancer, corev1.ServicePort{Port: 8088}), "taken by service default/l"},
		{"the other protocol", service("u", corev1.ServiceTypeLoadBalancer, corev1.ServicePort{Port: 8088, Protocol: corev1.ProtocolUDP}), ""},
		{"two addresses", func() *corev1.Service {
			s := service("c", corev1.ServiceTypeClusterIP)
			s.Spec.ClusterIPs = []string{"10.96.0.80", "10.96.0.81"}
			return s
		}(), "not configured for dual-stack"},
		{"the cluster's DNS", func() *corev1.Service {
			s := service("c", corev1.ServiceTypeClusterIP)
			s.Spec.ClusterIP = "10.96.0.10"
			return s
		}(), "kept for service kube-system/kube-dns"},
		{"the network's own address", func() *corev1.Service {
			s := service("c", corev1.ServiceTypeClusterIP)
			s.Spec.ClusterIP = "10.96.0.0"
			return s
		}(), "not in the valid range"},
		{"a mesh port that is a node port", service("k", corev1.ServiceTypeLoadBalancer, corev1.ServicePort{Port: 30005, Protocol: corev1.ProtocolTCP}), "a node port of service default/n"},
		{"one node port twice", service("m", corev1.ServiceTypeNodePort, corev1.ServicePort{Port: 80, NodePort: 30007}, corev1.ServicePort{Port: 81, NodePort: 30007}), "another port of this service"},
		{"the cluster's port", service("k", corev1.ServiceTypeLoadBalancer, corev1.ServicePort{Port: 6443}), "cluster's own"},
	} {
		err := put(s, c.svc)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (!kind.Is(err, kind.Invalid) || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func TestNodePortsRunOut(t *testing.T) {
	s := open(t)
	seen := map[int32]bool{}
	for i := range 11 {
		svc := service(fmt.Sprint("s", i), corev1.ServiceTypeNodePort, corev1.ServicePort{Port: 80})
		if err := put(s, svc); err != nil {
			t.Fatal(err)
		}
		if p := svc.Spec.Ports[0].NodePort; seen[p] {
			t.Fatalf("port %d was given out twice", p)
		} else {
			seen[p] = true
		}
	}
	if err := put(s, service("one-more", corev1.ServiceTypeNodePort, corev1.ServicePort{Port: 80})); !kind.Is(err, kind.Invalid) {
		t.Errorf("the twelfth service of eleven ports: %v", err)
	}
}

// TestPodAddresses fills a node, frees one address, and wants every address
// unique and the waiting pod served.
func TestPodAddresses(t *testing.T) {
	s := open(t)
	r := loop.New(s, loop.Config{}, allocate.New(config).Loops()...)
	tick := func() {
		t.Helper()
		for again := true; again; {
			var err error
			if again, _, err = r.Tick(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	const room = 253
	if _, err := s.Update(t.Context(), func(tx *store.Tx) error {
		tables.Nodes.Put(tx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "a"}})
		for i := range room + 1 {
			tables.Pods.Put(tx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("p%03d", i)}, Spec: corev1.PodSpec{NodeName: "a"}})
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	tick()
	addresses := func() map[string]string {
		got := map[string]string{}
		for p := range tables.Pods.All(s.Snapshot()) {
			if p.Status.PodIP == "" {
				continue
			}
			if by := got[p.Status.PodIP]; by != "" {
				t.Fatalf("%s and %s both have %s", by, p.Name, p.Status.PodIP)
			}
			got[p.Status.PodIP] = p.Name
		}
		return got
	}
	if n := len(addresses()); n != room {
		t.Fatalf("%d pods have addresses, want %d", n, room)
	}
	if _, err := s.Update(t.Context(), func(tx *store.Tx) error {
		tables.Pods.Delete(tx, object.Key{Namespace: "default", Name: "p007"})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	tick()
	if n := len(addresses()); n != room {
		t.Fatalf("after one was freed %d pods have addresses, want %d", n, room)
	}
}

// TestRecreatedPod: a pod that is replaced by another of its name between two
// steps gives its address back.
func TestRecreatedPod(t *testing.T) {
	s := open(t)
	r := loop.New(s, loop.Config{}, allocate.New(config).Loops()...)
	key := object.Key{Namespace: "default", Name: "web-0"}
	write := func(f func(tx *store.Tx)) {
		t.Helper()
		if _, err := s.Update(t.Context(), func(tx *store.Tx) error { f(tx); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	write(func(tx *store.Tx) { tables.Nodes.Put(tx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "a"}}) })
	for i := range 300 {
		write(func(tx *store.Tx) { tables.Pods.Delete(tx, key) })
		write(func(tx *store.Tx) {
			tables.Pods.Put(tx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}, Spec: corev1.PodSpec{NodeName: "a"}})
		})
		for again := true; again; {
			var err error
			if again, _, err = r.Tick(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if p, _ := tables.Pods.Get(s.Snapshot(), key); p.Status.PodIP == "" {
			t.Fatalf("after %d replacements the node's only pod gets no address", i+1)
		}
	}
}

// A load balancer that keeps to its nodes has a port on which they are asked for it.
func TestHealthPort(t *testing.T) {
	s := open(t)
	local := func(name string, health int32, port int32) *corev1.Service {
		svc := service(name, corev1.ServiceTypeLoadBalancer, corev1.ServicePort{Port: port})
		svc.Spec.ExternalTrafficPolicy, svc.Spec.HealthCheckNodePort = corev1.ServiceExternalTrafficPolicyLocal, health
		return svc
	}
	a := local("a", 0, 80)
	if err := put(s, a); err != nil || a.Spec.HealthCheckNodePort < 30000 || a.Spec.HealthCheckNodePort == a.Spec.Ports[0].NodePort {
		t.Fatalf("%v: health port %d beside node port %d", err, a.Spec.HealthCheckNodePort, a.Spec.Ports[0].NodePort)
	}
	again := local("a", 0, 80)
	again.Spec.Ports[0].NodePort = a.Spec.Ports[0].NodePort
	if err := put(s, again); err != nil || again.Spec.HealthCheckNodePort != a.Spec.HealthCheckNodePort {
		t.Errorf("%v: it became %d", err, again.Spec.HealthCheckNodePort)
	}
	for _, bad := range []*corev1.Service{local("b", a.Spec.HealthCheckNodePort, 81), local("b", a.Spec.Ports[0].NodePort, 81), local("b", 80, 81), local("a", 30009, 80)} {
		if err := put(s, bad); !kind.Is(err, kind.Invalid) {
			t.Errorf("%s with health port %d: %v", bad.Name, bad.Spec.HealthCheckNodePort, err)
		}
	}
	cluster := service("c", corev1.ServiceTypeLoadBalancer, corev1.ServicePort{Port: 82})
	if err := put(s, cluster); err != nil || cluster.Spec.HealthCheckNodePort != 0 {
		t.Errorf("%v: a service of the whole cluster has health port %d", err, cluster.Spec.HealthCheckNodePort)
	}
}
