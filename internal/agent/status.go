package agent

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/runtime"
)

// runtimeScheme is what container IDs begin with for the users of the API.
const runtimeScheme = "containerd://"

// The waiting reasons of a container whose turn has not come, in Kubernetes' words.
const (
	reasonCreating     = "ContainerCreating"
	reasonInitializing = "PodInitializing"
)

// nodeFacts are what a pod's status says of its node.
type nodeFacts struct{ ip string }

// statusOf returns the pod's status as it is known now. It is pure. Times of
// conditions move only when their status does: old is the last one reported.
func statusOf(p *corev1.Pod, o *observed, node nodeFacts, old *corev1.PodStatus, now time.Time) *corev1.PodStatus {
	if o.ended && !o.adoptedAny() {
		return old.DeepCopy() // the record of an earlier life
	}
	st := &corev1.PodStatus{
		HostIP: node.ip, HostIPs: []corev1.HostIP{{IP: node.ip}}, PodIP: p.Status.PodIP, PodIPs: p.Status.PodIPs,
		QOSClass: object.QOS(p), StartTime: &metav1.Time{Time: o.since}, ObservedGeneration: p.Generation,
	}
	for i := range p.Spec.InitContainers {
		st.InitContainerStatuses = append(st.InitContainerStatuses, containerStatus(p, o, o.containers[p.Spec.InitContainers[i].Name]))
	}
	for i := range p.Spec.Containers {
		st.ContainerStatuses = append(st.ContainerStatuses, containerStatus(p, o, o.containers[p.Spec.Containers[i].Name]))
	}
	for i := range p.Spec.EphemeralContainers {
		c := containerStatus(p, o, o.containers[p.Spec.EphemeralContainers[i].Name])
		c.Ready, c.Started = false, nil // nothing waits for them
		st.EphemeralContainerStatuses = append(st.EphemeralContainerStatuses, c)
	}
	st.Phase = phase(p, o)
	if old.Phase == corev1.PodSucceeded || old.Phase == corev1.PodFailed {
		st.Phase = old.Phase // an end is final
	}
	if o.failure != nil {
		st.Reason, st.Message = o.failure.reason, o.failure.message
	}
	st.Conditions = conditions(p, o, st, old, now)
	return st
}

// adoptedAny reports whether any container of the pod is known by itself.
func (o *observed) adoptedAny() bool {
	for _, c := range o.containers {
		if c.made {
			return true
		}
	}
	return false
}

func containerStatus(p *corev1.Pod, o *observed, c *containerState) corev1.ContainerStatus {
	st := corev1.ContainerStatus{Name: c.spec.Name, Image: c.spec.Image, ImageID: c.full.ImageID}
	no := false
	st.Started = &no
	if c.made {
		st.ContainerID, st.RestartCount = runtimeScheme+c.full.ID, int32(c.attempt)
	} else {
		st.RestartCount = int32(c.attempt)
	}
	if c.previous != nil {
		st.LastTerminationState.Terminated = c.previous
	}
	switch {
	case c.running():
		started := c.started && c.hooked
		st.Started = &started
		st.Ready = c.ready && c.hooked && (!c.init || c.sidecar())
		st.State.Running = &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(c.full.Started)}
	case c.exited() && (c.waitReason == "" || o.terminating != nil || !restarts(p, c) || finished(p, o)):
		st.State.Terminated = terminated(&c.full)
		st.Ready = c.init && !c.sidecar() && c.full.ExitCode == 0
	default:
		if c.exited() {
			st.LastTerminationState.Terminated = terminated(&c.full)
		}
		st.State.Waiting = &corev1.ContainerStateWaiting{Reason: c.waitReason, Message: c.waitMessage}
		if c.waitReason == "" {
			st.State.Waiting.Reason = reasonCreating
			if len(p.Spec.InitContainers) > 0 && !o.initialized {
				st.State.Waiting.Reason = reasonInitializing
			}
		}
	}
	return st
}

func terminated(c *runtime.Container) *corev1.ContainerStateTerminated {
	t := &corev1.ContainerStateTerminated{
		ExitCode: c.ExitCode, Reason: c.Reason, Message: c.Message, ContainerID: runtimeScheme + c.ID,
		StartedAt: metav1.NewTime(c.Started), FinishedAt: metav1.NewTime(c.Finished),
	}
	if c.Started.IsZero() {
		t.StartedAt = metav1.Time{}
	}
	if t.Reason == "" {
		t.Reason = "Completed"
		if c.ExitCode != 0 {
			t.Reason = "Error"
		}
	}
	return t
}

