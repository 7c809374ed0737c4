package mesos

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/mesos/codec"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/object"
	"trireme/internal/object/sandbox"
)

// The variables that tell a command task's container who it is.
const (
	executorVariable = "MESOS_EXECUTOR_ID"
	agentVariable    = "MESOS_SLAVE_ID"
	taskVariable     = "MESOS_TASK_ID"
)

// longest is how much JSON of a task may differ in: names that are longer make a Pod of their own,
// which is checked.
const longest = 1 << 10

// Alike returns a text that launches have in common whose Pods differ in nothing but the ids of
// their tasks and agents, so that Like makes one's Pod from another's; "" where they may differ in more.
func (l *Launch) Alike() string {
	if l.Executor != nil || l.Group || len(l.Tasks) != 1 {
		return ""
	}
	t := l.Tasks[0]
	if len(t.GetName()) > longest {
		return ""
	}
	for _, r := range t.GetResources() {
		if r.GetDisk() != nil {
			return "" // volumes are named after their agent
		}
	}
	for _, v := range t.GetCommand().GetEnvironment().GetVariables() {
		switch v.GetName() {
		case executorVariable, agentVariable, taskVariable:
			return "" // its own count
		}
	}
	b, err := proto.MarshalOptions{Deterministic: true, AllowPartial: true}.Marshal(withoutIDs(t))
	if err != nil {
		return ""
	}
	return l.Framework.Spec.ID + "\x00" + l.Role + "\x00" + string(b)
}

// withoutIDs returns the task without its name and ids; the rest is shared.
func withoutIDs(t *mesosv1.TaskInfo) *mesosv1.TaskInfo {
	return &mesosv1.TaskInfo{
		Resources: t.Resources, Executor: t.Executor, Command: t.Command, Container: t.Container, HealthCheck: t.HealthCheck, Check: t.Check,
		KillPolicy: t.KillPolicy, Data: t.Data, Labels: t.Labels, Discovery: t.Discovery, MaxCompletionTime: t.MaxCompletionTime, Limits: t.Limits,
	}
}

// Like returns the launch's Pod made from that of a launch that is alike, complete but without a
// name and a UID: it shares with it all that has no ids, but for its affinity.
func (l *Launch) Like(pod *corev1.Pod) (*corev1.Pod, error) {
	t := l.Tasks[0]
	id := t.GetTaskId().GetValue()
	out := *pod
	out.Annotations = maps.Clone(pod.Annotations)
	out.Annotations[AgentAnnotation] = l.Agent
	out.Annotations[TaskAnnotation] = string(codec.AppendStored(nil, t))
	if err := sandbox.Set(&out, sandbox.Place{Agent: l.Agent, Framework: l.Framework.Spec.ID, Executor: id}, nil); err != nil {
		return nil, err
	}
	out.Spec.Affinity = pod.Spec.Affinity.DeepCopy()
	out.Spec.Containers = slices.Clone(pod.Spec.Containers)
	c := &out.Spec.Containers[0]
	c.Env = slices.Clone(c.Env)
	for i := range c.Env {
		switch e := &c.Env[i]; e.Name {
		case executorVariable, taskVariable:
			e.Value = object.Literal(id)
		case agentVariable:
			e.Value = object.Literal(l.Agent)
		}
	}
	return &out, nil
}
