package object

import corev1 "k8s.io/api/core/v1"

// HostPort is a port that a container binds on its node; an empty Address is all of
// the node's.
type HostPort struct {
	Protocol corev1.Protocol
	Address  string
	Port     int32
}

// Clashes reports whether only one of the two can be bound.
func (p HostPort) Clashes(q HostPort) bool {
	return p.Port == q.Port && p.Protocol == q.Protocol && (p.Address == q.Address || p.Address == "" || q.Address == "")
}

// HostPorts returns what the pod binds on its node, in the order of its containers.
func HostPorts(p *corev1.Pod) (ports []HostPort) {
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			for _, cp := range list[i].Ports {
				if cp.HostPort == 0 {
					continue
				}
				address := cp.HostIP
				if address == "0.0.0.0" || address == "::" {
					address = ""
				}
				ports = append(ports, HostPort{cp.Protocol, address, cp.HostPort})
			}
		}
	}
	return ports
}
