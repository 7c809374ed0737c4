package mesos

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/mesos/resource"
	mesosv1 "trireme/internal/mesos/v1"
)

// portsMax is how many ports a task may have: each is one of its Pod's.
const portsMax = 1024

// mapping is a port of the node that leads to one of a container.
type mapping struct {
	field     string
	host, own uint32
	protocol  string
}

// network gives the Pod its network: the node's, unless its ContainerInfo names another. There
// is one other, the pods', by whatever name. The ports that it binds on the
// node are noted in ports: they become its first container's.
func (b *builder) network(field string, in *mesosv1.ContainerInfo, resources []*mesosv1.Resource) error {
	b.onHost = true
	var maps []mapping
	if d := in.GetDocker(); d != nil {
		switch d.GetNetwork() {
		case mesosv1.ContainerInfo_DockerInfo_NONE:
			return fmt.Errorf("%s.docker.network: NONE cannot be had: choose BRIDGE and a NetworkPolicy that lets nothing through", field)
		case mesosv1.ContainerInfo_DockerInfo_BRIDGE, mesosv1.ContainerInfo_DockerInfo_USER:
			b.onHost = false
		}
		for i, m := range d.GetPortMappings() {
			maps = append(maps, mapping{fmt.Sprintf("%s.docker.port_mappings[%d]", field, i), m.GetHostPort(), m.GetContainerPort(), m.GetProtocol()})
		}
	}
	for i, n := range in.GetNetworkInfos() {
		at := fmt.Sprintf("%s.network_infos[%d]", field, i)
		if in.GetType() == mesosv1.ContainerInfo_MESOS {
			b.onHost = false
		}
		for _, a := range n.GetIpAddresses() {
			if a.GetIpAddress() != "" {
				return fmt.Errorf("%s.ip_addresses: %s cannot be asked for: addresses are given", at, a.GetIpAddress())
			}
		}
		for j, m := range n.GetPortMappings() {
			maps = append(maps, mapping{fmt.Sprintf("%s.port_mappings[%d]", at, j), m.GetHostPort(), m.GetContainerPort(), m.GetProtocol()})
		}
	}
	b.pod.Spec.HostNetwork = b.onHost
	b.pod.Spec.DNSPolicy = corev1.DNSClusterFirst
	if b.onHost {
		b.pod.Spec.DNSPolicy = corev1.DNSClusterFirstWithHostNet
	}
	list, err := resource.From("resources", resources)
	if err != nil {
		return err
	}
	return b.bind(list.Ports(), maps)
}

// bind notes which ports of the node the Pod has.
func (b *builder) bind(given []resource.Range, maps []mapping) error {
	if b.onHost {
		if len(maps) > 0 {
			return fmt.Errorf("%s: a container in its node's network has no ports of its own: choose another network", maps[0].field)
		}
		for _, r := range given {
			if r.End > 65535 {
				return fmt.Errorf("resources: ports: %d is no port", r.End)
			}
			if r.End-r.Begin >= portsMax || len(b.ports) >= portsMax {
				return fmt.Errorf("resources: ports: a task has at most %d", portsMax)
			}
			for n := r.Begin; n <= r.End; n++ {
				b.ports = append(b.ports, corev1.ContainerPort{HostPort: int32(n), ContainerPort: int32(n), Protocol: corev1.ProtocolTCP})
			}
		}
		return nil
	}
	for _, m := range maps {
		if !slices.ContainsFunc(given, func(r resource.Range) bool { return uint64(m.host) >= r.Begin && uint64(m.host) <= r.End }) {
			return fmt.Errorf("%s.host_port: %d is not among the task's ports", m.field, m.host)
		}
		if m.own == 0 || m.own > 65535 {
			return fmt.Errorf("%s.container_port: %d is no port", m.field, m.own)
		}
		p := corev1.ContainerPort{HostPort: int32(m.host), ContainerPort: int32(m.own), Protocol: corev1.Protocol(strings.ToUpper(m.protocol))}
		switch p.Protocol {
		case "":
			p.Protocol = corev1.ProtocolTCP
		case corev1.ProtocolTCP, corev1.ProtocolUDP:
		default:
			return fmt.Errorf("%s.protocol: %q is neither tcp nor udp", m.field, m.protocol)
		}
		b.ports = append(b.ports, p)
	}
	return nil
}
