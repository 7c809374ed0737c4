package dataplane

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object/floating"
)

// float is a floating IP at a node.
func float(name, addr, node, kind, target string) *floating.IP {
	return &floating.IP{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       floating.IPSpec{Target: &floating.Target{Kind: kind, Name: target}},
		Status:     floating.IPStatus{Address: addr, Node: node},
	}
}

func (m *machine) lease(d time.Duration) {
	m.t.Helper()
	must(m.t, m.dp.Renew(d))
}

// stops waits until nobody answers for the address any more.
func stops(t testing.TB, client *machine, addr string) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		forgetNeighbours(t, client)
		if _, _, err := ask(t, client.ns, "tcp4", addr); err != nil && !strings.Contains(err.Error(), "refused") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s still answers", addr)
		}
	}
}

// forgetNeighbours makes the machine ask the wire who has which address.
func forgetNeighbours(t testing.TB, m *machine) {
	t.Helper()
	must(t, within(t, m.ns, func() error {
		all, err := netlink.NeighList(0, netlink.FAMILY_V4)
		if err != nil {
			return err
		}
		for _, n := range all {
			if n.State&(netlink.NUD_NOARP|netlink.NUD_PERMANENT) == 0 {
				_ = netlink.NeighDel(&n) // gone already is gone
			}
		}
		return nil
	}))
}

func listen(t testing.TB, m *machine, addr string) {
	t.Helper()
	var l net.Listener
	must(t, within(t, m.ns, func() (err error) { l, err = net.Listen("tcp4", addr); return err }))
	t.Cleanup(func() { l.Close() })
}

// pings fails unless the address answers an ICMP echo request (RFC 792).
func pings(t testing.TB, m *machine, addr string) {
	t.Helper()
	must(t, within(t, m.ns, func() error {
		c, err := net.Dial("ip4:icmp", addr)
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(dialMax)); err != nil {
			return err
		}
		if _, err := c.Write([]byte{8, 0, 0xf7, 0xff - 7, 0, 7, 0, 0}); err != nil {
			return err
		}
		_, err = c.Read(make([]byte, 100))
		return err
	}))
}

// A load balancer's address is answered for by one node, by another when it moves,
// and by none when that node is not told so any more.
func TestFloatingService(t *testing.T) {
	w := newWorld(t)
	a, b, client := w.node(1), w.node(2), w.host(9)
	for _, m := range []*machine{a, b} {
		m.apply(false, w.nodes[0], w.nodes[1])
		m.lease(30 * time.Second)
	}
	one, two := a.pod("one", 2), b.pod("two", 2)
	svc := service("web", "10.96.0.50", corev1.ServiceTypeLoadBalancer, tcp(80, 30080), udp(53, 30053))
	svc.Annotations = map[string]string{floating.PoolAnnotation: "public"}
	svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.168.77.200"}}
	for _, m := range []*machine{a, b} {
		m.apply(false, svc, endpoints("web", one, two))
	}
	listen(t, a, "0.0.0.0:22")
	ip := float("lb-web", "192.168.77.200", "node-1", floating.Service, "web")
	a.apply(false, ip)
	expect(t, client.ns, "tcp4", "192.168.77.200:80", "one", "two")
	expect(t, client.ns, "udp4", "192.168.77.200:53", "one", "two")
	expect(t, a.ns, "tcp4", "192.168.77.200:80", "one", "two")
	expect(t, b.ns, "tcp4", "192.168.77.200:80", "one", "two")
	expect(t, two.ns, "tcp4", "192.168.77.200:80", "one", "two")
	refuses(t, client.ns, "tcp4", "192.168.77.200:22")    // the node's own
	refuses(t, client.ns, "tcp4", "192.168.77.200:30080") // of every node, this is none
	refuses(t, client.ns, "tcp4", "192.168.77.1:80")      // no mesh
	expect(t, client.ns, "tcp4", "192.168.77.1:30080", "one", "two")
	pings(t, client, "192.168.77.200")

	// It moves: the client, which knows the old one's hardware address, hears of it.
	a.remove(ip)
	b.apply(false, float("lb-web", "192.168.77.200", "node-2", floating.Service, "web"))
	expect(t, client.ns, "tcp4", "192.168.77.200:80", "one", "two")

	// The agent starts anew, without a manager and then with one.
	b.stop()
	b.start()
	all := []metav1.Object{w.nodes[0], w.nodes[1], two.Pod, svc, endpoints("web", one, two), float("lb-web", "192.168.77.200", "node-2", floating.Service, "web")}
	b.apply(true, all...)
	expect(t, client.ns, "tcp4", "192.168.77.200:80", "one", "two")
	b.lease(time.Second)
	expect(t, client.ns, "tcp4", "192.168.77.200:80", "one", "two")
	stops(t, client, "192.168.77.200:80") // for nobody renews it
	b.lease(30 * time.Second)
	expect(t, client.ns, "tcp4", "192.168.77.200:80", "one", "two")
	b.apply(true, all[:len(all)-1]...)
	stops(t, client, "192.168.77.200:80")
}

// A pod has every port of its address, and leaves the cluster under it.
func TestFloatingPod(t *testing.T) {
	w := newWorld(t)
	a, b, client := w.node(1), w.node(2), w.host(9)
	for _, m := range []*machine{a, b} {
		m.apply(false, w.nodes[0], w.nodes[1])
		m.lease(30 * time.Second)
	}
	mail, other := a.pod("mail", 2), a.pod("other", 3)
	far := b.pod("far", 2)
	serve(t, client.ns, "192.168.77.9:99", "client")
	ip := float("mail", "192.168.77.201", "node-1", floating.Pod, "mail")
	addr := netip.MustParseAddr("192.168.77.201")
	sees(t, mail.ns, "192.168.77.9:99", "client", a.ip)
	a.apply(false, ip)
	sees(t, client.ns, "192.168.77.201:8080", "mail", client.ip)
	expect(t, client.ns, "udp4", "192.168.77.201:8080", "mail")
	refuses(t, client.ns, "tcp4", "192.168.77.201:81")
	pings(t, client, "192.168.77.201")
	sees(t, mail.ns, "192.168.77.9:99", "client", addr)
	sees(t, other.ns, "192.168.77.9:99", "client", a.ip)
	sees(t, mail.ns, far.addr.String()+":8080", "far", mail.addr) // inside it is itself
	for _, from := range []*testPod{mail, other, far} {
		expect(t, from.ns, "tcp4", "192.168.77.201:8080", "mail")
	}
	for _, m := range []*machine{a, b} {
		expect(t, m.ns, "tcp4", "192.168.77.201:8080", "mail")
	}

	// Its successor is on another node.
	a.remove(ip, mail.Pod)
	again := b.pod("mail", 3)
	b.apply(false, float("mail", "192.168.77.201", "node-2", floating.Pod, "mail"))
	sees(t, client.ns, "192.168.77.201:8080", "mail", client.ip)
	expect(t, client.ns, "udp4", "192.168.77.201:8080", "mail")
	sees(t, again.ns, "192.168.77.9:99", "client", addr)

	// A service has its ports of an address that is attached to it.
	svc := service("web", "10.96.0.50", corev1.ServiceTypeClusterIP, tcp(80, 0))
	b.apply(false, svc, endpoints("web", far), float("web", "192.168.77.202", "node-2", floating.Service, "web"))
	expect(t, client.ns, "tcp4", "192.168.77.202:80", "far")
	refuses(t, client.ns, "tcp4", "192.168.77.202:8080")
	b.remove(float("web", "192.168.77.202", "node-2", floating.Service, "web"))
	stops(t, client, "192.168.77.202:80")
}
