package dataplane

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	mdns "github.com/miekg/dns"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestCheck(t *testing.T) {
	needRoot(t)
	must(t, Check())
}

func TestServicesOfOneNode(t *testing.T) {
	m := newWorld(t).node(1)
	a, b, c := m.pod("a", 2), m.pod("b", 3), m.pod("c", 4)
	client := m.pod("client", 9)
	outside := m.world.host(200)

	// Pods reach each other as themselves, and the node reaches them.
	sees(t, a.ns, b.addr.String()+":8080", "b", a.addr)
	sees(t, m.ns, b.addr.String()+":8080", "b", netip.MustParseAddr("10.128.1.1"))

	svc := service("web", "10.96.1.1", corev1.ServiceTypeLoadBalancer, tcp(80, 30080), udp(80, 30081))
	m.apply(false, svc, endpoints("web", a, b, c))
	expect(t, client.ns, "tcp4", "10.96.1.1:80", "a", "b", "c")
	expect(t, client.ns, "udp4", "10.96.1.1:80", "a", "b", "c")
	expect(t, m.ns, "tcp4", "10.96.1.1:80", "a", "b", "c")
	for _, from := range []struct {
		name string
		addr string
		m    *machine
	}{
		{"node port", m.ip.String() + ":30080", m}, {"node port, outside", m.ip.String() + ":30080", outside},
		{"node port, loopback", "127.0.0.1:30080", m},
		{"mesh", m.ip.String() + ":80", m}, {"mesh, outside", m.ip.String() + ":80", outside}, {"mesh, loopback", "127.0.0.1:80", m},
	} {
		t.Log(from.name)
		expect(t, from.m.ns, "tcp4", from.addr, "a", "b", "c")
	}
	expect(t, m.ns, "udp4", "127.0.0.1:80", "a", "b", "c")
	expect(t, outside.ns, "udp4", m.ip.String()+":80", "a", "b", "c")
	expect(t, client.ns, "tcp4", m.ip.String()+":80", "a", "b", "c")

	// One left; then none.
	m.apply(false, endpoints("web", b))
	for range 20 {
		expect(t, client.ns, "tcp4", "10.96.1.1:80", "b")
	}
	sees(t, outside.ns, m.ip.String()+":80", "b", outside.ip) // the client's address survives
	m.apply(false, endpoints("web"))
	for _, addr := range []string{"10.96.1.1:80", m.ip.String() + ":80", m.ip.String() + ":30080"} {
		refuses(t, client.ns, "tcp4", addr)
		refuses(t, client.ns, "udp4", addr)
		refuses(t, m.ns, "tcp4", addr)
	}
	refuses(t, m.ns, "tcp4", "127.0.0.1:80")
	refuses(t, outside.ns, "tcp4", m.ip.String()+":80")
	refuses(t, client.ns, "tcp4", "10.96.7.7:80") // nobody's address

	m.apply(false, endpoints("web", a))
	expect(t, client.ns, "udp4", "10.96.1.1:80", "a")
	m.remove(svc)
	refuses(t, client.ns, "tcp4", "10.96.1.1:80")
}

func TestHairpin(t *testing.T) {
	m := newWorld(t).node(1)
	a := m.pod("a", 2)
	m.apply(false, service("web", "10.96.1.1", corev1.ServiceTypeLoadBalancer, tcp(80, 30080)), endpoints("web", a))
	gateway := netip.MustParseAddr("10.128.1.1")
	sees(t, a.ns, "10.96.1.1:80", "a", gateway)
	sees(t, a.ns, m.ip.String()+":80", "a", gateway)
	sees(t, m.ns, "127.0.0.1:80", "a", gateway)
}

func TestUDPFollowsTheEndpoint(t *testing.T) {
	m := newWorld(t).node(1)
	a, b, client := m.pod("a", 2), m.pod("b", 3), m.pod("client", 9)
	m.apply(false, service("web", "10.96.1.1", corev1.ServiceTypeClusterIP, udp(80, 0)), endpoints("web", a))
	var c net.Conn
	must(t, within(t, client.ns, func() (err error) {
		c, err = net.Dial("udp4", "10.96.1.1:80")
		return err
	}))
	defer c.Close()
	said := func() string { // from the same port
		_, err := c.Write([]byte("?"))
		must(t, err)
		buf := make([]byte, 100)
		n, err := c.Read(buf)
		must(t, err)
		return string(buf[:n])[:1]
	}
	if got := said(); got != "a" {
		t.Fatalf("%q answered first", got)
	}
	m.apply(false, endpoints("web", b))
	if got := said(); got != "b" {
		t.Fatalf("%q answered after the endpoint had changed", got)
	}
}

