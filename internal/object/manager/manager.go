// Package manager holds our own kind Manager: the machines that hold the cluster's state, as the
// one that leads knows them. To delete one takes that machine out.
//
// It is pure. Who writes them, and nobody else does: server.
package manager

import (
	_ "embed"
	"fmt"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// The kind is served as this resource.
var (
	Group    = schema.GroupVersion{Group: "trireme.dev", Version: "v1"}
	Managers = Group.WithResource("managers")
	Kind     = Group.WithKind("Manager")
)

// Finalizer keeps a Manager until its machine has been taken out.
const Finalizer = "trireme.dev/member"

// The states of a manager.
const (
	Leader   = "Leader"
	Follower = "Follower"
	Learner  = "Learner" // it has not caught up: it has no vote
)

// Manager is one, with the name of its machine.
type Manager struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Status            Status `json:"status"`
}

// Status says how it stands.
type Status struct {
	State string `json:"state,omitempty"`
	// Unreachable is set where the one that leads does not reach it.
	Unreachable bool   `json:"unreachable,omitempty"`
	Address     string `json:"address,omitempty"` // HOST:PORT where other managers reach it
	ID          string `json:"id,omitempty"`      // of its member of the log, in hexadecimal
	Message     string `json:"message,omitempty"` // why it is not taken out yet, where it is to be
}

//go:embed manager.yaml
var definition []byte

// Definition returns the definition of the kind.
func Definition() (*apiextensionsv1.CustomResourceDefinition, error) {
	d := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(definition, d); err != nil {
		return nil, fmt.Errorf("reading the definition of managers: %w", err)
	}
	apiextensionsv1.SetDefaults_CustomResourceDefinition(d)
	apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&d.Spec)
	return d, nil
}
