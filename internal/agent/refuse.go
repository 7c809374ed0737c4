package agent

import (
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
)

// refusalLocked returns why a new pod cannot be on this node, nil where it can: one
// that was bound past the scheduler may want a port that another pod has. As at
// a kubelet the pod fails then, so that whoever made it makes another
// (Kubernetes, "Assigning Pods to Nodes: nodeName"). a.mu is held.
func (a *Agent) refusalLocked(pod *corev1.Pod) *failure {
	if pod.Status.StartTime != nil || len(a.found[pod.UID]) > 0 || pod.DeletionTimestamp != nil {
		return nil // it was let in before
	}
	wanted := object.HostPorts(pod)
	if len(wanted) == 0 {
		return nil
	}
	for _, w := range a.workers {
		for _, taken := range w.hostPorts() {
			for _, p := range wanted {
				if p.Clashes(taken) {
					return &failure{"NodePorts", "Pod was rejected: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"}
				}
			}
		}
	}
	return nil
}

// hostPorts returns what the worker's pod binds on the node, nothing once it has
// ended.
func (w *worker) hostPorts() []object.HostPort {
	w.shown.mu.Lock()
	defer w.shown.mu.Unlock()
	if object.PodEnded(&corev1.Pod{Status: *w.shown.status}) {
		return nil
	}
	return object.HostPorts(w.shown.pod)
}
