// Package plan holds our own kind Plan: a question that is answered and not kept, as a review is.
// "If these objects were applied, or these nodes drained: where would pods go, which would have
// to leave for them, which would not fit?" (docs/scheduling.md)
//
// It is pure. Who answers: whatif, through api/kube/plans.
package plan

import (
	_ "embed"
	"encoding/json"
	"fmt"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// The kind is served as this resource.
var (
	Group = schema.GroupVersion{Group: "trireme.dev", Version: "v1"}
	Plans = Group.WithResource("plans")
	Kind  = Group.WithKind("Plan")
)

// Plan is one question, with its answer.
type Plan struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              Spec   `json:"spec"`
	Status            Status `json:"status"`
}

// Spec is the question.
type Spec struct {
	Namespace string            `json:"namespace,omitempty"` // of objects that name none; empty: default
	Objects   []json.RawMessage `json:"objects,omitempty"`   // to be applied, in this order
	Drain     []string          `json:"drain,omitempty"`     // names of nodes
}

// Status is the answer. Its lists are in order of namespace and name.
type Status struct {
	Fits      bool      `json:"fits"`                // every pod has a node, and nothing is refused or blocked
	Pods      []Pod     `json:"pods"`                // that would be made
	Kept      int       `json:"kept"`                // pods of the objects that are there already and would stay as they are
	Preempted []Leaving `json:"preempted,omitempty"` // that would have to go for them
	Replaced  []Leaving `json:"replaced,omitempty"`  // of the objects or of the nodes, that would go
	Blocked   []Blocked `json:"blocked,omitempty"`   // that disruption budgets keep on a node that is drained
	Refused   []Refused `json:"refused,omitempty"`   // what policy does not let in
}

// Ref names an object.
type Ref struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

// String returns the reference as "Kind name".
func (r Ref) String() string { return r.Kind + " " + r.Name }

// Pod is a pod that would be made.
type Pod struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Of        Ref    `json:"of"`             // what it is of; itself where it is nothing's
	Node      string `json:"node,omitempty"` // where it would go; empty: nowhere
	Why       string `json:"why,omitempty"`  // it would go nowhere
}

// Leaving is a pod that would go.
type Leaving struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Of        Ref    `json:"of"`
	Node      string `json:"node"`
	Lost      bool   `json:"lost,omitempty"` // nobody makes another in its place
}

// Blocked is a pod that would stay where it is.
type Blocked struct {
	Leaving
	Budget string `json:"budget,omitempty"`
	Why    string `json:"why"`
}

// Refused is what would not be let in.
type Refused struct {
	Ref
	Why string `json:"why"`
}

//go:embed plan.yaml
var definition []byte

// Definition returns the definition of the kind.
func Definition() (*apiextensionsv1.CustomResourceDefinition, error) {
	d := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(definition, d); err != nil {
		return nil, fmt.Errorf("reading the definition of plans: %w", err)
	}
	apiextensionsv1.SetDefaults_CustomResourceDefinition(d)
	apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&d.Spec)
	return d, nil
}
