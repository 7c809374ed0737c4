package marathon

import (
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
)

// Service ports that nobody chose are given out of these, both included (Marathon,
// --local_port_min and --local_port_max).
const (
	ServicePortMin int32 = 10000
	ServicePortMax int32 = 20000
)

// Port is a port of an app's instances.
type Port struct {
	Name      string
	Protocols []corev1.Protocol
	Labels    map[string]string
	Service   int32 // the service port
	Container int32 // where a container with a network of its own listens; 0: at its host port
	// Host is its number on the node, where that is fixed; 0: it is chosen.
	Host   int32
	OnHost bool // it has one
}

// PortName returns the name that a pod's port has by its index.
func PortName(i int) string { return "port-" + strconv.Itoa(i) }

// Ports returns the ports of an instance in the order of their indexes.
func (d *Definition) Ports() (ports []Port) {
	if !d.Bridged() {
		for _, p := range d.PortDefinitions {
			one := Port{Name: or(p.Name, ""), Protocols: protocols(p.Protocol), Labels: p.Labels, Service: p.Port, OnHost: true}
			if or(d.RequirePorts, false) {
				one.Host = p.Port
			}
			ports = append(ports, one)
		}
		return ports
	}
	if d.Container == nil {
		return nil
	}
	for _, p := range d.Container.PortMappings {
		ports = append(ports, Port{
			Name: or(p.Name, ""), Protocols: protocols(p.Protocol), Labels: p.Labels, Service: p.ServicePort, Container: p.ContainerPort,
			Host: or(p.HostPort, 0), OnHost: p.HostPort != nil,
		})
	}
	return ports
}

func protocols(text string) (all []corev1.Protocol) {
	for p := range strings.SplitSeq(text, ",") {
		all = append(all, corev1.Protocol(strings.ToUpper(strings.TrimSpace(p))))
	}
	return all
}

// SetServicePort writes the service port of an index.
func (d *Definition) SetServicePort(i int, port int32) {
	if d.Bridged() {
		d.Container.PortMappings[i].ServicePort = port
		return
	}
	d.PortDefinitions[i].Port = port
}

// HostPorts returns the numbers on its node of an instance's ports, in the order of their
// indexes: of those that are on the node, once it has one.
func (d *Definition) HostPorts(pod *corev1.Pod) []int32 {
	out, dynamic := []int32{}, 0
	for _, p := range d.Ports() {
		switch {
		case !p.OnHost:
		case p.Host != 0:
			out = append(out, p.Host)
		default:
			n, err := strconv.ParseInt(pod.Annotations[object.PortAnnotation(dynamic)], 10, 32)
			dynamic++
			if err == nil {
				out = append(out, int32(n))
			}
		}
	}
	return out
}
