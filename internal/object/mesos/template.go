package mesos

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"trireme/internal/mesos/codec"
	"trireme/internal/mesos/resource"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/object"
	"trireme/internal/object/sandbox"
)

// Names of the containers of pods that are no task groups.
const (
	TaskContainer     = "task"
	ExecutorContainer = "executor"
)

// DefaultGrace is how long a task has to end (Mesos, KillPolicy.grace_period).
const DefaultGrace = 3 * time.Second

// Launch is what a Pod is made for: a task with a command, the tasks of a group, or an
// executor of the framework's own with the tasks that it begins with.
type Launch struct {
	Framework *Framework
	Role      string
	Agent     string                // id
	Executor  *mesosv1.ExecutorInfo // nil: of a task with a command
	Tasks     []*mesosv1.TaskInfo
	Group     bool
	Joins     bool // the executor runs already: what it asks for itself is its first group's
}

// Custom reports whether an executor of the framework's own runs the tasks.
func (l *Launch) Custom() bool { return l.Executor.GetType() == mesosv1.ExecutorInfo_CUSTOM }

// ExecutorID returns the id of the executor: a command task's is its own.
func (l *Launch) ExecutorID() string {
	if l.Executor != nil {
		return l.Executor.GetExecutorId().GetValue()
	}
	return l.Tasks[0].GetTaskId().GetValue()
}

// ContainerOf returns the name of the task's container in the launch's Pod.
func (l *Launch) ContainerOf(t *mesosv1.TaskInfo) string {
	switch {
	case l.Custom():
		return ExecutorContainer
	case l.Group:
		return GroupContainer(t.GetTaskId().GetValue())
	}
	return TaskContainer
}

// resources are those of all its parts.
func (l *Launch) resources() []*mesosv1.Resource {
	var all []*mesosv1.Resource
	if !l.Joins {
		all = l.Executor.GetResources()
	}
	for _, t := range l.Tasks {
		all = append(all[:len(all):len(all)], t.GetResources()...)
	}
	return all
}

// Pod returns the launch's Pod, but for its name and its node. An error names the field that
// a Pod cannot be, as Mesos has it, and the remedy.
func (l *Launch) Pod() (*corev1.Pod, error) {
	b := &builder{launch: l}
	b.pod.Namespace = Namespace(l.Role)
	b.pod.Labels = map[string]string{FrameworkLabel: FrameworkName(l.Framework.Spec.ID)}
	b.pod.OwnerReferences = []metav1.OwnerReference{object.ControllerRef(l.Framework, FrameworkKind)}
	s := &b.pod.Spec
	s.RestartPolicy = corev1.RestartPolicyNever // a framework launches another task
	s.EnableServiceLinks, s.AutomountServiceAccountToken = new(bool), new(bool)
	for _, taint := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} { // mesos/agents says what becomes of it
		s.Tolerations = append(s.Tolerations, corev1.Toleration{Key: taint, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute})
	}
	if err := b.note(); err != nil {
		return nil, err
	}
	if err := b.containers(); err != nil {
		return nil, err
	}
	s.Containers[0].Ports = b.ports
	grace := int64(math.Ceil(max(b.grace, time.Second).Seconds()))
	s.TerminationGracePeriodSeconds = &grace
	return &b.pod, nil
}

// builder makes the Pod of a launch.
type builder struct {
	launch *Launch
	pod    corev1.Pod
	uris   []sandbox.URI
	grace  time.Duration // the longest of all containers
	onHost bool          // its network is the node's
	ports  []corev1.ContainerPort
}

