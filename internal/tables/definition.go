package tables

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1beta1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/store"
)

// DefinitionsByKind finds definitions by the group and kind of their objects, as
// schema.GroupKind writes them.
const DefinitionsByKind = "kind"

// Definition is what loops need to know of a CustomResourceDefinition.
type Definition struct {
	Group, Plural, Kind string
	Namespaced          bool
	Scales              map[string]*CustomScale // by version; those that have a subresource scale
}

// CustomScale says where a custom resource keeps its size, as names of fields.
type CustomScale struct {
	Replicas    []string
	Selector    []string // of its pods, as its status tells it; may be empty
	Least, Most *float64 // that the schema allows; nil: it does not say
}

// String returns the path of the replicas as a definition writes it.
func (s *CustomScale) String() string { return "." + strings.Join(s.Replicas, ".") }

// Allows returns why the schema does not allow n replicas.
func (s *CustomScale) Allows(n int32) error {
	if s.Least != nil && float64(n) < *s.Least {
		return kind.New(kind.Invalid, "%s: Invalid value: %d: should be greater than or equal to %v", s.String()[1:], n, *s.Least)
	}
	if s.Most != nil && float64(n) > *s.Most {
		return kind.New(kind.Invalid, "%s: Invalid value: %d: should be less than or equal to %v", s.String()[1:], n, *s.Most)
	}
	return nil
}

// scalesOf returns where the objects of a definition keep their size, by version.
func scalesOf(d *apiextensionsv1.CustomResourceDefinition) map[string]*CustomScale {
	var all map[string]*CustomScale
	for i := range d.Spec.Versions {
		v := &d.Spec.Versions[i]
		if v.Subresources == nil || v.Subresources.Scale == nil {
			continue
		}
		s := &CustomScale{Replicas: fields(v.Subresources.Scale.SpecReplicasPath)}
		if p := v.Subresources.Scale.LabelSelectorPath; p != nil {
			s.Selector = fields(*p)
		}
		if v.Schema != nil {
			at := v.Schema.OpenAPIV3Schema
			for _, name := range s.Replicas {
				if at != nil {
					at = property(at, name)
				}
			}
			if at != nil {
				s.Least, s.Most = at.Minimum, at.Maximum
			}
		}
		if all == nil {
			all = map[string]*CustomScale{}
		}
		all[v.Name] = s
	}
	return all
}

// fields splits a path as definitions write it, ".spec.replicas".
func fields(path string) []string {
	if path = strings.TrimPrefix(path, "."); path == "" {
		return nil
	}
	return strings.Split(path, ".")
}

func property(s *apiextensionsv1.JSONSchemaProps, name string) *apiextensionsv1.JSONSchemaProps {
	if p, ok := s.Properties[name]; ok {
		return &p
	}
	return nil
}

// CustomResourceDefinitions holds the definitions of custom kinds. Kubernetes
// stores them as JSON in v1beta1, which is understood; here they are v1.
var CustomResourceDefinitions = store.NewTable(store.Spec[*apiextensionsv1.CustomResourceDefinition, *Definition]{
	ID:     "customresourcedefinitions",
	GVK:    apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"),
	Prefix: "/registry/apiextensions.k8s.io/customresourcedefinitions/",
	Cold:   true,
	New:    func() *apiextensionsv1.CustomResourceDefinition { return &apiextensionsv1.CustomResourceDefinition{} },
	Older:  olderDefinition,
	Head: func(d *apiextensionsv1.CustomResourceDefinition) *Definition {
		return &Definition{d.Spec.Group, d.Spec.Names.Plural, d.Spec.Names.Kind, d.Spec.Scope == apiextensionsv1.NamespaceScoped, scalesOf(d)}
	},
	Indexes: map[string]func(*apiextensionsv1.CustomResourceDefinition) []string{
		OwnerIndex: owners[*apiextensionsv1.CustomResourceDefinition],
		DefinitionsByKind: func(d *apiextensionsv1.CustomResourceDefinition) []string {
			return []string{schema.GroupKind{Group: d.Spec.Group, Kind: d.Spec.Names.Kind}.String()}
		},
	},
})

// DefinitionOf returns the definition of a custom kind, nil where there is none.
func DefinitionOf(r store.Reader, gk schema.GroupKind) *Definition {
	for row := range CustomResourceDefinitions.By(r, DefinitionsByKind, gk.String()) {
		return row.Head()
	}
	return nil
}

// Place returns where an object of the kind lives; namespace counts where the
// kind has namespaces.
func (d *Definition) Place(namespace, name string) CustomPlace {
	if !d.Namespaced {
		namespace = ""
	}
	return CustomPlace{d.Group, d.Plural, object.Key{Namespace: namespace, Name: name}}
}

// olderDefinition reads a definition that was stored as v1beta1.
func olderDefinition(value []byte) (*apiextensionsv1.CustomResourceDefinition, bool, error) {
	if !bytes.HasPrefix(value, []byte("{")) || !bytes.Contains(value, []byte(v1beta1.SchemeGroupVersion.String())) {
		return nil, false, nil
	}
	var old v1beta1.CustomResourceDefinition
	if err := json.Unmarshal(value, &old); err != nil {
		return nil, true, err
	}
	if old.APIVersion != v1beta1.SchemeGroupVersion.String() {
		return nil, false, nil // it only speaks of it
	}
	hub, now := &apiextensions.CustomResourceDefinition{}, &apiextensionsv1.CustomResourceDefinition{}
	if err := v1beta1.Convert_v1beta1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(&old, hub, nil); err != nil {
		return nil, true, fmt.Errorf("reading the v1beta1 definition %s: %w", old.Name, err)
	}
	if err := apiextensionsv1.Convert_apiextensions_CustomResourceDefinition_To_v1_CustomResourceDefinition(hub, now, nil); err != nil {
		return nil, true, fmt.Errorf("reading the v1beta1 definition %s: %w", old.Name, err)
	}
	return now, true, nil
}
