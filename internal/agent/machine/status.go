package machine

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/runtime"
)

// RuntimeScheme is what container IDs begin with for the users of the API.
const RuntimeScheme = "containerd://"

// The waiting reasons of a container whose turn has not come, in Kubernetes' words.
const (
	ReasonCreating     = "ContainerCreating"
	ReasonInitializing = "PodInitializing"
)

// How a container ended that the runtime does not know any more, in Kubernetes' words.
const (
	exitUnknown         = 137
	reasonStatusUnknown = "ContainerStatusUnknown"
	messageNotLocated   = "The container could not be located when the pod was terminated"
)

// Node is what a pod's status says of its node.
type Node struct{ IPs []netip.Addr }

// Status returns the pod's status as it is known now. It is pure. Times of
// conditions move only when their status does: old is the last one reported.
func Status(p *corev1.Pod, o *Observed, node Node, old *corev1.PodStatus, now time.Time) *corev1.PodStatus {
	if o.Ended && !o.adoptedAny() {
		return old.DeepCopy() // the record of an earlier life
	}
	st := &corev1.PodStatus{
		HostIP: node.IPs[0].String(), HostIPs: hostIPs(node.IPs), PodIP: p.Status.PodIP, PodIPs: p.Status.PodIPs,
		QOSClass: object.QOS(p), StartTime: &metav1.Time{Time: o.Since}, ObservedGeneration: p.Generation,
	}
	for i := range p.Spec.InitContainers {
		st.InitContainerStatuses = append(st.InitContainerStatuses, containerStatus(p, o, o.Containers[p.Spec.InitContainers[i].Name]))
	}
	for i := range p.Spec.Containers {
		st.ContainerStatuses = append(st.ContainerStatuses, containerStatus(p, o, o.Containers[p.Spec.Containers[i].Name]))
	}
	for i := range p.Spec.EphemeralContainers {
		c := containerStatus(p, o, o.Containers[p.Spec.EphemeralContainers[i].Name])
		c.Ready, c.Started = false, nil // nothing waits for them
		st.EphemeralContainerStatuses = append(st.EphemeralContainerStatuses, c)
	}
	st.Phase = phase(p, o)
	if old.Phase == corev1.PodSucceeded || old.Phase == corev1.PodFailed {
		st.Phase = old.Phase // an end is final
	}
	switch {
	case o.Failure != nil:
		st.Reason, st.Message = o.Failure.Reason, o.Failure.Message
	case st.Phase == old.Phase && (st.Phase == corev1.PodFailed || st.Phase == corev1.PodSucceeded):
		st.Reason, st.Message = old.Reason, old.Message
	}
	st.Conditions = conditions(p, o, st, old, now)
	return st
}

// adoptedAny reports whether any container of the pod is known by itself.
func (o *Observed) adoptedAny() bool {
	for _, c := range o.Containers {
		if c.Made {
			return true
		}
	}
	return false
}

func containerStatus(p *corev1.Pod, o *Observed, c *Container) corev1.ContainerStatus {
	st := corev1.ContainerStatus{Name: c.Spec.Name, Image: c.Spec.Image, ImageID: c.Full.ImageID}
	no := false
	st.Started = &no
	if !c.Ephemeral {
		if len(c.Spec.Resources.Requests) > 0 {
			st.AllocatedResources = c.Spec.Resources.Requests
		}
		if c.Made {
			st.Resources = &corev1.ResourceRequirements{Requests: c.Limits.Requests, Limits: c.Limits.Limits}
		}
	}
	if c.Made {
		st.ContainerID, st.RestartCount = RuntimeScheme+c.Full.ID, int32(c.Attempt)
	} else {
		st.RestartCount = int32(c.Attempt)
	}
	if c.Previous != nil {
		st.LastTerminationState.Terminated = c.Previous
	}
	switch {
	case c.Running():
		started := c.Started && c.Hooked
		st.Started = &started
		st.Ready = c.Ready && c.Hooked && (!c.Init || c.Sidecar())
		st.State.Running = &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(c.Full.Started)}
	case c.Exited() && (c.WaitReason == "" || o.Terminating != nil || !Restarts(p, c) || Finished(p, o)):
		st.State.Terminated = Terminated(&c.Full)
		st.Ready = c.Init && !c.Sidecar() && c.Full.ExitCode == 0
	case c.Ephemeral && c.Ran && !c.Made: // it is not started twice
		st.ContainerID, st.State.Terminated = c.end.ContainerID, c.end
	default:
		if c.Exited() {
			st.LastTerminationState.Terminated = Terminated(&c.Full)
		}
		st.State.Waiting = &corev1.ContainerStateWaiting{Reason: c.WaitReason, Message: c.WaitMessage}
		if c.WaitReason == "" {
			st.State.Waiting.Reason = ReasonCreating
			if len(p.Spec.InitContainers) > 0 && !o.Initialized {
				st.State.Waiting.Reason = ReasonInitializing
			}
		}
	}
	return st
}

