package mesos

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"

	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/mesos/v1/scheduler"
	"trireme/internal/object"
)

// The kinds are served as these resources.
var (
	Group         = schema.GroupVersion{Group: "mesos.trireme.dev", Version: "v1"}
	Frameworks    = Group.WithResource("frameworks")
	Agents        = Group.WithResource("agents")
	FrameworkKind = Group.WithKind("Framework")
	AgentKind     = Group.WithKind("Agent")
)

// Framework is a framework that has subscribed, FrameworkName of its id its name. One that
// was removed stays for a while, so that its id never comes back.
type Framework struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              FrameworkSpec   `json:"spec"`
	Status            FrameworkStatus `json:"status,omitzero"`
}

// FrameworkSpec is what its scheduler said.
type FrameworkSpec struct {
	ID   string                          `json:"id"`
	Info Message[*mesosv1.FrameworkInfo] `json:"info"` // word for word
	User string                          `json:"user"` // who subscribed
	// Suppressed are the roles that want no offers.
	Suppressed  []string                             `json:"suppressed,omitempty"`
	Constraints Message[*scheduler.OfferConstraints] `json:"constraints,omitzero"`
}

// FrameworkStatus is how its stream stands.
type FrameworkStatus struct {
	Connected    bool         `json:"connected"`
	Stream       string       `json:"stream,omitempty"` // Mesos-Stream-Id
	Registered   *metav1.Time `json:"registered,omitempty"`
	Reregistered *metav1.Time `json:"reregistered,omitempty"`
	Disconnected *metav1.Time `json:"disconnected,omitempty"`
	RemoveAt     *metav1.Time `json:"removeAt,omitempty"` // where it has not come back until then
	Removed      *metav1.Time `json:"removed,omitempty"`  // its tasks end, its id is of no use any more
	// Operations are what became of those that it has not acknowledged, oldest first, up to OperationsMax.
	Operations []Message[*mesosv1.OperationStatus] `json:"operations,omitempty"`
}

// OperationsMax is how many operations of a framework wait for their acknowledgement at the most;
// of older ones reconciliation says that they are not known.
const OperationsMax = 256

// Owe notes what became of an operation, until it is acknowledged.
func (f *Framework) Owe(s *mesosv1.OperationStatus) {
	f.Status.Operations = append(f.Status.Operations, Message[*mesosv1.OperationStatus]{s})
	if n := len(f.Status.Operations); n > OperationsMax {
		f.Status.Operations = f.Status.Operations[n-OperationsMax:]
	}
}

// Settle notes that what became of an operation is acknowledged, and reports whether it waited for that.
func (f *Framework) Settle(operation string, uuid []byte) bool {
	before := len(f.Status.Operations)
	f.Status.Operations = slices.DeleteFunc(f.Status.Operations, func(m Message[*mesosv1.OperationStatus]) bool {
		return m.M.GetOperationId().GetValue() == operation && bytes.Equal(m.M.GetUuid().GetValue(), uuid)
	})
	return len(f.Status.Operations) < before
}

// Roles returns the roles that the framework subscribed with.
func (f *Framework) Roles() []string {
	if f.Has(mesosv1.FrameworkInfo_Capability_MULTI_ROLE) {
		return f.Spec.Info.M.GetRoles()
	}
	return []string{f.Spec.Info.M.GetRole()}
}

// Has reports whether the framework has the capability.
func (f *Framework) Has(c mesosv1.FrameworkInfo_Capability_Type) bool {
	return slices.ContainsFunc(f.Spec.Info.M.GetCapabilities(), func(have *mesosv1.FrameworkInfo_Capability) bool { return have.GetType() == c })
}

// Active reports whether the framework can be offered to.
func (f *Framework) Active() bool { return f.Status.Connected && f.Status.Removed == nil }

