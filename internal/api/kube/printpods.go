package kube

import (
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// podLine is what one line of `kubectl get pods` says beside names and addresses.
type podLine struct {
	status      string
	ready, all  int
	restarts    int32
	lastRestart time.Time
}

func podCells(o runtime.Object) []any {
	p := o.(*corev1.Pod)
	l := lineOf(p)
	restarts := strconv.Itoa(int(l.restarts))
	if l.restarts > 0 && !l.lastRestart.IsZero() {
		restarts += " (" + since(l.lastRestart) + " ago)"
	}
	return []any{fmt.Sprintf("%d/%d", l.ready, l.all), l.status, restarts, age(p), or(p.Status.PodIP, "<none>"),
		or(p.Spec.NodeName, "<none>"), or(p.Status.NominatedNodeName, "<none>"), gates(p)}
}

// lineOf sums a pod up in one word: the latest thing that holds it back, the way
// kubectl's users know it (Kubernetes, "Debug Pods" and "Init Containers").
func lineOf(p *corev1.Pod) podLine {
	l := podLine{status: or(p.Status.Reason, string(p.Status.Phase)), all: len(p.Spec.Containers)}
	if c := podCondition(p, corev1.PodScheduled); c != nil && c.Reason == corev1.PodReasonSchedulingGated {
		l.status = c.Reason
	}
	if l.inits(p) {
		l.containers(p)
	}
	ended := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
	switch {
	case p.DeletionTimestamp == nil:
	case p.Status.Reason == "NodeLost":
		l.status = "Unknown"
	case !ended:
		l.status = "Terminating"
	}
	return l
}

// inits goes through the init containers and reports whether they are done. Of
// those that are, only sidecars count on.
func (l *podLine) inits(p *corev1.Pod) (done bool) {
	sidecar := map[string]bool{}
	for i := range p.Spec.InitContainers {
		c := &p.Spec.InitContainers[i]
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			sidecar[c.Name] = true
			l.all++
		}
	}
	var sidecars podLine
	for i := range p.Status.InitContainerStatuses {
		c := &p.Status.InitContainerStatuses[i]
		l.restarted(c)
		if sidecar[c.Name] {
			sidecars.restarted(c)
		}
		t, w := c.State.Terminated, c.State.Waiting
		switch {
		case t != nil && t.ExitCode == 0:
			continue
		case sidecar[c.Name] && c.Started != nil && *c.Started:
			if c.Ready {
				l.ready++
			}
			continue
		case t != nil:
			l.status = "Init:" + ended(t)
		case w != nil && w.Reason != "" && w.Reason != "PodInitializing":
			l.status = "Init:" + w.Reason
		default:
			l.status = fmt.Sprintf("Init:%d/%d", i, len(p.Spec.InitContainers))
		}
		return false
	}
	l.restarts, l.lastRestart = sidecars.restarts, sidecars.lastRestart
	return true
}

// containers goes through the containers; the first that has something to say
// has the last word.
func (l *podLine) containers(p *corev1.Pod) {
	running := false
	for i := len(p.Status.ContainerStatuses) - 1; i >= 0; i-- {
		c := &p.Status.ContainerStatuses[i]
		l.restarted(c)
		switch {
		case c.State.Waiting != nil && c.State.Waiting.Reason != "":
			l.status = c.State.Waiting.Reason
		case c.State.Terminated != nil:
			l.status = ended(c.State.Terminated)
		case c.Ready && c.State.Running != nil:
			running = true
			l.ready++
		}
	}
	if l.status != "Completed" || !running {
		return
	}
	l.status = "NotReady"
	if c := podCondition(p, corev1.PodReady); c != nil && c.Status == corev1.ConditionTrue {
		l.status = "Running"
	}
}

func (l *podLine) restarted(c *corev1.ContainerStatus) {
	l.restarts += c.RestartCount
	if t := c.LastTerminationState.Terminated; t != nil && t.FinishedAt.After(l.lastRestart) {
		l.lastRestart = t.FinishedAt.Time
	}
}

func ended(t *corev1.ContainerStateTerminated) string {
	switch {
	case t.Reason != "":
		return t.Reason
	case t.Signal != 0:
		return fmt.Sprintf("Signal:%d", t.Signal)
	}
	return fmt.Sprintf("ExitCode:%d", t.ExitCode)
}

func podCondition(p *corev1.Pod, t corev1.PodConditionType) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == t {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}

func gates(p *corev1.Pod) string {
	if len(p.Spec.ReadinessGates) == 0 {
		return "<none>"
	}
	open := 0
	for _, g := range p.Spec.ReadinessGates {
		if c := podCondition(p, g.ConditionType); c != nil && c.Status == corev1.ConditionTrue {
			open++
		}
	}
	return fmt.Sprintf("%d/%d", open, len(p.Spec.ReadinessGates))
}