func TestAffinityAndHostPort(t *testing.T) {
	m := newWorld(t).node(1)
	a, b, c, client := m.pod("a", 2), m.pod("b", 3), m.pod("c", 4), m.pod("client", 9)
	svc := service("web", "10.96.1.1", corev1.ServiceTypeClusterIP, tcp(80, 0))
	svc.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	m.apply(false, svc, endpoints("web", a, b, c))
	first, _, err := ask(t, client.ns, "tcp4", "10.96.1.1:80")
	must(t, err)
	for range 20 {
		expect(t, client.ns, "tcp4", "10.96.1.1:80", first)
	}

	// It stays where it is while others come and go, on the mesh too, but not where
	// nobody is; what it is led to then is remembered as well.
	pods := map[string]*testPod{"a": a, "b": b, "c": c}
	stays := func(who string, with ...*testPod) {
		t.Helper()
		m.apply(false, endpoints("web", with...))
		expect(t, client.ns, "tcp4", "10.96.1.1:80", who)
	}
	stays(first, pods[first])
	stays(first, a, b, c)
	others := []*testPod{}
	for name, p := range pods {
		if name != first {
			others = append(others, p)
		}
	}
	for _, p := range others {
		stays(first, pods[first], p)
	}
	m.apply(false, endpoints("web", others[0]))
	expect(t, client.ns, "tcp4", "10.96.1.1:80", others[0].Name)
	for range 5 {
		stays(others[0].Name, a, b, c)
		stays(others[0].Name, others...)
	}
	mesh := svc.DeepCopy()
	mesh.Spec.Type = corev1.ServiceTypeLoadBalancer
	m.apply(false, mesh, endpoints("web", others[1]))
	expect(t, client.ns, "tcp4", m.ip.String()+":80", others[1].Name)
	m.apply(false, endpoints("web", a, b, c))
	expect(t, client.ns, "tcp4", m.ip.String()+":80", others[1].Name)
	mesh.Spec.Type = corev1.ServiceTypeClusterIP
	m.apply(false, mesh, endpoints("web", a, b, c))

	// After its time it is anybody's.
	brief := svc.DeepCopy()
	brief.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: ptr(int32(1))}}
	m.apply(false, brief)
	m.remembers(client.addr, true) // of the time before
	m.apply(false, brief, endpoints("web"))
	m.apply(false, endpoints("web", pods[first]))
	expect(t, client.ns, "tcp4", "10.96.1.1:80", first)
	m.remembers(client.addr, true)
	m.remembers(client.addr, false)

	withPort := a.Pod.DeepCopy()
	withPort.Spec.Containers = []corev1.Container{{Name: "x", Ports: []corev1.ContainerPort{{ContainerPort: 8080, HostPort: 9090}}}}
	m.apply(false, withPort)
	expect(t, m.ns, "tcp4", "127.0.0.1:9090", "a")
	expect(t, client.ns, "tcp4", m.ip.String()+":9090", "a")
	m.remove(withPort)
	refuses(t, m.ns, "tcp4", m.ip.String()+":9090")
}

