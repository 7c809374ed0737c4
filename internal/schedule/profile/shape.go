package profile

import (
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
	"trireme/internal/schedule/room"
	"trireme/internal/share"
)

// RoomWorth returns what the room is worth with a pod more by the resources that count, of 1 at most. One that the node does not have,
// or an extended one that the pod does not ask for, counts nothing (Kubernetes, NodeResourcesFit).
func (p *Profile) RoomWorth(n *room.Room, d object.Demand) float64 {
	sum, weights := 0.0, 0.0
	for i := range p.Resources {
		r := &p.Resources[i]
		asked, used, can := int64(1), n.Pods, n.CanPods
		if r.Name != corev1.ResourcePods {
			asked, used, can = share.Amount(d, r.Name), share.Amount(n.Used, r.Name), share.Amount(n.Can, r.Name)
		}
		if can <= 0 || asked <= 0 && !everywhere[r.Name] {
			continue
		}
		part := max(0, min(1, (float64(used)+float64(asked))/float64(can)))
		sum += float64(r.Weight * p.Worth(part))
		weights += r.Weight
	}
	if weights == 0 {
		return 0
	}
	return sum / weights
}

// everywhere are the resources that every node has some of.
var everywhere = map[corev1.ResourceName]bool{corev1.ResourceCPU: true, corev1.ResourceMemory: true, corev1.ResourceEphemeralStorage: true, corev1.ResourcePods: true}
