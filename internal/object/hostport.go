package object

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
)

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

// DynamicPortsAnnotation is on pods that ask for ports of their node whose numbers do not
// matter: a list of DynamicPort in JSON. The scheduler chooses them when it gives the pod
// its node: it adds the ports to the containers, and says the number of each in the
// annotation PortAnnotation.
const DynamicPortsAnnotation = "ports.trireme.dev/dynamic"

// The numbers that are chosen for DynamicPorts, both included: those that Mesos' agents
// offer unless told otherwise.
const (
	DynamicPortMin int32 = 31000
	DynamicPortMax int32 = 32000
)

// DynamicPort is a port of which the scheduler chooses the number.
type DynamicPort struct {
	Container string `json:"container,omitempty"` // empty: the first
	Name      string `json:"name,omitempty"`
	// ContainerPort is where the container listens; 0: at the chosen number.
	ContainerPort int32             `json:"containerPort,omitempty"`
	Protocols     []corev1.Protocol `json:"protocols,omitempty"` // empty: TCP
	Address       string            `json:"address,omitempty"`   // of the node; empty: all
}

// PortAnnotation returns the annotation that holds the number chosen for a pod's dynamic
// port, by its place in the list.
func PortAnnotation(i int) string { return "ports.trireme.dev/" + strconv.Itoa(i) }

// DynamicPorts returns what the pod asks for; nothing where it asks for nothing that can
// be read.
func DynamicPorts(p *corev1.Pod) (ports []DynamicPort) {
	text := p.Annotations[DynamicPortsAnnotation]
	if text == "" || json.Unmarshal([]byte(text), &ports) != nil {
		return nil
	}
	for i := range ports {
		if len(ports[i].Protocols) == 0 {
			ports[i].Protocols = []corev1.Protocol{corev1.ProtocolTCP}
		}
	}
	return ports
}

// AssignPorts returns the pod with the numbers of its dynamic ports. It shares with the pod
// what is not changed.
func AssignPorts(p *corev1.Pod, asked []DynamicPort, numbers []int32) *corev1.Pod {
	next := *p
	next.Annotations = maps.Clone(p.Annotations)
	next.Spec.Containers = slices.Clone(p.Spec.Containers)
	for i, port := range asked {
		next.Annotations[PortAnnotation(i)] = strconv.Itoa(int(numbers[i]))
		at := slices.IndexFunc(next.Spec.Containers, func(c corev1.Container) bool { return port.Container == "" || c.Name == port.Container })
		if at < 0 {
			continue
		}
		c := &next.Spec.Containers[at]
		c.Ports = slices.Clone(c.Ports)
		for n, protocol := range port.Protocols {
			one := corev1.ContainerPort{ContainerPort: port.ContainerPort, HostPort: numbers[i], Protocol: protocol, HostIP: port.Address}
			if n == 0 {
				one.Name = port.Name
			}
			if one.ContainerPort == 0 || p.Spec.HostNetwork {
				one.ContainerPort = numbers[i]
			}
			c.Ports = append(c.Ports, one)
		}
	}
	return &next
}