// A load balancer answers the clients in its ranges and the node itself; its node port
// and its cluster address answer everybody.
func TestSourceRanges(t *testing.T) {
	t.Parallel() // it waits for silence
	w := newWorld(t)
	m, near, far := w.node(1), w.host(200), w.host(100)
	a, client := m.pod("a", 2), m.pod("client", 9)
	svc := service("web", "10.96.1.1", corev1.ServiceTypeLoadBalancer, tcp(80, 30080))
	svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "198.51.100.7"}}
	svc.Spec.LoadBalancerSourceRanges = []string{"192.168.77.128/25", " 10.128.1.8/31", "fd00::/8"}
	other := service("other", "10.96.1.2", corev1.ServiceTypeLoadBalancer, tcp(81, 30081))
	other.Spec.LoadBalancerSourceRanges = svc.Spec.LoadBalancerSourceRanges
	m.apply(false, svc, endpoints("web", a), other, endpoints("other", a))
	mesh := m.ip.String() + ":80"
	for _, from := range []netns.NsHandle{near.ns, client.ns, m.ns} {
		expect(t, from, "tcp4", mesh, "a")
	}
	expect(t, m.ns, "tcp4", "127.0.0.1:80", "a")
	expect(t, client.ns, "tcp4", "198.51.100.7:80", "a")
	silent(t, far.ns, "tcp4", mesh)
	silent(t, a.ns, "tcp4", mesh)
	silent(t, a.ns, "tcp4", "198.51.100.7:80")
	expect(t, far.ns, "tcp4", m.ip.String()+":30080", "a")
	expect(t, a.ns, "tcp4", "10.96.1.1:80", "a")

	m.apply(false, endpoints("web")) // nor is who may not call told that nobody answers
	silent(t, far.ns, "tcp4", mesh)
	refuses(t, near.ns, "tcp4", mesh)
	m.apply(false, endpoints("web", a))

	wider := svc.DeepCopy()
	wider.Spec.LoadBalancerSourceRanges = []string{"192.168.0.0/16"}
	m.apply(false, wider)
	expect(t, far.ns, "tcp4", mesh, "a")
	silent(t, client.ns, "tcp4", mesh)
	silent(t, far.ns, "tcp4", m.ip.String()+":81")
	everybody := svc.DeepCopy()
	everybody.Spec.LoadBalancerSourceRanges = nil
	m.apply(false, everybody)
	expect(t, client.ns, "tcp4", mesh, "a")
	m.remove(other)
	for name := range sets(t, m) {
		if strings.HasPrefix(name, "from-") && name != "from-vips" && name != "from-ports" {
			t.Errorf("set %s is left", name)
		}
	}
}

// remembers waits until the machine knows where a client of cluster addresses was led,
// or does not.
func (m *machine) remembers(client netip.Addr, want bool) {
	m.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(5 * time.Second)
	for contains(sets(m.t, m)["vip-clients"], client.String()) != want {
		select {
		case <-tick.C:
		case <-deadline:
			m.t.Fatalf("client %s is remembered: %t, want %t", client, !want, want)
		}
	}
}

func TestTwoNodes(t *testing.T) {
	t.Parallel() // it waits for silence
	w := newWorld(t)
	one, two := w.node(1), w.node(2)
	one.apply(false, w.nodes[1])
	two.apply(false, w.nodes[0])
	a, b := one.pod("a", 2), two.pod("b", 2)
	outside := w.host(200)
	gateway1 := netip.MustParseAddr("10.128.1.1")

	sees(t, a.ns, b.addr.String()+":8080", "b", a.addr)
	sees(t, b.ns, a.addr.String()+":8080", "a", b.addr)
	sees(t, one.ns, b.addr.String()+":8080", "b", gateway1)

	svc := service("web", "10.96.1.1", corev1.ServiceTypeLoadBalancer, tcp(80, 30080))
	svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: one.ip.String()}, {IP: two.ip.String()}, {IP: "198.51.100.7"}}
	for _, m := range []*machine{one, two} {
		m.apply(false, svc, endpoints("web", b))
	}
	sees(t, a.ns, "10.96.1.1:80", "b", a.addr)
	sees(t, one.ns, "127.0.0.1:80", "b", gateway1)
	sees(t, outside.ns, one.ip.String()+":80", "b", gateway1)   // must come back by this node
	sees(t, outside.ns, two.ip.String()+":80", "b", outside.ip) // is where the pod is
	sees(t, a.ns, two.ip.String()+":80", "b", one.ip)
	sees(t, b.ns, two.ip.String()+":80", "b", netip.MustParseAddr("10.128.2.1"))
	sees(t, a.ns, "198.51.100.7:80", "b", a.addr)

	// A pod leaves the cluster as its node.
	serve(t, outside.ns, outside.ip.String()+":7000", "outside")
	sees(t, a.ns, outside.ip.String()+":7000", "outside", one.ip)

	// Of a service that keeps to its node, the other node drops.
	local := svc.DeepCopy()
	local.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	one.apply(false, local)
	two.apply(false, local)
	sees(t, outside.ns, two.ip.String()+":80", "b", outside.ip)
	if who, _, err := ask(t, outside.ns, "tcp4", one.ip.String()+":80"); !errors.Is(err, os.ErrDeadlineExceeded) && !isTimeout(err) {
		t.Fatalf("%q answered (%v), want silence", who, err)
	}

	// But pods and the node itself get there by any way.
	for _, from := range []netns.NsHandle{a.ns, one.ns} {
		for _, addr := range []string{one.ip.String() + ":80", one.ip.String() + ":30080", "198.51.100.7:80", "10.96.1.1:80"} {
			if from == one.ns && strings.HasPrefix(addr, "198.") {
				continue // the machine has no way to there
			}
			expect(t, from, "tcp4", addr, "b")
		}
	}
	expect(t, one.ns, "tcp4", "127.0.0.1:80", "b")
	sees(t, a.ns, "198.51.100.7:80", "b", a.addr)
	one.apply(false, endpoints("web", a, b))
	expect(t, a.ns, "tcp4", one.ip.String()+":80", "a", "b")
	sees(t, outside.ns, one.ip.String()+":80", "a", outside.ip)
	one.apply(false, endpoints("web"))
	refuses(t, a.ns, "tcp4", one.ip.String()+":80")

	// A node goes: nothing leads to it.
	one.remove(w.nodes[1])
	if who, _, err := ask(t, a.ns, "tcp4", b.addr.String()+":8080"); err == nil {
		t.Fatalf("%s still answers over the overlay", who)
	}
	must(t, within(t, one.ns, func() error {
		if _, err := netlink.LinkByName("trireme0-vx"); err == nil {
			t.Error("the overlay link is still there, without peers")
		}
		return nil
	}))
}

