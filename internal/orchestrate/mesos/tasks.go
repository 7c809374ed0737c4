package mesos

import (
	"encoding/json"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/loop"
	"trireme/internal/mesos/codec"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/object"
	"trireme/internal/object/mesos"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Tasks is the loop mesos/tasks.
type Tasks struct {
	known   registry
	agenda  loop.Agenda // Pods' keys
	history map[string][]object.Key
}

// NewTasks returns the loop.
func NewTasks() *Tasks { return &Tasks{} }

// The methods of loop.Reconciler.

func (l *Tasks) Name() string { return "mesos/tasks" }

func (l *Tasks) Reads() []store.TableID {
	return []store.TableID{tables.Pods.ID(), tables.MesosTasks.ID(), tables.CustomObjects.ID()}
}

func (l *Tasks) Writes() []store.TableID {
	return []store.TableID{tables.Pods.ID(), tables.MesosTasks.ID(), tables.MesosNotices.ID()}
}

func (l *Tasks) Reconcile(tx *store.Tx) (time.Time, error) {
	if tx.FullPass() {
		*l = Tasks{history: map[string][]object.Key{}}
		for t := range tables.MesosTasks.All(tx) {
			if t.Completed != nil {
				l.remember(t)
			}
		}
	}
	for at := range tables.CustomObjects.Changed(tx) {
		if plural, name, ok := tables.IsMesos(at); ok && plural == mesos.Agents.Resource {
			l.observeAgent(tx, name)
		}
	}
	for key := range tables.MesosTasks.Changed(tx) {
		if t, ok := tables.MesosTasks.Get(tx, key); ok && asks(t) {
			l.agenda.Mark(t.Pod)
		}
	}
	for key := range tables.Pods.Changed(tx) {
		row, ok := tables.Pods.Row(tx, key)
		if ok && row.Head().Labels[mesos.FrameworkLabel] != "" || !ok && l.runs(tx, key) {
			l.agenda.Mark(key)
		}
	}
	start := tx.Writes()
	for _, key := range l.agenda.Due(tx.Now()) {
		if tx.Writes()-start >= loop.StepWritesMax {
			break // the rest stays due
		}
		l.agenda.Take(key)
		if err := l.look(tx, key); err != nil {
			return time.Time{}, err
		}
	}
	return l.agenda.Next(), nil
}

// asks reports whether the row of a task may be reason to do something. That of one that runs, and
// that nobody wants to end, is not: its framework has acknowledged an update. What its Pod shows
// is the Pod's to say.
func asks(t *mesos.Task) bool {
	return t.Completed == nil && (t.Kill != nil || t.Custom || mesos.Terminal(t.State))
}

func (l *Tasks) runs(tx *store.Tx, pod object.Key) bool {
	for range tables.MesosTasks.By(tx, tables.MesosByPod, pod.String()) {
		return true
	}
	return false
}

// observeAgent marks the Pods of an agent that is reached no more, or again.
func (l *Tasks) observeAgent(tx *store.Tx, node string) {
	for row := range tables.MesosTasks.By(tx, tables.MesosByNode, node) {
		if t := row.Object(); t.Completed == nil {
			l.agenda.Mark(t.Pod)
		}
	}
}

// look tells the tasks of a Pod what it has been through, and does what that asks for.
func (l *Tasks) look(tx *store.Tx, key object.Key) error {
	pod, _ := tables.Pods.Get(tx, key)
	tasks := tasksOf(tx, key, pod)
	if len(tasks) == 0 && pod != nil {
		made, err := l.restore(tx, pod)
		if err != nil {
			return err
		}
		tasks = made
	}
	if len(tasks) == 0 {
		if pod != nil && object.PodEnded(pod) && pod.Annotations[mesos.TaskAnnotation] == "" && pod.Labels[mesos.FrameworkLabel] != "" {
			(&step{tx: tx, pod: pod}).delete(nil) // an executor that has nothing left
		}
		return nil
	}
	f := l.known.framework(tx, tasks[0].Namespace)
	if f == nil || f.Status.Removed != nil {
		return nil // mesos/frameworks ends them
	}
	s := &step{tx: tx, f: f, pod: pod, loop: l}
	if pod != nil && unschedulable(pod) {
		s.refuse(tasks)
		return nil
	}
	if s.unreachable(tasks) {
		return nil
	}
	s.follow(tasks)
	return nil
}

// tasksOf returns the tasks that a Pod runs and that are not completed.
func tasksOf(tx *store.Tx, key object.Key, pod *corev1.Pod) (all []*mesos.Task) {
	for row := range tables.MesosTasks.By(tx, tables.MesosByPod, key.String()) {
		if t := row.Object(); t.Completed == nil {
			all = append(all, t)
		}
	}
	return all
}

// restore makes the rows of a Pod's tasks again, which a leader before had.
func (l *Tasks) restore(tx *store.Tx, pod *corev1.Pod) (all []*mesos.Task, err error) {
	a := pod.Annotations
	f := l.known.framework(tx, a[mesos.FrameworkAnnotation])
	if f == nil || a[mesos.TaskAnnotation] == "" || f.Status.Removed != nil {
		return nil, nil
	}
	launch := mesos.Launch{Framework: f, Role: a[mesos.RoleAnnotation], Agent: a[mesos.AgentAnnotation]}
	if text := a[mesos.ExecutorAnnotation]; text != "" {
		launch.Executor, launch.Group = &mesosv1.ExecutorInfo{}, true
		if codec.ParseJSON([]byte(text), launch.Executor) != nil {
			return nil, nil // somebody wrote it by hand
		}
	}
	infos := []json.RawMessage{json.RawMessage(a[mesos.TaskAnnotation])}
	if launch.Group && json.Unmarshal(infos[0], &infos) != nil {
		return nil, nil
	}
	for _, text := range infos {
		info := &mesosv1.TaskInfo{}
		if codec.ParseJSON(text, info) != nil {
			return nil, nil
		}
		launch.Tasks = append(launch.Tasks, info)
	}
	for _, info := range launch.Tasks {
		t := taskOf(&launch, info, pod)
		if old, ok := tables.MesosTasks.Get(tx, object.KeyOf(t)); ok && (old.Completed == nil || old.PodUID == pod.UID) {
			continue // another of its name, or its own end is told and acknowledged
		}
		tables.MesosTasks.Put(tx, t)
		all = append(all, t)
	}
	return all, nil
}

// taskOf returns the row of a task that a Pod is made for.
func taskOf(l *mesos.Launch, info *mesosv1.TaskInfo, pod *corev1.Pod) *mesos.Task {
	t := &mesos.Task{
		Role: l.Role, Agent: l.Agent, Node: nodeOf(pod), Info: info, Executor: l.Executor, Custom: l.Custom(),
		Pod: object.KeyOf(pod), PodUID: pod.UID, Container: l.ContainerOf(info), State: mesosv1.TaskState_TASK_STAGING,
	}
	t.Namespace, t.Name = l.Framework.Spec.ID, info.GetTaskId().GetValue()
	if t.Custom && l.Group {
		for _, one := range l.Tasks {
			t.Group = append(t.Group, one.GetTaskId().GetValue())
		}
	}
	return t
}

// nodeOf returns the node that a Pod is for.
func nodeOf(pod *corev1.Pod) string {
	if pod.Spec.NodeName != "" {
		return pod.Spec.NodeName
	}
	terms := pod.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	return terms[0].MatchFields[0].Values[0]
}

func unschedulable(p *corev1.Pod) bool {
	c := object.PodCondition(p, corev1.PodScheduled)
	return p.Spec.NodeName == "" && c != nil && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable
}

// remember keeps a completed task as history, up to CompletedMax of a framework.
func (l *Tasks) remember(t *mesos.Task) (old object.Key, full bool) {
	keys := append(l.history[t.Namespace], object.KeyOf(t))
	if len(keys) > mesos.CompletedMax {
		old, full = keys[0], true
		keys = append([]object.Key(nil), keys[1:]...)
	}
	l.history[t.Namespace] = keys
	return old, full
}

// complete says that all of a task is told.
func (s *step) complete(t *mesos.Task) {
	now := metav1.NewTime(s.tx.Now())
	t.Completed = &now
	if old, full := s.loop.remember(t); full && old != object.KeyOf(t) {
		if was, ok := tables.MesosTasks.Get(s.tx, old); ok && was.Completed != nil {
			tables.MesosTasks.Delete(s.tx, old)
		}
	}
}
