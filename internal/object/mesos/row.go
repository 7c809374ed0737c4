package mesos

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/mesos/v1/scheduler"
	"trireme/internal/object"
)

// Offer is a part of a node that is lent to a framework, or that one has refused. Its name
// is its id.
//
//	made ──► lent ──► gone            accepted, rescinded, its framework's stream ended
//	          │
//	          └──► refused ──► gone   at Until, or revived; the refusal is the filter
type Offer struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Framework         string                  `json:"framework"` // id
	Role              string                  `json:"role"`
	Node              string                  `json:"node"`
	Agent             string                  `json:"agent"` // id
	Resources         []*mesosv1.Resource     `json:"resources,omitempty"`
	Unavailability    *mesosv1.Unavailability `json:"unavailability,omitempty"`
	// Inverse offers ask for resources back: of the node, for Unavailability.
	Inverse bool `json:"inverse,omitempty"`
	// Answer to an inverse offer: its framework said so last. Refused with none is declined.
	Accepted bool      `json:"accepted,omitempty"`
	Refused  bool      `json:"refused,omitempty"` // false: lent
	Until    time.Time `json:"until,omitzero"`    // how long it is refused
	Made     time.Time `json:"made,omitzero"`
}

// DeepCopyObject is a method of runtime.Object. The messages are shared.
func (o *Offer) DeepCopyObject() runtime.Object { return o.Clone() }

// Clone returns a copy to change; the messages are shared.
func (o *Offer) Clone() *Offer {
	out := *o
	o.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	out.Resources = slices.Clone(o.Resources)
	return &out
}

// Accept is an ACCEPT as it came; its namespace is the framework's id, its name says when it
// came among those of all frameworks.
type Accept struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Offers            []string                   `json:"offers,omitempty"` // ids
	Operations        []*mesosv1.Offer_Operation `json:"operations,omitempty"`
	RefuseFor         time.Duration              `json:"refuseFor"` // what is left; 0: not at all
}

// DeepCopyObject is a method of runtime.Object. The messages are shared.
func (a *Accept) DeepCopyObject() runtime.Object {
	out := *a
	a.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	out.Offers, out.Operations = slices.Clone(a.Offers), slices.Clone(a.Operations)
	return &out
}

// Task is a task that the master knows; its namespace is the framework's id, its name the
// task's id.
//
//	accepted ──► statuses of its Pod (or of its executor) queue in Pending ──► ended
//	ended, and Pending empty ──► Completed: kept as history, up to CompletedMax a framework
type Task struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Role              string                `json:"role"`
	Node              string                `json:"node"`
	Agent             string                `json:"agent"` // id
	Info              *mesosv1.TaskInfo     `json:"info"`
	Executor          *mesosv1.ExecutorInfo `json:"executor,omitempty"` // nil: a command task, or one of docker
	Custom            bool                  `json:"custom,omitempty"`   // its executor reports it, not its container
	Pod               object.Key            `json:"pod,omitzero"`
	PodUID            types.UID             `json:"podUID,omitempty"`
	Container         string                `json:"container,omitempty"` // of the Pod
	Group             []string              `json:"group,omitempty"`     // ids of the tasks, itself among them, that its custom executor is given together
	State             mesosv1.TaskState     `json:"state"`               // that was last true, told or not
	Statuses          []*mesosv1.TaskStatus `json:"statuses,omitempty"`  // that became true, oldest first, up to StatusesMax
	Pending           []*mesosv1.TaskStatus `json:"pending,omitempty"`   // that wait for their acknowledgement, oldest first
	Kill              *Kill                 `json:"kill,omitempty"`      // nil: it is to run
	Freed             bool                  `json:"freed,omitempty"`     // its executor's Pod has given back what it asked for
	Unreachable       *metav1.Time          `json:"unreachable,omitempty"`
	Completed         *metav1.Time          `json:"completed,omitempty"`
}

// Kill says that a task is to end.
type Kill struct {
	Grace    *time.Duration            `json:"grace,omitempty"` // nil: what the task says
	Cause    mesosv1.TaskStatus_Reason `json:"cause,omitempty"` // why, where its framework did not ask
	By       mesosv1.TaskStatus_Source `json:"by,omitempty"`
	Shutdown bool                      `json:"shutdown,omitempty"` // its executor is to end, and all its tasks
	Times    int                       `json:"times,omitempty"`    // how often its framework asked
}

// What is kept of tasks.
const (
	StatusesMax  = 16
	CompletedMax = 1000 // of a framework (Mesos, --max_completed_tasks_per_framework)
)

// DeepCopyObject is a method of runtime.Object. The messages are shared.
func (t *Task) DeepCopyObject() runtime.Object { return t.Clone() }

// Clone returns a copy to change; the messages are shared.
func (t *Task) Clone() *Task {
	out := *t
	t.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	out.Statuses, out.Pending = slices.Clone(t.Statuses), slices.Clone(t.Pending)
	return &out
}

// ExecutorID returns the id of the executor that runs the task: a command task's is its own.
func (t *Task) ExecutorID() string {
	if t.Executor != nil {
		return t.Executor.GetExecutorId().GetValue()
	}
	return t.Name
}

// Holds reports whether the task holds its resources: it was not yet told to have ended.
func (t *Task) Holds() bool { return !Terminal(t.State) }

// Terminal reports whether no other state follows.
func Terminal(s mesosv1.TaskState) bool {
	switch s {
	case mesosv1.TaskState_TASK_FINISHED, mesosv1.TaskState_TASK_FAILED, mesosv1.TaskState_TASK_KILLED, mesosv1.TaskState_TASK_ERROR,
		mesosv1.TaskState_TASK_LOST, mesosv1.TaskState_TASK_DROPPED, mesosv1.TaskState_TASK_GONE, mesosv1.TaskState_TASK_GONE_BY_OPERATOR:
		return true
	}
	return false
}

// Notice is an event for one framework that no task has; its namespace is the framework's
// id, its name says in which order. The door sends it and takes it away, one that has an
// operation's uuid when that is acknowledged.
type Notice struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Event             *scheduler.Event `json:"event"`
}

// DeepCopyObject is a method of runtime.Object. The message is shared.
func (n *Notice) DeepCopyObject() runtime.Object {
	out := *n
	n.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	return &out
}