func TestEndpointsOnTheHost(t *testing.T) {
	w := newWorld(t)
	one, two := w.node(1), w.node(2)
	one.apply(false, w.nodes[1])
	two.apply(false, w.nodes[0])
	a, outside := one.pod("a", 2), w.host(200)
	on := func(m *machine) *testPod {
		serve(t, m.ns, m.ip.String()+":8080", m.name)
		return &testPod{addr: m.ip, on: m}
	}
	h1, h2 := on(one), on(two)
	svc := service("api", "10.96.0.1", corev1.ServiceTypeLoadBalancer, tcp(443, 30443))
	gateway := netip.MustParseAddr("10.128.1.1")

	one.apply(false, svc, endpoints("api", h1))
	sees(t, a.ns, "10.96.0.1:443", one.name, a.addr)
	sees(t, one.ns, "10.96.0.1:443", one.name, gateway)
	sees(t, one.ns, "127.0.0.1:443", one.name, netip.MustParseAddr("127.0.0.1"))
	sees(t, outside.ns, one.ip.String()+":443", one.name, outside.ip)

	one.apply(false, endpoints("api", h2))
	sees(t, a.ns, "10.96.0.1:443", two.name, one.ip)
	sees(t, one.ns, "10.96.0.1:443", two.name, one.ip)
	sees(t, one.ns, "127.0.0.1:443", two.name, one.ip)
	sees(t, outside.ns, one.ip.String()+":443", two.name, one.ip)
}