// phase follows Kubernetes, "Pod Lifecycle: pod phase".
func phase(p *corev1.Pod, o *observed) corev1.PodPhase {
	if o.failure != nil {
		if anyRunning(o) {
			return corev1.PodRunning
		}
		return corev1.PodFailed
	}
	if finished(p, o) || o.terminating != nil && !anyRunning(o) && o.adoptedAny() {
		return endPhase(p, o)
	}
	if !o.initialized {
		return corev1.PodPending
	}
	for i := range p.Spec.Containers {
		if c := o.containers[p.Spec.Containers[i].Name]; !c.made && !c.ran {
			return corev1.PodPending
		}
	}
	return corev1.PodRunning
}

func endPhase(p *corev1.Pod, o *observed) corev1.PodPhase {
	switch {
	case anyRunning(o) && o.initialized:
		return corev1.PodRunning // sidecars are being stopped
	case anyRunning(o):
		return corev1.PodPending
	case initFailed(p, o):
		return corev1.PodFailed
	}
	for i := range p.Spec.Containers {
		if c := o.containers[p.Spec.Containers[i].Name]; !c.exited() || c.full.ExitCode != 0 {
			return corev1.PodFailed
		}
	}
	return corev1.PodSucceeded
}

func anyRunning(o *observed) bool {
	for _, c := range o.containers {
		if c.running() {
			return true
		}
	}
	return false
}

func conditions(p *corev1.Pod, o *observed, st, old *corev1.PodStatus, now time.Time) []corev1.PodCondition {
	ended := st.Phase == corev1.PodSucceeded || st.Phase == corev1.PodFailed
	var unready, uninit []string
	for _, c := range st.InitContainerStatuses {
		spec := o.containers[c.Name]
		if !c.Ready && !(spec.sidecar() && c.Started != nil && *c.Started) {
			uninit = append(uninit, c.Name)
		}
		if spec.sidecar() && !c.Ready {
			unready = append(unready, c.Name)
		}
	}
	for _, c := range st.ContainerStatuses {
		if !c.Ready {
			unready = append(unready, c.Name)
		}
	}
	out := &corev1.Pod{Status: corev1.PodStatus{Conditions: append([]corev1.PodCondition(nil), old.Conditions...)}}
	set := func(t corev1.PodConditionType, ok bool, reason, message string) {
		c := corev1.PodCondition{Type: t, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now), ObservedGeneration: p.Generation}
		if !ok {
			c.Status, c.Reason, c.Message = corev1.ConditionFalse, reason, message
		}
		object.SetPodCondition(out, c)
	}
	set(corev1.PodReadyToStartContainers, o.sandbox.ready && !o.stopped, "", "")
	switch {
	case o.initialized && !(ended && st.Phase == corev1.PodFailed && len(uninit) > 0):
		reason := ""
		if st.Phase == corev1.PodSucceeded {
			reason = "PodCompleted"
		}
		set(corev1.PodInitialized, true, "", "")
		object.PodCondition(out, corev1.PodInitialized).Reason = reason
	default:
		set(corev1.PodInitialized, len(p.Spec.InitContainers) == 0, "ContainersNotInitialized", fmt.Sprintf("containers with incomplete status: %v", uninit))
	}
	reason, message := "ContainersNotReady", fmt.Sprintf("containers with unready status: %v", unready)
	switch st.Phase {
	case corev1.PodSucceeded:
		reason, message = "PodCompleted", ""
	case corev1.PodFailed:
		reason, message = "PodFailed", ""
	}
	ready := len(unready) == 0 && !ended && o.initialized
	set(corev1.ContainersReady, ready, reason, message)
	if gate := missingGate(p); ready && gate != "" {
		ready, reason, message = false, "ReadinessGatesNotReady", gate
	}
	set(corev1.PodReady, ready, reason, message)
	return out.Status.Conditions
}

// missingGate says which readiness gates are not true yet, empty if all are.
func missingGate(p *corev1.Pod) string {
	for _, g := range p.Spec.ReadinessGates {
		c := object.PodCondition(p, g.ConditionType)
		switch {
		case c == nil:
			return fmt.Sprintf("corresponding condition of pod readiness gate %q does not exist.", g.ConditionType)
		case c.Status != corev1.ConditionTrue:
			return fmt.Sprintf("the status of pod readiness gate %q is not \"True\", but %v", g.ConditionType, c.Status)
		}
	}
	return ""
}

// containerStatuses returns the statuses of all the pod's containers, by kind.
func containerStatuses(st *corev1.PodStatus) [][]corev1.ContainerStatus {
	return [][]corev1.ContainerStatus{st.InitContainerStatuses, st.ContainerStatuses, st.EphemeralContainerStatuses}
}
