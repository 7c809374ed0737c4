package view

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/api/docker/bare"
	"trireme/internal/object"
)

// Task is what is known of a pod that is a task of a swarm service.
type Task struct {
	ID, Name, NodeID       string
	ServiceID, ServiceName string
	Labels                 map[string]string // of its container
}

// Container is a container of a pod.
type Container struct {
	Pod     *corev1.Pod
	Spec    *corev1.Container
	Status  corev1.ContainerStatus   // zero where nothing is known yet
	Task    *Task                    // nil: it is none
	Request *container.CreateRequest // of `docker run`; nil: it came otherwise
	ID      string                   // 64 digits
	Name    string
	other   string // the runtime's id, where it is another
}

// Of returns the pod's containers, as they were started: those for its beginning first.
// task is nil where the pod is none.
func Of(p *corev1.Pod, task *Task) []Container {
	var out []Container
	for i := range p.Spec.InitContainers {
		out = append(out, of(p, task, &p.Spec.InitContainers[i], p.Status.InitContainerStatuses))
	}
	for i := range p.Spec.Containers {
		out = append(out, of(p, task, &p.Spec.Containers[i], p.Status.ContainerStatuses))
	}
	for i := range p.Spec.EphemeralContainers {
		c := corev1.Container(p.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		out = append(out, of(p, task, &c, p.Status.EphemeralContainerStatuses))
	}
	return out
}

func of(p *corev1.Pod, task *Task, spec *corev1.Container, all []corev1.ContainerStatus) Container {
	c := Container{Pod: p, Spec: spec, Task: task}
	if i := slices.IndexFunc(all, func(s corev1.ContainerStatus) bool { return s.Name == spec.Name }); i >= 0 {
		c.Status = all[i]
	}
	_, c.ID, _ = strings.Cut(c.Status.ContainerID, "://")
	if c.ID == "" {
		sum := sha256.Sum256([]byte(string(p.UID) + "/" + spec.Name))
		c.ID = hex.EncodeToString(sum[:])
	}
	switch req, ok := bare.Request(p); {
	case ok:
		c.Request, c.Name = req, p.Annotations[bare.NameAnnotation]
		c.ID, c.other = p.Annotations[bare.IDAnnotation], c.ID
	case task != nil:
		c.Name = task.Name
	default:
		c.Name = strings.Join([]string{"k8s", spec.Name, p.Name, p.Namespace}, "_")
	}
	return c
}

// Is reports whether the reference is the container's name, its whole id or, with
// prefix, what an id of it begins with.
func (c *Container) Is(ref string) (whole, prefix bool) {
	ref = strings.TrimPrefix(ref, "/")
	if ref == "" {
		return false, false
	}
	whole = ref == c.Name || ref == c.ID || ref == c.other
	return whole, strings.HasPrefix(c.ID, ref) || c.other != "" && strings.HasPrefix(c.other, ref)
}

// State returns the container's state.
func (c *Container) State() container.ContainerState {
	ended := c.Pod.Status.Phase == corev1.PodSucceeded || c.Pod.Status.Phase == corev1.PodFailed
	switch s := c.Status.State; {
	case s.Running != nil && !ended:
		return container.StateRunning
	case s.Terminated != nil || ended:
		return container.StateExited
	case c.Status.LastTerminationState.Terminated != nil:
		return container.StateRestarting
	}
	return container.StateCreated
}

// Begun reports whether it has run.
func (c *Container) Begun() bool {
	return c.Status.State.Running != nil || c.Ended() != nil || c.State() == container.StateExited
}

// Ended returns how it ended the last time, nil where it has not.
func (c *Container) Ended() *corev1.ContainerStateTerminated {
	return cmp.Or(c.Status.State.Terminated, c.Status.LastTerminationState.Terminated)
}

// refusedCode is the exit code of what was not started (docker run, "Exit status").
const refusedCode = 125

// ExitCode returns that of the last end; 0 where there was none.
func (c *Container) ExitCode() int {
	switch end := c.Ended(); {
	case end != nil:
		return int(end.ExitCode)
	case c.State() == container.StateExited:
		return refusedCode
	}
	return 0
}

// Trouble says why it does not run as it should; empty: it does, or nobody knows.
func (c *Container) Trouble() string {
	if w := c.Status.State.Waiting; w != nil && w.Message != "" {
		return w.Reason + ": " + w.Message
	}
	if c.State() == container.StateExited && c.Pod.Status.Message != "" {
		return c.Pod.Status.Message
	}
	if c.Pod.Spec.NodeName == "" {
		for _, cond := range c.Pod.Status.Conditions {
			if cond.Type == corev1.PodScheduled && cond.Status == corev1.ConditionFalse && cond.Reason != corev1.PodReasonSchedulingGated {
				return "no suitable node (" + cond.Message + ")"
			}
		}
	}
	return ""
}

// Labels returns those that the container was given, and those that say where it is.
func (c *Container) Labels() map[string]string {
	out := map[string]string{}
	switch {
	case c.Request != nil:
		for k, v := range c.Request.Config.Labels {
			out[k] = v
		}
		return out
	case c.Task != nil:
		for k, v := range c.Task.Labels {
			out[k] = v
		}
		t := c.Task
		out["com.docker.swarm.task"], out["com.docker.swarm.task.id"], out["com.docker.swarm.task.name"] = "", t.ID, t.Name
		out["com.docker.swarm.service.id"], out["com.docker.swarm.service.name"], out["com.docker.swarm.node.id"] = t.ServiceID, t.ServiceName, t.NodeID
		return out
	}
	for k, v := range c.Pod.Labels {
		out[k] = v
	}
	out["io.kubernetes.pod.name"], out["io.kubernetes.pod.namespace"] = c.Pod.Name, c.Pod.Namespace
	out["io.kubernetes.pod.uid"], out["io.kubernetes.container.name"] = string(c.Pod.UID), c.Spec.Name
	return out
}

// Health returns the state of its health check. One that was never healthy is starting as
// long as the check may fail, as its image's may for half a minute and three times.
func (c *Container) Health(now time.Time) container.HealthStatus {
	if !object.HealthChecked(c.Pod, c.Spec) {
		return container.NoHealthcheck
	}
	run := c.Status.State.Running
	switch {
	case run == nil:
		return container.Unhealthy
	case c.Status.Ready:
		return container.Healthy
	case c.Status.Started == nil || !*c.Status.Started:
		return container.Starting
	}
	ready := object.PodCondition(c.Pod, corev1.PodReady)
	was := ready != nil && ready.LastTransitionTime.After(run.StartedAt.Time)
	if !was && now.Before(run.StartedAt.Add(c.patience())) {
		return container.Starting
	}
	return container.Unhealthy
}

// patience is how long its health check may fail at its beginning.
func (c *Container) patience() time.Duration {
	probe := corev1.Probe{PeriodSeconds: 30, FailureThreshold: 3} // docker's
	if c.Spec.ReadinessProbe != nil {
		probe = *c.Spec.ReadinessProbe
	}
	if l := c.Spec.LivenessProbe; l != nil {
		probe = *l
	}
	return time.Duration(probe.InitialDelaySeconds+probe.PeriodSeconds*probe.FailureThreshold) * time.Second
}

// status says in words how it is.
func (c *Container) status(now time.Time) string {
	ago := func(t time.Time) string { return units.HumanDuration(now.Sub(t)) }
	end := c.Ended()
	switch c.State() {
	case container.StateRunning:
		text := "Up " + ago(c.Status.State.Running.StartedAt.Time)
		switch h := c.Health(now); h {
		case container.NoHealthcheck:
			return text
		case container.Starting:
			return text + " (health: starting)"
		default:
			return text + " (" + string(h) + ")"
		}
	case container.StateRestarting:
		return fmt.Sprintf("Restarting (%d) %s ago", end.ExitCode, ago(end.FinishedAt.Time))
	case container.StateExited:
		if end == nil {
			return fmt.Sprintf("Exited (%d): %s", refusedCode, cmp.Or(c.Pod.Status.Reason, "it was not started"))
		}
		return fmt.Sprintf("Exited (%d) %s ago", end.ExitCode, ago(end.FinishedAt.Time))
	}
	if w := c.Status.State.Waiting; w != nil && w.Message != "" {
		return "Created (" + w.Reason + ")"
	}
	return "Created"
}
