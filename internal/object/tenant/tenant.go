// Package tenant holds our own kind Tenant: the part of the cluster that a namespace, a stack or a
// role of Mesos has (docs/tenants.md). The three are one thing, and this says where it stands
// in the tree of shares, how much it counts there, what it has at least and what at most.
//
// A namespace without a Tenant counts 1, at the top of the tree, without bounds.
//
// It is pure. Who keeps to it: schedule, offer.
package tenant

import (
	_ "embed"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// The kind is served as this resource.
var (
	Group   = schema.GroupVersion{Group: "trireme.dev", Version: "v1"}
	Tenants = Group.WithResource("tenants")
	Kind    = Group.WithKind("Tenant")
)

// Tenant is one, with the name of its namespace. One whose namespace is not there stands for those
// below it alone.
type Tenant struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              Spec `json:"spec"`
}

// Spec says what it has.
type Spec struct {
	Path      string              `json:"path,omitempty"`   // in the tree; empty: the name, or the namespace's role of Mesos (tables.TenantPath)
	Weight    float64             `json:"weight,omitempty"` // 0: 1
	Guarantee corev1.ResourceList `json:"guarantee,omitempty"`
	Limit     corev1.ResourceList `json:"limit,omitempty"`
}

// Weight returns how much it counts.
func (t *Tenant) Weight() float64 {
	if t.Spec.Weight > 0 {
		return t.Spec.Weight
	}
	return 1
}

//go:embed tenant.yaml
var definition []byte

// Definition returns the definition of the kind.
func Definition() (*apiextensionsv1.CustomResourceDefinition, error) {
	d := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(definition, d); err != nil {
		return nil, fmt.Errorf("reading the definition of tenants: %w", err)
	}
	apiextensionsv1.SetDefaults_CustomResourceDefinition(d)
	apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&d.Spec)
	return d, nil
}