// Terminated returns the state of a container that has ended.
func Terminated(c *runtime.Container) *corev1.ContainerStateTerminated {
	t := &corev1.ContainerStateTerminated{
		ExitCode: c.ExitCode, Reason: c.Reason, Message: c.Message, ContainerID: RuntimeScheme + c.ID,
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
func phase(p *corev1.Pod, o *Observed) corev1.PodPhase {
	if o.Failure != nil {
		if anyRunning(o) {
			return corev1.PodRunning
		}
		return corev1.PodFailed
	}
	if Finished(p, o) || o.Terminating != nil && !anyRunning(o) && o.adoptedAny() {
		return endPhase(p, o)
	}
	if !o.Initialized {
		return corev1.PodPending
	}
	for i := range p.Spec.Containers {
		if c := o.Containers[p.Spec.Containers[i].Name]; !c.Made && !c.Ran {
			return corev1.PodPending
		}
	}
	return corev1.PodRunning
}

func endPhase(p *corev1.Pod, o *Observed) corev1.PodPhase {
	switch {
	case anyRunning(o) && o.Initialized:
		return corev1.PodRunning // sidecars are being stopped
	case anyRunning(o):
		return corev1.PodPending
	case initFailed(p, o):
		return corev1.PodFailed
	}
	for i := range p.Spec.Containers {
		if c := o.Containers[p.Spec.Containers[i].Name]; !c.Exited() || c.Full.ExitCode != 0 {
			return corev1.PodFailed
		}
	}
	return corev1.PodSucceeded
}

func anyRunning(o *Observed) bool {
	for _, c := range o.Containers {
		if c.Running() {
			return true
		}
	}
	return false
}

func conditions(p *corev1.Pod, o *Observed, st, old *corev1.PodStatus, now time.Time) []corev1.PodCondition {
	ended := st.Phase == corev1.PodSucceeded || st.Phase == corev1.PodFailed
	var unready, uninit []string
	for _, c := range st.InitContainerStatuses {
		spec := o.Containers[c.Name]
		if !c.Ready && !(spec.Sidecar() && c.Started != nil && *c.Started) {
			uninit = append(uninit, c.Name)
		}
		if spec.Sidecar() && !c.Ready {
			unready = append(unready, c.Name)
		}
	}
	for _, c := range st.ContainerStatuses {
		if !c.Ready {
			unready = append(unready, c.Name)
		}
	}
	out := &corev1.Pod{Status: corev1.PodStatus{Conditions: append([]corev1.PodCondition(nil), old.Conditions...)}}
	resize, checked := resizeConditions(o), imageChecked(p, o)
	out.Status.Conditions = slices.DeleteFunc(out.Status.Conditions, func(c corev1.PodCondition) bool {
		is := func(now corev1.PodCondition) bool { return now.Type == c.Type }
		if c.Type == object.ImageHealthCondition {
			return len(checked) == 0 && !ended
		}
		return (c.Type == corev1.PodResizePending || c.Type == corev1.PodResizeInProgress) && (ended || !slices.ContainsFunc(resize, is))
	})
	set := func(t corev1.PodConditionType, ok bool, reason, message string) {
		c := corev1.PodCondition{Type: t, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now), ObservedGeneration: p.Generation}
		if !ok {
			c.Status, c.Reason, c.Message = corev1.ConditionFalse, reason, message
		}
		object.SetPodCondition(out, c)
	}
	set(corev1.PodReadyToStartContainers, o.Sandbox.Ready && !o.Stopped, "", "")
	switch {
	case o.Initialized && !(ended && st.Phase == corev1.PodFailed && len(uninit) > 0):
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
	ready := len(unready) == 0 && !ended && o.Initialized
	set(corev1.ContainersReady, ready, reason, message)
	if gate := missingGate(p); ready && gate != "" {
		ready, reason, message = false, "ReadinessGatesNotReady", gate
	}
	set(corev1.PodReady, ready, reason, message)
	special(o, set, out, checked)
	for _, c := range resize {
		if !ended {
			c.LastTransitionTime, c.ObservedGeneration = metav1.NewTime(now), p.Generation
			object.SetPodCondition(out, c)
		}
	}
	return out.Status.Conditions
}

// special adds the conditions that few pods have: that images check the health of containers,
// and that the pod had to go for its node's sake.
func special(o *Observed, set func(corev1.PodConditionType, bool, string, string), p *corev1.Pod, checked []string) {
	if len(checked) > 0 {
		set(object.ImageHealthCondition, true, "", "")
		object.PodCondition(p, object.ImageHealthCondition).Message = strings.Join(checked, " ")
	}
	if !o.Evicted {
		return
	}
	set(corev1.DisruptionTarget, true, "", "")
	c := object.PodCondition(p, corev1.DisruptionTarget)
	c.Reason, c.Message = corev1.PodReasonTerminationByKubelet, o.Failure.Message
}

// imageChecked returns the containers that have a health check by their image.
func imageChecked(p *corev1.Pod, o *Observed) (names []string) {
	for i := range p.Spec.Containers {
		if c := o.Containers[p.Spec.Containers[i].Name]; c.Image != nil {
			names = append(names, c.Spec.Name)
		}
	}
	return names
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

// ContainerStatuses returns the statuses of all the pod's containers, by kind.
func ContainerStatuses(st *corev1.PodStatus) [][]corev1.ContainerStatus {
	return [][]corev1.ContainerStatus{st.InitContainerStatuses, st.ContainerStatuses, st.EphemeralContainerStatuses}
}

func hostIPs(ips []netip.Addr) (out []corev1.HostIP) {
	for _, ip := range ips {
		out = append(out, corev1.HostIP{IP: ip.String()})
	}
	return out
}
