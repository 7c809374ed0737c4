package bare

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/network"
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
	ours "trireme/internal/object/swarm"
)

// publish gives the pod the ports that are published on its node, with their number or
// one that is chosen there, and those that are only named.
func (c Container) publish(p *corev1.Pod) error {
	bindings, exposed, err := c.bindings()
	if err != nil {
		return err
	}
	spec := &p.Spec.Containers[0]
	var chosen []object.DynamicPort
	for _, port := range sorted(bindings) {
		for _, b := range bindings[port] {
			address := ""
			if b.HostIP.IsValid() && !b.HostIP.IsUnspecified() {
				address = b.HostIP.String()
			}
			if b.HostPort == "" || b.HostPort == "0" {
				if !p.Spec.HostNetwork { // there it is the node's, wherever it listens
					chosen = append(chosen, object.DynamicPort{ContainerPort: int32(port.Num()), Protocols: []corev1.Protocol{ours.Protocol(port.Proto())}, Address: address})
				}
				continue
			}
			n, err := strconv.ParseUint(b.HostPort, 10, 16)
			if err != nil || n == 0 {
				return fmt.Errorf("HostConfig.PortBindings[%s].HostPort: %q: give one port of the node, as with --publish 8080:%d, or none: one is chosen then", port, b.HostPort, port.Num())
			}
			spec.Ports = append(spec.Ports, corev1.ContainerPort{ContainerPort: int32(port.Num()), HostPort: int32(n), Protocol: ours.Protocol(port.Proto()), HostIP: address})
		}
	}
	for _, port := range exposed {
		if _, published := bindings[port]; !published && !p.Spec.HostNetwork {
			spec.Ports = append(spec.Ports, corev1.ContainerPort{ContainerPort: int32(port.Num()), Protocol: ours.Protocol(port.Proto())})
		}
	}
	if len(chosen) == 0 {
		return nil
	}
	text, err := json.Marshal(chosen)
	p.Annotations[object.DynamicPortsAnnotation] = string(text)
	return err
}

// bindings are the ports that are published, and those that are exposed: where all these
// are published, the image's too.
func (c Container) bindings() (network.PortMap, []network.Port, error) {
	bindings, exposed := network.PortMap{}, sorted(c.Config.ExposedPorts)
	maps.Copy(bindings, c.HostConfig.PortBindings)
	if !c.HostConfig.PublishAllPorts || c.HostConfig.NetworkMode.IsHost() {
		return bindings, exposed, nil
	}
	if c.Exposed != nil {
		all, err := c.Exposed(c.Config.Image)
		if err != nil {
			return nil, nil, err
		}
		for _, text := range all {
			port, err := network.ParsePort(text)
			if err != nil {
				return nil, nil, fmt.Errorf("HostConfig.PublishAllPorts: image %s exposes %q, which is no port: %w", c.Config.Image, text, err)
			}
			exposed = append(exposed, port)
		}
	}
	for _, port := range exposed {
		if len(bindings[port]) == 0 {
			bindings[port] = []network.PortBinding{{}}
		}
	}
	return bindings, exposed, nil
}

func sorted[V any](m map[network.Port]V) []network.Port {
	return slices.SortedFunc(maps.Keys(m), func(a, b network.Port) int { return strings.Compare(a.String(), b.String()) })
}
