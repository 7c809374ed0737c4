package room

import (
	"hash/fnv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// NoPorts is why a pod has no node that fits otherwise.
const NoPorts = "no node has as many free ports as the pod leaves to be chosen"

// Choose returns a number for each of the ports that the pod leaves to be chosen, and
// false where the node has no more. It begins somewhere else for every pod, so that a
// port that a pod has left is not another's at once.
func (r *Room) Choose(s store.Reader, uid types.UID, asked []object.DynamicPort) ([]int32, bool) {
	h := fnv.New32a()
	h.Write([]byte(uid))
	span := object.DynamicPortMax - object.DynamicPortMin + 1
	at, left := int32(h.Sum32()%uint32(span)), span
	numbers := make([]int32, 0, len(asked))
	for _, port := range asked {
		for ; left > 0; left-- {
			number := object.DynamicPortMin + at
			at = (at + 1) % span
			if r.takes(s, number, port.Protocols) {
				numbers = append(numbers, number)
				left--
				break
			}
		}
	}
	return numbers, len(numbers) == len(asked)
}

// takes reports whether the port is neither a pod's nor a service's on every node.
func (r *Room) takes(s store.Reader, number int32, protocols []corev1.Protocol) bool {
	for _, protocol := range protocols {
		if r.Bound(object.HostPort{Protocol: protocol, Port: number}) {
			return false
		}
		for _, index := range []string{tables.ServicesByNodePort, tables.ServicesByMesh} {
			for range tables.Services.By(s, index, tables.PortKey(number, protocol)) {
				return false
			}
		}
	}
	return true
}
