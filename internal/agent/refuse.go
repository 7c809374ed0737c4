package agent

import (
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/agent/machine"
	"trireme/internal/agent/pressure"
	"trireme/internal/object"
)

// refusalLocked returns why a new pod cannot be on this node, nil where it can: one
// that was bound past the scheduler may want a port that another pod has, or the node has run short since. As at
// a kubelet the pod fails then, so that whoever made it makes another
// (Kubernetes, "Assigning Pods to Nodes: nodeName"). a.mu is held.
func (a *Agent) refusalLocked(pod *corev1.Pod) *machine.Failure {
	if pod.Status.StartTime != nil || len(a.found[pod.UID]) > 0 || pod.DeletionTimestamp != nil {
		return nil // it was let in before
	}
	if why := pressure.Refuses(pod, a.pressure.Conditions()); why != "" {
		return &machine.Failure{Reason: reasonEvicted, Message: why}
	}
	if why := a.cfg.Sysctls.Refuses(pod); why != "" {
		return &machine.Failure{Reason: "SysctlForbidden", Message: why}
	}
	if changed, err := a.cpus.Take(pod); changed {
		a.repinSoon()
	} else if err != nil {
		return &machine.Failure{Reason: "UnexpectedAdmissionError", Message: "Allocate failed due to " + err.Error() + ", which is unexpected"}
	}
	wanted := object.HostPorts(pod)
	if len(wanted) == 0 {
		return nil
	}
	for _, w := range a.workers {
		for _, taken := range w.hostPorts() {
			for _, p := range wanted {
				if p.Clashes(taken) {
					return &machine.Failure{Reason: "NodePorts", Message: "Pod was rejected: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"}
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
