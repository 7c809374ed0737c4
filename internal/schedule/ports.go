package schedule

import (
	"hash/fnv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// filterDynamicPorts wants as many ports as the pod leaves to be chosen (object, DynamicPort).
func filterDynamicPorts(c *class, n *node) []string {
	if len(c.dynamic) == 0 {
		return nil
	}
	free := object.DynamicPortMax - object.DynamicPortMin + 1
	for p := range n.Ports {
		if p.Port >= object.DynamicPortMin && p.Port <= object.DynamicPortMax {
			free--
		}
	}
	if int(free) < len(c.dynamic) {
		return []string{"node(s) didn't have free ports for the requested pod ports"}
	}
	return nil
}

// noPorts is why a pod has no node that fits otherwise.
const noPorts = "no node has as many free ports as the pod leaves to be chosen"

// choosePorts returns a number for each of the ports that the pod leaves to be chosen, and
// false where the node has no more. It begins somewhere else for every pod, so that a
// port that a pod has left is not another's at once.
func choosePorts(r store.Reader, n *node, uid types.UID, asked []object.DynamicPort) ([]int32, bool) {
	h := fnv.New32a()
	h.Write([]byte(uid))
	span := object.DynamicPortMax - object.DynamicPortMin + 1
	at, left := int32(h.Sum32()%uint32(span)), span
	numbers := make([]int32, 0, len(asked))
	for _, port := range asked {
		for ; left > 0; left-- {
			number := object.DynamicPortMin + at
			at = (at + 1) % span
			if n.takes(r, number, port.Protocols) {
				numbers = append(numbers, number)
				left--
				break
			}
		}
	}
	return numbers, len(numbers) == len(asked)
}

// takes reports whether the port is neither a pod's nor a service's on every node.
func (n *node) takes(r store.Reader, number int32, protocols []corev1.Protocol) bool {
	for _, protocol := range protocols {
		if n.Bound(object.HostPort{Protocol: protocol, Port: number}) {
			return false
		}
		for _, index := range []string{tables.ServicesByNodePort, tables.ServicesByMesh} {
			for range tables.Services.By(r, index, tables.PortKey(number, protocol)) {
				return false
			}
		}
	}
	return true
}
