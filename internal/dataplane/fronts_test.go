package dataplane

import (
	"net"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object"
	"trireme/internal/object/network"
)

// TestFronts: an address of a service on a tenant's network leads to any of its ready pods
// there, on any port, over nodes, also a pod to itself; to nobody it refuses, and who was
// led to a pod that has gone is reset. A port that is open is reached by eth0, answers and
// all.
func TestFronts(t *testing.T) {
	w := newWorld(t)
	a, b, outside := w.node(1), w.node(2), w.host(3)
	a.apply(false, b.nodeObject())
	b.apply(false, a.nodeObject())
	red := tenantNetwork("red", 8192)
	red.Spec.Subnets = append(red.Spec.Subnets, network.Subnet{CIDR: "fd00:9::/64"})
	front := &Members{network.Front{
		Service: object.Key{Namespace: "default", Name: "web"}, Names: []string{"web"},
		Addresses: []netip.Addr{netip.MustParseAddr("10.96.0.9"), netip.MustParseAddr("fd00:9::9")},
	}.Row(object.KeyOf(red))}
	onA := tenantMembers(red, a, "r1", "10.96.0.2", "fd00:9::2")
	onA.Endpoints = append(onA.Endpoints, discoveryv1.Endpoint{Addresses: []string{"10.96.0.4", "fd00:9::4"}, TargetRef: &corev1.ObjectReference{Name: "r3", UID: "r3-uid"}})
	all := []metav1.Object{red, front, onA, tenantMembers(red, b, "r2", "10.96.0.3", "fd00:9::3")}
	for _, m := range []*machine{a, b} {
		m.apply(false, all...)
	}
	only := func(m *machine, name string, last int) *testPod {
		return m.podWith(name, last, map[string]string{network.Annotation: "red", network.OnlyAnnotation: "true", network.PortsAnnotation: "8080/tcp,8080/udp"})
	}
	r1, r2, r3 := only(a, "r1", 2), only(b, "r2", 2), only(a, "r3", 3)
	for addr, at := range map[string]*testPod{"10.96.0.2": r1, "10.96.0.3": r2, "fd00:9::2": r1, "fd00:9::3": r2} {
		for _, port := range []string{"7070", "9999"} {
			serve(t, at.ns, net.JoinHostPort(addr, port), at.Name)
		}
	}
	ready := func(pods ...*testPod) {
		t.Helper()
		s := endpoints("web", pods...)
		for i, p := range pods {
			s.Endpoints[i].TargetRef = &corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: p.Name, UID: types.UID(p.Name + "-uid")}
		}
		for _, m := range []*machine{a, b} {
			m.apply(false, s)
		}
	}
	web := service("web", "10.100.0.1", corev1.ServiceTypeNodePort, tcp(80, 30080), udp(81, 30081))
	a.apply(false, web)
	b.apply(false, web)
	refuses(t, r3.ns, "tcp4", "10.96.0.9:7070") // nobody is ready
	ready(r1, r2)
	for _, port := range []string{"7070", "9999"} {
		expect(t, r3.ns, "tcp4", "10.96.0.9:"+port, "r1", "r2")
		expect(t, r2.ns, "udp4", "10.96.0.9:"+port, "r1", "r2") // also itself
		expect(t, r1.ns, "tcp6", "[fd00:9::9]:"+port, "r1", "r2")
	}
	for _, at := range []netip.Addr{a.ip, b.ip} { // the mesh, by this node and another
		expect(t, outside.ns, "tcp4", at.String()+":30080", "r1", "r2")
		expect(t, outside.ns, "udp4", at.String()+":30081", "r1", "r2")
	}
	p := a.pod("p", 9)
	silent(t, p.ns, "tcp4", r1.addr.String()+":7070") // it is not open

	ready(r2) // the other is not healthy
	expect(t, r3.ns, "tcp4", "10.96.0.9:7070", "r2")
	var l net.Listener
	must(t, within(t, r2.ns, func() (err error) {
		l, err = net.Listen("tcp4", "10.96.0.3:6060")
		return err
	}))
	defer l.Close()
	var c net.Conn
	must(t, within(t, r3.ns, func() (err error) {
		c, err = net.DialTimeout("tcp4", "10.96.0.9:6060", time.Second)
		return err
	}))
	defer c.Close()
	ready()
	for _, m := range []*machine{a, b} {
		m.remove(all[3]) // and that one has gone
	}
	must(t, c.SetDeadline(time.Now().Add(5*time.Second)))
	_, err := c.Write([]byte("x"))
	if err == nil {
		_, err = c.Read(make([]byte, 1))
	}
	if err == nil || isTimeout(err) {
		t.Errorf("a connection to a pod that has gone: %v, want a reset", err)
	}
	for _, m := range []*machine{a, b} {
		m.stop()
		must(t, m.dp.Teardown(t.Context()))
	}
}