// What listens on 127.0.0.1 of a node stays out of its neighbours' reach, though
// route_localnet is on.
func TestLoopbackIsGuarded(t *testing.T) {
	t.Parallel() // it waits for silence
	w := newWorld(t)
	m, neighbour := w.node(1), w.host(200)
	serve(t, m.ns, "127.0.0.1:7000", "secret")
	must(t, within(t, neighbour.ns, func() error {
		if err := os.WriteFile("/proc/sys/net/ipv4/conf/all/route_localnet", []byte("1"), 0o644); err != nil {
			return err
		}
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		addrs, err := netlink.AddrList(lo, netlink.FAMILY_V4)
		if err != nil {
			return err
		}
		for _, a := range addrs { // 127.0.0.1 is the victim's here
			if err := netlink.AddrDel(lo, &a); err != nil {
				return err
			}
		}
		eth, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		dst, _ := netlink.ParseIPNet("127.0.0.1/32")
		return netlink.RouteAdd(&netlink.Route{Dst: dst, Gw: m.ip.AsSlice(), LinkIndex: eth.Attrs().Index, Src: neighbour.ip.AsSlice()})
	}))
	if who, _, err := ask(t, neighbour.ns, "tcp4", "127.0.0.1:7000"); err == nil {
		t.Fatalf("%q answered a neighbour", who)
	} else if !isTimeout(err) {
		t.Fatalf("the attempt did not get out: %v", err)
	}
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

func TestRestartAdoptsAndPrunes(t *testing.T) {
	m := newWorld(t).node(1)
	a, b, client := m.pod("a", 2), m.pod("b", 3), m.pod("client", 9)
	web := service("web", "10.96.1.1", corev1.ServiceTypeClusterIP, tcp(80, 0))
	old := service("old", "10.96.1.2", corev1.ServiceTypeClusterIP, tcp(80, 0))
	m.apply(false, web, endpoints("web", a, b), old, endpoints("old", a))
	expect(t, client.ns, "tcp4", "10.96.1.2:80", "a")
	m.stop()
	expect(t, client.ns, "tcp4", "10.96.1.1:80", "a", "b") // while nobody runs

	m.start()
	m.apply(true, m.nodeObject(), web, endpoints("web", a), a.Pod, client.Pod)
	expect(t, client.ns, "tcp4", "10.96.1.1:80", "a")
	refuses(t, client.ns, "tcp4", "10.96.1.2:80")
	if _, code := m.cni("CHECK", a); code != 0 {
		t.Error("CHECK of an adopted pod does not pass")
	}
	must(t, within(t, m.ns, func() error {
		if _, err := netlink.LinkByName(m.dp.links.Host(b.id)); err == nil {
			t.Error("the link of a pod that is not listed is still there")
		}
		return nil
	}))

	// Somebody flushes all rules: the next change brings them back.
	must(t, within(t, m.ns, func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		c.FlushRuleset()
		return c.Flush()
	}))
	m.apply(false, old, endpoints("old", a))
	expect(t, client.ns, "tcp4", "10.96.1.1:80", "a")
	expect(t, client.ns, "tcp4", "10.96.1.2:80", "a")
}

// TestOtherRanges: a cluster IP outside of the cluster's own range, a ServiceCIDR's, is
// reached from pods and from the node, and gone with its service, restarts included.
func TestOtherRanges(t *testing.T) {
	m := newWorld(t).node(1)
	a, client := m.pod("a", 2), m.pod("client", 9)
	more := service("more", "10.250.0.1", corev1.ServiceTypeClusterIP, tcp(80, 0))
	routes := func() (n int) {
		must(t, within(t, m.ns, func() error {
			_, dst, err := net.ParseCIDR("10.250.0.1/32")
			if err != nil {
				return err
			}
			all, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Dst: dst}, netlink.RT_FILTER_DST)
			n = len(all)
			return err
		}))
		return n
	}
	m.apply(false, more, endpoints("more", a))
	expect(t, client.ns, "tcp4", "10.250.0.1:80", "a")
	expect(t, m.ns, "tcp4", "10.250.0.1:80", "a")
	m.stop()
	m.start()
	m.apply(true, m.nodeObject(), more, endpoints("more", a), a.Pod, client.Pod)
	expect(t, m.ns, "tcp4", "10.250.0.1:80", "a")
	m.apply(true, m.nodeObject(), a.Pod, client.Pod)
	if n := routes(); n != 0 {
		t.Errorf("%d routes are left", n)
	}
}

func TestCNI(t *testing.T) {
	m := newWorld(t).node(1)
	a := m.pod("a", 2)
	for range 2 { // idempotent
		if out, code := m.cni("DEL", a); code != 0 || out != "" {
			t.Fatalf("DEL: %d %q", code, out)
		}
	}
	if out, code := m.cni("CHECK", a); code == 0 {
		t.Fatalf("CHECK of a pod without a link passes: %s", out)
	}
	// A sandbox that comes before its pod waits for it; a new one takes its
	// predecessor's address over.
	p := &testPod{ns: newNS(t), id: "early", on: m, addr: a.addr, Pod: a.Pod.DeepCopy()}
	p.UID = types.UID("another")
	answered := make(chan int)
	go func() {
		_, code := m.cni("ADD", p)
		answered <- code
	}()
	m.apply(false, p.Pod)
	if code := <-answered; code != 0 {
		t.Fatalf("ADD of a pod that came late: exit code %d", code)
	}
	serve(t, p.ns, p.addr.String()+":8080", "again")
	expect(t, m.ns, "tcp4", p.addr.String()+":8080", "again")
	for _, command := range []string{"CHECK", "STATUS", "VERSION"} {
		if out, code := m.cni(command, p); code != 0 {
			t.Errorf("%s: %s", command, out)
		}
	}
	if _, code := m.cni("GC", p); code != 0 { // nothing is valid
		t.Error("GC does not work")
	}
	if _, code := m.cni("CHECK", p); code == 0 {
		t.Error("GC left the link")
	}
}