// FrameworkFrom reads a framework out of tables.CustomObjects or a client's answer.
func FrameworkFrom(u *unstructured.Unstructured) (*Framework, error) {
	f := &Framework{}
	return f, read(u, f)
}

// Unstructured returns the framework as a custom object.
func (f *Framework) Unstructured() (*unstructured.Unstructured, error) {
	f.SetGroupVersionKind(FrameworkKind)
	return write(f)
}

// Agent is what Mesos knows of a node beside the Node, whose name it has.
type Agent struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              AgentSpec   `json:"spec,omitzero"`
	Status            AgentStatus `json:"status,omitzero"`
}

// AgentSpec is what its operator, and frameworks by their operations, said.
type AgentSpec struct {
	// Resources are those that the agent has beside what its Node tells (custom ones), or
	// instead (ports), and those that are reserved statically.
	Resources []Message[*mesosv1.Resource] `json:"resources,omitempty"`
	// Attributes beside the node's labels.
	Attributes []Message[*mesosv1.Attribute] `json:"attributes,omitempty"`
	// Reserved are the dynamic reservations, and the volumes on reserved disk.
	Reserved       []Message[*mesosv1.Resource]     `json:"reserved,omitempty"`
	Drain          *Drain                           `json:"drain,omitempty"`
	Deactivated    bool                             `json:"deactivated,omitempty"` // it is not offered
	Gone           bool                             `json:"gone,omitempty"`        // its id never comes back
	Unavailability Message[*mesosv1.Unavailability] `json:"unavailability,omitzero"`
	Down           bool                             `json:"down,omitempty"` // for maintenance: its tasks are lost, and it is deactivated
}

// Drain says that every task of an agent is to end.
type Drain struct {
	MaxGrace *metav1.Duration `json:"maxGrace,omitempty"` // for a task to end; nil: what the task says
	MarkGone bool             `json:"markGone,omitempty"` // once it is drained
}

// AgentStatus is what mesos/agents says of it.
type AgentStatus struct {
	ID           string       `json:"id,omitempty"`
	Registered   *metav1.Time `json:"registered,omitempty"`
	Reregistered *metav1.Time `json:"reregistered,omitempty"`
	Unreachable  *metav1.Time `json:"unreachable,omitempty"` // since when; nil: it answers
}

// AgentFrom reads an agent out of tables.CustomObjects or a client's answer.
func AgentFrom(u *unstructured.Unstructured) (*Agent, error) {
	a := &Agent{}
	return a, read(u, a)
}

// Unstructured returns the agent as a custom object.
func (a *Agent) Unstructured() (*unstructured.Unstructured, error) {
	a.SetGroupVersionKind(AgentKind)
	return write(a)
}

func read(u *unstructured.Unstructured, into any) error {
	b, err := json.Marshal(u.Object)
	if err == nil {
		err = json.Unmarshal(b, into)
	}
	if err != nil {
		return fmt.Errorf("reading %s %s: %w", u.GetKind(), object.KeyOf(u), err)
	}
	return nil
}

// write returns v as an object of a custom resource holds it, whole numbers as int64.
func write(v any) (*unstructured.Unstructured, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	u := &unstructured.Unstructured{}
	return u, utiljson.Unmarshal(b, &u.Object)
}

//go:embed framework.yaml agent.yaml
var definitions embed.FS

// Definitions returns the definitions of the kinds.
func Definitions() (kinds []*apiextensionsv1.CustomResourceDefinition, err error) {
	for _, file := range []string{"framework.yaml", "agent.yaml"} {
		b, err := definitions.ReadFile(file)
		if err != nil {
			return nil, err
		}
		d := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.UnmarshalStrict(b, d); err != nil {
			return nil, fmt.Errorf("reading the definition of Mesos' kinds, %s: %w", file, err)
		}
		apiextensionsv1.SetDefaults_CustomResourceDefinition(d)
		apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&d.Spec)
		kinds = append(kinds, d)
	}
	return kinds, nil
}