// note writes what the Pod is made for as annotations.
func (b *builder) note() error {
	l := b.launch
	b.pod.Annotations = map[string]string{FrameworkAnnotation: l.Framework.Spec.ID, RoleAnnotation: l.Role, AgentAnnotation: l.Agent}
	if l.Executor != nil {
		b.pod.Annotations[ExecutorAnnotation] = string(codec.AppendStored(nil, l.Executor))
	}
	if l.Custom() {
		return nil // its tasks are its agent's to tell
	}
	var all []json.RawMessage
	for _, t := range l.Tasks {
		all = append(all, codec.AppendStored(nil, t))
	}
	if !l.Group {
		b.pod.Annotations[TaskAnnotation] = string(all[0])
		return nil
	}
	text, err := json.Marshal(all)
	b.pod.Annotations[TaskAnnotation] = string(text)
	return err
}

// containers gives the Pod its containers, and what they share.
func (b *builder) containers() error {
	l := b.launch
	switch {
	case l.Custom():
		if err := b.executor(); err != nil {
			return fmt.Errorf("executor.%w", err)
		}
	case l.Group:
		if err := b.network("executor.container", l.Executor.GetContainer(), l.resources()); err != nil {
			return err
		}
		for i, t := range l.Tasks {
			if err := b.task(t, l.ContainerOf(t), sandbox.TaskDir(t.GetTaskId().GetValue())); err != nil {
				return fmt.Errorf("task_group.tasks[%d].%w", i, err)
			}
		}
		if l.Joins {
			break
		}
		if err := b.add(&b.pod.Spec.Containers[0], "executor.resources", l.Executor.GetResources()); err != nil {
			return err
		}
	default:
		t := l.Tasks[0]
		if err := b.network("container", t.GetContainer(), l.resources()); err != nil {
			return err
		}
		if err := b.task(t, TaskContainer, ""); err != nil {
			return err
		}
		if d := t.GetMaxCompletionTime(); d != nil {
			if d.GetNanoseconds() <= 0 {
				return fmt.Errorf("max_completion_time: %d ns is no time: give more than 0", d.GetNanoseconds())
			}
			seconds := int64(math.Ceil(time.Duration(d.GetNanoseconds()).Seconds()))
			b.pod.Spec.ActiveDeadlineSeconds = &seconds
		}
	}
	return sandbox.Set(&b.pod, sandbox.Place{Agent: l.Agent, Framework: l.Framework.Spec.ID, Executor: l.ExecutorID()}, b.uris)
}

// executor makes the one container of an executor of the framework's own. Its tasks'
// resources are its own too.
func (b *builder) executor() error {
	e := b.launch.Executor
	if e.GetCommand() == nil {
		return fmt.Errorf("command: is missing: an executor of your own needs one")
	}
	if err := b.network("container", e.GetContainer(), b.launch.resources()); err != nil {
		return err
	}
	c := &corev1.Container{Name: ExecutorContainer}
	if err := b.run(c, e.GetCommand(), e.GetContainer(), ""); err != nil {
		return err
	}
	b.grace = max(b.grace, 5*time.Second, time.Duration(e.GetShutdownGracePeriod().GetNanoseconds()))
	lists := [][]*mesosv1.Resource{e.GetResources()}
	for _, t := range b.launch.Tasks {
		lists = append(lists, t.GetResources())
	}
	for _, list := range lists {
		if err := b.add(c, "resources", list); err != nil {
			return err
		}
	}
	b.pod.Spec.Containers = append(b.pod.Spec.Containers, *c)
	return nil
}

// task makes the container of a task. dir is its folder in the Pod's sandbox.
func (b *builder) task(t *mesosv1.TaskInfo, name, dir string) error {
	c := &corev1.Container{Name: name}
	if err := b.run(c, t.GetCommand(), t.GetContainer(), dir); err != nil {
		return err
	}
	set(c, taskVariable, t.GetTaskId().GetValue())
	if err := b.add(c, "resources", t.GetResources()); err != nil {
		return err
	}
	if err := limits(c, t.GetLimits()); err != nil {
		return err
	}
	if err := b.probes(c, t); err != nil {
		return err
	}
	grace := DefaultGrace
	if p := t.GetKillPolicy().GetGracePeriod(); p != nil {
		if grace = time.Duration(p.GetNanoseconds()); grace < 0 {
			return fmt.Errorf("kill_policy.grace_period: %v is negative", grace)
		}
	}
	b.grace = max(b.grace, grace)
	b.pod.Spec.Containers = append(b.pod.Spec.Containers, *c)
	return nil
}