// Many sandboxes at once, while services change.
func TestManyPodsAtOnce(t *testing.T) {
	m := newWorld(t).node(1)
	var pods []*testPod
	for i := range 30 {
		p := &testPod{ns: newNS(t), id: fmt.Sprint("sandbox-", i), on: m, addr: netip.AddrFrom4([4]byte{10, 128, 1, byte(10 + i)})}
		p.Pod = &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprint("p", i), UID: types.UID(p.id)},
			Spec:       corev1.PodSpec{NodeName: m.name}, Status: corev1.PodStatus{PodIP: p.addr.String()},
		}
		pods = append(pods, p)
	}
	var wired sync.WaitGroup
	for _, p := range pods {
		wired.Go(func() {
			if out, code := m.cni("ADD", p); code != 0 {
				t.Errorf("%s: %s", p.Name, out)
			}
		})
	}
	svc := service("web", "10.96.1.1", corev1.ServiceTypeClusterIP, tcp(80, 0))
	for i, p := range pods {
		m.apply(false, p.Pod, svc, endpoints("web", pods[:i+1]...))
	}
	wired.Wait()
	var names []string
	for _, p := range pods {
		serve(t, p.ns, p.addr.String()+":8080", p.Name)
		names = append(names, p.Name)
	}
	for range 50 {
		who, _, err := ask(t, m.ns, "tcp4", "10.96.1.1:80")
		if err != nil || !contains(names, who) {
			t.Fatalf("%q answered (%v)", who, err)
		}
	}
}

func TestDNSOverTheWire(t *testing.T) {
	m := newWorld(t).node(1)
	a := m.pod("a", 2)
	m.apply(false, service("web", "10.96.1.1", corev1.ServiceTypeClusterIP, tcp(80, 0)), endpoints("web", a))
	for _, network := range []string{"udp", "tcp"} {
		q := new(mdns.Msg).SetQuestion("web.default.svc.cluster.local.", mdns.TypeA)
		must(t, within(t, a.ns, func() error {
			r, _, err := (&mdns.Client{Net: network}).Exchange(q, "10.96.0.10:53")
			if err != nil {
				return err
			}
			if len(r.Answer) != 1 || r.Answer[0].(*mdns.A).A.String() != "10.96.1.1" {
				t.Errorf("%s: %v", network, r)
			}
			return nil
		}))
	}
}

func TestTeardownLeavesNothing(t *testing.T) {
	w := newWorld(t)
	m := w.host(1)
	state := func() (all []string) {
		must(t, within(t, m.ns, func() error {
			links, err := netlink.LinkList()
			must(t, err)
			for _, l := range links {
				all = append(all, "link "+l.Attrs().Name)
			}
			routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
			must(t, err)
			for _, r := range routes {
				all = append(all, "route "+r.String())
			}
			c, err := nftables.New()
			must(t, err)
			tables, err := c.ListTables()
			must(t, err)
			for _, tb := range tables {
				all = append(all, "table "+tb.Name)
			}
			b, err := os.ReadFile("/proc/sys/net/ipv4/conf/all/route_localnet")
			all = append(all, "route_localnet "+string(b))
			return err
		}))
		return all
	}
	before := state()
	w.join(m, 1)
	a := m.pod("a", 2)
	m.apply(false, &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "peer"}, Spec: corev1.NodeSpec{PodCIDR: "10.128.9.0/24"},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.168.77.9"}}},
	}, service("web", "10.96.1.1", corev1.ServiceTypeLoadBalancer, tcp(80, 30080)), endpoints("web", a))
	if got := state(); len(got) < len(before)+7 { // 3 links, 4 routes, 1 table
		t.Fatalf("the test sees too little: %q", got)
	}
	m.stop()
	for range 2 { // as another process would, and once more
		must(t, within(t, m.ns, func() error { return Teardown(t.Context(), m.root, "") }))
	}
	if diff := cmp.Diff(before, state()); diff != "" {
		t.Errorf("not as before (-before +after):\n%s", diff)
	}
	left, err := filepath.Glob(filepath.Join(m.root, "*"))
	must(t, err)
	if len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}
