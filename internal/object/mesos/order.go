package mesos

import (
	"encoding/json"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/mesos/codec"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/object"
)

// OrdersTable is what sessions call orders.
const OrdersTable = "mesosorders"

// Order is a task of a custom executor as its agent is told of it; its namespace is the
// framework's id, its name the task's id. It travels as JSON.
type Order struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Role              string                          `json:"role"`
	Agent             string                          `json:"agent"` // id
	Framework         Message[*mesosv1.FrameworkInfo] `json:"framework"`
	Executor          Message[*mesosv1.ExecutorInfo]  `json:"executor"`
	Info              Message[*mesosv1.TaskInfo]      `json:"info"`
	Pod               object.Key                      `json:"pod"` // the executor's
	PodUID            types.UID                       `json:"podUID"`
	Group             []string                        `json:"group,omitempty"` // see Task.Group
	Kill              bool                            `json:"kill,omitempty"`
	Grace             *time.Duration                  `json:"grace,omitempty"` // of the kill; nil: what the task says
	// Known are the uuids of the newest updates that the manager has, Waiting those of them that
	// the framework has not acknowledged.
	Known   [][]byte `json:"known,omitempty"`
	Waiting [][]byte `json:"waiting,omitempty"`
}

// OrderOf returns the order of a task.
func OrderOf(t *Task, f *mesosv1.FrameworkInfo) *Order {
	o := &Order{
		ObjectMeta: metav1.ObjectMeta{Namespace: t.Namespace, Name: t.Name}, Role: t.Role, Agent: t.Agent, Pod: t.Pod, PodUID: t.PodUID, Group: t.Group,
		Framework: Message[*mesosv1.FrameworkInfo]{f}, Executor: Message[*mesosv1.ExecutorInfo]{t.Executor}, Info: Message[*mesosv1.TaskInfo]{t.Info},
	}
	if t.Kill != nil {
		o.Kill, o.Grace = true, t.Kill.Grace
	}
	for _, s := range t.Statuses {
		if len(s.GetUuid()) > 0 {
			o.Known = append(o.Known, s.GetUuid())
		}
	}
	for _, s := range t.Pending {
		o.Waiting = append(o.Waiting, s.GetUuid())
	}
	return o
}

// Task returns the row of the order's task, none of whose statuses is known.
func (o *Order) Task(node string) *Task {
	return &Task{
		ObjectMeta: metav1.ObjectMeta{Namespace: o.Namespace, Name: o.Name}, Role: o.Role, Node: node, Agent: o.Agent, Info: o.Info.M, Executor: o.Executor.M,
		Custom: true, Pod: o.Pod, PodUID: o.PodUID, Group: o.Group, Container: ExecutorContainer, State: mesosv1.TaskState_TASK_STAGING,
	}
}

// Marshal returns the order's JSON.
func (o *Order) Marshal() ([]byte, error) { return json.Marshal(o) }

// Unmarshal is the inverse of Marshal.
func (o *Order) Unmarshal(b []byte) error { return json.Unmarshal(b, o) }

// DeepCopyObject is a method of runtime.Object. The messages are shared.
func (o *Order) DeepCopyObject() runtime.Object {
	out := *o
	o.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	return &out
}

// ExecutorOf returns the executor of the framework's own that a Pod is; nil: it is none.
func ExecutorOf(pod *corev1.Pod) *mesosv1.ExecutorInfo {
	text := pod.Annotations[ExecutorAnnotation]
	if text == "" || pod.Annotations[TaskAnnotation] != "" {
		return nil
	}
	info := &mesosv1.ExecutorInfo{}
	if codec.ParseJSON([]byte(text), info) != nil {
		return nil
	}
	return info
}
