package network

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// NamespacesAnnotation of a network names the namespaces beside its own whose pods and
// services may be on it, with commas between them; "*" is all. Who may change the network
// writes it.
const NamespacesAnnotation = "trireme.dev/namespaces"

// Open reports whether pods and services of the namespace may be on the network.
func (n *Network) Open(namespace string) bool {
	return namespace == n.Namespace || slices.ContainsFunc(n.Opened(), func(s string) bool { return s == namespace || s == "*" })
}

// Opened returns what the network's annotation names.
func (n *Network) Opened() (all []string) {
	for _, s := range strings.Split(n.Annotations[NamespacesAnnotation], ",") {
		if s = strings.TrimSpace(s); s != "" {
			all = append(all, s)
		}
	}
	return all
}

// NamesAnnotation of a pod has names that it is known by on its networks beside its own,
// with commas between them.
const NamesAnnotation = "trireme.dev/names"

// Names returns what the pod's annotation names, in lower case.
func Names(p *corev1.Pod) (all []string) {
	for _, s := range strings.Split(p.Annotations[NamesAnnotation], ",") {
		if s = strings.ToLower(strings.TrimSpace(s)); s != "" {
			all = append(all, s)
		}
	}
	return all
}

// PortsAnnotation of a pod that is on networks only names the ports of it that are
// reached by eth0 all the same, as published ones have to be: "80/tcp,53/udp".
const PortsAnnotation = "trireme.dev/open-ports"

// Port is a port of a pod.
type Port struct {
	Protocol corev1.Protocol
	Number   uint16
}

func (p Port) String() string {
	return strconv.Itoa(int(p.Number)) + "/" + strings.ToLower(string(p.Protocol))
}

// OpenPorts returns the ports that the pod's annotation names, and those that it has on its
// node. An error names the annotation and the remedy.
func OpenPorts(p *corev1.Pod) (all []Port, err error) {
	for _, c := range p.Spec.Containers {
		for _, port := range c.Ports {
			if port.HostPort != 0 {
				all = append(all, Port{port.Protocol, uint16(port.ContainerPort)})
			}
		}
	}
	text := p.Annotations[PortsAnnotation]
	if text == "" {
		return all, nil
	}
	for _, part := range strings.Split(text, ",") {
		number, protocol, _ := strings.Cut(strings.TrimSpace(part), "/")
		n, err := strconv.ParseUint(number, 10, 16)
		port := Port{corev1.Protocol(strings.ToUpper(protocol)), uint16(n)}
		known := port.Protocol == corev1.ProtocolTCP || port.Protocol == corev1.ProtocolUDP || port.Protocol == corev1.ProtocolSCTP
		if err != nil || n == 0 || !known {
			return nil, fmt.Errorf("annotation %s: %q is no port: write 80/tcp, 53/udp or 132/sctp", PortsAnnotation, part)
		}
		all = append(all, port)
	}
	return all, nil
}
