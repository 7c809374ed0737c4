package dataplane

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object/network"
)

// TestTenants: two networks of one subnet, which is also the services', on two
// machines; one has IPv6 too. Pods of a network reach each other, and nobody else.
func TestTenants(t *testing.T) {
	w := newWorld(t)
	a, b := w.node(1), w.node(2)
	a.apply(false, b.nodeObject())
	b.apply(false, a.nodeObject())
	red, blue := tenantNetwork("red", 8192), tenantNetwork("blue", 8193)
	red.Spec.Subnets = append(red.Spec.Subnets, network.Subnet{CIDR: "fd00:9::/64"})
	all := []metav1.Object{red, blue, tenantMembers(red, a, "r1", "10.96.0.2", "fd00:9::2"), tenantMembers(red, b, "r2", "10.96.0.3", "fd00:9::3"),
		tenantMembers(blue, a, "b1", "10.96.0.2"), tenantMembers(blue, b, "b2", "10.96.0.4")}
	a.apply(false, all...)
	b.apply(false, all...)
	r1, r2 := a.tenantPod("r1", 2, "red"), b.tenantPod("r2", 2, "red")
	b1, b2 := a.tenantPod("b1", 3, "blue"), b.tenantPod("b2", 3, "blue")
	serve(t, r1.ns, "10.96.0.2:8080", "r1")
	serve(t, r1.ns, "[fd00:9::2]:8080", "r1")
	serve(t, b1.ns, "10.96.0.2:8080", "b1")

	reached := func() {
		t.Helper()
		sees(t, r2.ns, "10.96.0.2:8080", "r1", netip.MustParseAddr("10.96.0.3"))
		sees(t, r2.ns, "[fd00:9::2]:8080", "r1", netip.MustParseAddr("fd00:9::3"))
		sees(t, b2.ns, "10.96.0.2:8080", "b1", netip.MustParseAddr("10.96.0.4"))
		sees(t, r2.ns, r1.addr.String()+":8080", "r1", r2.addr) // the cluster's network is as it was
	}
	reached()
	for _, addr := range []string{"10.96.0.4:8080", "10.96.0.9:8080"} { // another network's pod, and nobody's address
		if who, _, err := ask(t, r1.ns, "tcp4", addr); err == nil {
			t.Errorf("%s: %s answered", addr, who)
		}
	}

	a.stop() // another process takes over what the kernel has
	a.start()
	a.apply(true, append(all, a.nodeObject(), b.nodeObject(), r1.Pod, b1.Pod)...)
	reached()

	held, err := os.Open(filepath.Join(spacesDir(b.root), "8193")) // as a container does that sees the node's root
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	b.remove(blue, all[4], all[5]) // no pod of the network is left on the machine
	if entries, err := os.ReadDir(spacesDir(b.root)); err != nil || len(entries) != 1 {
		t.Errorf("networks left: %v, %v", entries, err)
	}
	sees(t, r2.ns, "10.96.0.2:8080", "r1", netip.MustParseAddr("10.96.0.3"))
	b.apply(false, blue, all[4], all[5]) // its number is free, whoever holds what was there
	b.remove(blue, all[4], all[5])
	for _, m := range []*machine{a, b} {
		m.stop()
		must(t, m.dp.Teardown(t.Context()))
		if _, err := os.Stat(spacesDir(m.root)); !os.IsNotExist(err) {
			t.Errorf("networks are left after teardown: %v", err)
		}
	}
}

// TestTenantsOut: pods on tenants' networks only reach the world by their network, under
// their node's address, unless it is internal; they reach neither the cluster's pods and
// services nor other networks, and of their node nothing but DNS. The node asks them.
func TestTenantsOut(t *testing.T) {
	w := newWorld(t)
	a, outside := w.node(1), w.host(3)
	serve(t, outside.ns, outside.ip.String()+":8080", "world")
	serve(t, a.ns, "0.0.0.0:9090", "node")
	p := a.pod("p", 5)
	red, blue, shut := tenantNetwork("red", 8192), tenantNetwork("blue", 8193), tenantNetwork("shut", 8194)
	shut.Spec.Internal = true
	all := []metav1.Object{red, blue, shut, tenantMembers(red, a, "r1", "10.96.0.2"), tenantMembers(blue, a, "b1", "10.96.0.2"),
		tenantMembers(shut, a, "s1", "10.96.0.2")}
	all = append(all, service("web", "10.100.0.1", corev1.ServiceTypeNodePort, tcp(80, 30080)), endpoints("web", p))
	a.apply(false, all...)
	only := func(name string, last int, on string) *testPod {
		return a.podWith(name, last, map[string]string{network.Annotation: on, network.OnlyAnnotation: "true"})
	}
	r1, b1, s1 := only("r1", 2, "red"), only("b1", 3, "blue"), only("s1", 4, "shut")
	serve(t, b1.ns, "10.96.0.2:8080", "b1")

	reached := func() {
		t.Helper()
		for _, pod := range []*testPod{r1, b1} {
			sees(t, pod.ns, outside.ip.String()+":8080", "world", a.ip)
			refuses(t, pod.ns, "tcp4", p.addr.String()+":8080")
			refuses(t, pod.ns, "tcp4", "10.100.0.1:80")
			expect(t, pod.ns, "tcp4", a.ip.String()+":30080", "p") // as whoever is outside
		}
		expect(t, a.ns, "tcp4", r1.addr.String()+":8080", "r1") // a probe
	}
	reached()
	for _, addr := range []string{outside.ip.String() + ":8080", p.addr.String() + ":8080", "10.100.0.1:80", a.ip.String() + ":9090"} {
		if who, _, err := ask(t, s1.ns, "tcp4", addr); err == nil {
			t.Errorf("a pod of an internal network reached %s: %s", addr, who)
		}
	}
	if who, _, err := ask(t, p.ns, "tcp4", r1.addr.String()+":8080"); err == nil {
		t.Errorf("the cluster's network leads to a pod that is not on it: %s", who)
	}
	refuses(t, r1.ns, "tcp4", a.dp.links.Gateway(r1.addr).String()+":9090") // its node, by eth0
	if _, _, err := ask(t, r1.ns, "tcp4", "10.96.0.10:53"); err != nil {
		t.Errorf("DNS is not reached where the network hides its address: %v", err)
	}

	a.stop() // another process takes over what the kernel has
	a.start()
	a.apply(true, append(all, a.nodeObject(), p.Pod, r1.Pod, b1.Pod, s1.Pod)...)
	reached()
	a.stop()
	must(t, a.dp.Teardown(t.Context()))
}

func tenantNetwork(name string, vni int32) *network.Network {
	return &network.Network{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name)},
		Spec:       network.Spec{Subnets: []network.Subnet{{CIDR: "10.96.0.0/24"}}},
		Status:     network.Status{VNI: vni},
	}
}

func tenantMembers(n *network.Network, m *machine, pod string, addresses ...string) *Members {
	return &Members{&discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default." + n.Name, Name: m.name},
		Endpoints:  []discoveryv1.Endpoint{{Addresses: addresses, TargetRef: &corev1.ObjectReference{Name: pod, UID: types.UID(pod + "-uid")}}},
	}}
}

// tenantPod makes a pod of the machine that is on a network too.
func (m *machine) tenantPod(name string, last int, on string) *testPod {
	return m.podWith(name, last, map[string]string{network.Annotation: on})
}
