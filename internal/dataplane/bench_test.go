package dataplane

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object/peers"
)

// many returns n services of ten endpoints each.
func many(n int) []metav1.Object {
	var all []metav1.Object
	for i := range n {
		name := fmt.Sprintf("s%d", i)
		s := endpoints(name)
		for j := range 10 {
			s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{address(i, j).String()}})
		}
		ip := netip.AddrFrom4([4]byte{10, 97, byte(i >> 8), byte(i)}).String()
		all = append(all, service(name, ip, corev1.ServiceTypeNodePort, tcp(80, int32(10000+i))), s)
	}
	return all
}

func address(i, j int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 128 + byte(j), byte(i >> 8), byte(i)})
}

// A full state of 2,000 services and 20,000 endpoints is one transaction.
func TestManyServices(t *testing.T) {
	m := newWorld(t).node(1)
	m.apply(true, append(many(2000), m.nodeObject())...)
	refuses(t, m.ns, "tcp4", "10.96.7.7:80") // the rules are in force
	m.apply(true, m.nodeObject())
	refuses(t, m.ns, "tcp4", "10.97.0.1:80")
}

// BenchmarkEndpointChange is the change of one endpoint among services of ten;
// its time must not grow with the number of services.
func BenchmarkEndpointChange(b *testing.B) {
	for _, n := range []int{10, 2000} {
		b.Run(fmt.Sprintf("services=%d", n), func(b *testing.B) {
			m := newWorld(b).node(1)
			all := many(n)
			m.apply(true, append(all, m.nodeObject())...)
			with := all[1].(*discoveryv1.EndpointSlice)
			without := with.DeepCopy()
			without.Endpoints = without.Endpoints[1:]
			for i := 0; b.Loop(); i++ {
				s := with
				if i%2 == 0 {
					s = without
				}
				if err := m.dp.Apply(context.Background(), false, []Change{{Object: s}}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkPodLink is the wiring of one pod, and its removal, through the plugin.
func BenchmarkPodLink(b *testing.B) {
	m := newWorld(b).node(1)
	p := m.pod("a", 2)
	for b.Loop() {
		if out, code := m.cni("DEL", p); code != 0 {
			b.Fatal(out)
		}
		if out, code := m.cni("ADD", p); code != 0 {
			b.Fatal(out)
		}
	}
}

// BenchmarkPeerChange is a pod that comes to the peers of policies, or goes; its time
// must not grow with how many peers there are.
func BenchmarkPeerChange(b *testing.B) {
	for _, n := range []int{100, 10000} {
		b.Run(fmt.Sprintf("peers=%d", n), func(b *testing.B) {
			m := newWorld(b).node(1)
			m.pod("a", 2)
			p := &networkingv1.NetworkPolicy{
				ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"},
				Spec: networkingv1.NetworkPolicySpec{Ingress: []networkingv1.NetworkPolicyIngressRule{{
					From: []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{}}},
				}}},
			}
			m.apply(false, p)
			read := peers.Read(p)
			for id := range read.Groups() {
				for node := range n / 100 {
					m.apply(false, somePeers(id, node, 100))
				}
				for i := 0; b.Loop(); i++ {
					m.apply(false, somePeers(id, 0, 100+i%2))
				}
			}
		})
	}
}

// somePeers returns n members of a group on one node.
func somePeers(id string, node, n int) *peers.Part {
	part := &peers.Part{ObjectMeta: metav1.ObjectMeta{Namespace: id, Name: fmt.Sprint("node-", node)}}
	for i := range n {
		part.Members = append(part.Members, peers.Member{Address: netip.AddrFrom4([4]byte{10, 130, byte(node), byte(i)})})
	}
	return part
}