// add has the container ask for resources beside what it asks for already. Memory and disk
// are limits too; CPUs are a share (Mesos, docs "Mesos Containerizer").
func (b *builder) add(c *corev1.Container, field string, messages []*mesosv1.Resource) error {
	list, err := resource.From(field, messages)
	if err != nil {
		return err
	}
	if err := b.persistent(c, list); err != nil {
		return fmt.Errorf("%s: %w", field, err)
	}
	firm := list.Firm()
	if len(firm) < len(list) {
		b.revocable()
	}
	for _, part := range []struct {
		list resource.List
		asks int64 // times as much as its limits
	}{{firm, 1}, {list.Where(func(r *resource.Resource) bool { return r.Revocable }), 0}} {
		all, err := part.list.Requests()
		if err != nil {
			return fmt.Errorf("%s: %w", field, err)
		}
		for name, q := range all {
			if !q.IsZero() {
				ask(&c.Resources, name, q, part.asks)
			}
		}
	}
	return nil
}

// ask has a container ask for more of a resource, and use as much more at the most.
func ask(r *corev1.ResourceRequirements, name corev1.ResourceName, q apiresource.Quantity, times int64) {
	if r.Requests == nil {
		r.Requests, r.Limits = corev1.ResourceList{}, corev1.ResourceList{}
	}
	if name != corev1.ResourceCPU {
		most := r.Limits[name]
		most.Add(q)
		r.Limits[name] = most
	}
	q.Mul(times)
	sum := r.Requests[name]
	sum.Add(q)
	r.Requests[name] = sum
}

// revocable has the Pod be one that gives way to all others: what it runs on others have asked for,
// and use as soon as they need it.
func (b *builder) revocable() {
	b.pod.Labels[RevocableLabel], b.pod.Spec.PriorityClassName = "true", RevocableClass
}

// limits are those that a task wants instead of its resources.
func limits(c *corev1.Container, all map[string]*mesosv1.Value_Scalar) error {
	for name, v := range all {
		if name != resource.CPUs && name != resource.Mem {
			return fmt.Errorf("limits: %q: only cpus and mem have limits", name)
		}
		of := corev1.ResourceCPU
		if name == resource.Mem {
			of = corev1.ResourceMemory
		}
		if math.IsInf(v.GetValue(), 1) {
			delete(c.Resources.Limits, of)
			continue
		}
		n, err := resource.Thousandths(v.GetValue())
		if err != nil || n <= 0 {
			return fmt.Errorf("limits: %s: %v is no limit: give a number above 0, or Infinity", name, v.GetValue())
		}
		asks, err := resource.List{resource.Of(name, n)}.Requests()
		if err != nil {
			return err
		}
		limit := asks[of]
		if has := c.Resources.Requests[of]; limit.Cmp(has) < 0 {
			return fmt.Errorf("limits: %s: %v is less than the task's resources", name, v.GetValue())
		}
		if c.Resources.Limits == nil {
			c.Resources.Limits = corev1.ResourceList{}
		}
		c.Resources.Limits[of] = limit
	}
	return nil
}

// set gives the container a variable that it does not have.
func set(c *corev1.Container, name, value string) {
	for i := range c.Env {
		if c.Env[i].Name == name {
			return
		}
	}
	c.Env = append(c.Env, corev1.EnvVar{Name: name, Value: object.Literal(value)})
}

// GroupContainer returns the name of the container of a task of a group.
func GroupContainer(task string) string { return fold(task, validation.IsDNS1123Label) }

// PodName returns what the names of an executor's Pods begin with.
func PodName(executor string) string {
	const most = 48
	name := letters(executor)
	if len(name) > most {
		name = strings.Trim(name[:most], "-")
	}
	return strings.TrimPrefix(name+"-", "-")
}
