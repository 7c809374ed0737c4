package dataplane

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
)

// A client that enters at a node without a pod of the service is seen as itself, over
// TCP and UDP, and is answered through the node that it called.
func TestClientsAddressAcrossNodes(t *testing.T) {
	w := newWorld(t)
	one, two, three := w.node(1), w.node(2), w.node(3)
	b, c := two.pod("b", 2), three.pod("c", 2)
	outside := w.host(200)
	all := []*machine{one, two, three}
	nodes := []*corev1.Node{one.nodeObject(), two.nodeObject(), three.nodeObject()}
	svc := service("web", "10.96.1.1", corev1.ServiceTypeLoadBalancer, tcp(80, 30080), udp(80, 30081))
	svc.Annotations = map[string]string{object.KeepAnnotation: "true"}
	for _, m := range all {
		m.apply(false, nodes[0], nodes[1], nodes[2], svc, endpoints("web", b))
	}
	for range 3 {
		sees(t, outside.ns, one.ip.String()+":80", "b", outside.ip)
		sees(t, outside.ns, one.ip.String()+":30080", "b", outside.ip)
		sees(t, outside.ns, three.ip.String()+":80", "b", outside.ip)
	}
	expect(t, outside.ns, "udp4", one.ip.String()+":80", "b")
	// Pods and nodes are seen as they were; a node's own address would be refused as its own.
	sees(t, c.ns, "10.96.1.1:80", "b", c.addr)
	sees(t, two.ns, one.ip.String()+":80", "b", one.dp.links.Gateway(one.ip))
	sees(t, three.ns, one.ip.String()+":80", "b", one.dp.links.Gateway(one.ip))

	// Another node's pod; an agent that starts again.
	for _, m := range all {
		m.apply(false, endpoints("web", c))
	}
	sees(t, outside.ns, one.ip.String()+":80", "c", outside.ip)
	three.stop()
	three.start()
	three.apply(true, nodes[0], nodes[1], nodes[2], svc, endpoints("web", c), c.Pod)
	sees(t, outside.ns, two.ip.String()+":80", "c", outside.ip)

	// Taken back.
	plain := svc.DeepCopy()
	plain.Annotations = nil
	for _, m := range all {
		m.apply(false, plain)
	}
	sees(t, outside.ns, one.ip.String()+":80", "c", one.dp.links.Gateway(one.ip))
}
