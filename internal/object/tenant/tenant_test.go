package tenant

import (
	"context"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	crvalidation "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"
)

// definitionOf returns the definition as the API server reads it.
func definitionOf(t *testing.T) *apiextensions.CustomResourceDefinition {
	t.Helper()
	d, err := Definition()
	if err != nil {
		t.Fatal(err)
	}
	d.Status.StoredVersions = []string{"v1"}
	out := &apiextensions.CustomResourceDefinition{}
	if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(d, out, nil); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestDefinition(t *testing.T) {
	d := definitionOf(t)
	if d.Name != Tenants.Resource+"."+Group.Group || d.Spec.Names.Kind != Kind.Kind {
		t.Error(d)
	}
	for _, err := range validation.ValidateCustomResourceDefinition(t.Context(), d) {
		t.Error(err)
	}
}

// TestRules tries the rules on Tenants as users write them.
func TestRules(t *testing.T) {
	d := definitionOf(t)
	props := d.Spec.Validation
	if props == nil {
		props = d.Spec.Versions[0].Schema
	}
	structural, err := schema.NewStructural(props.OpenAPIV3Schema)
	if err != nil {
		t.Fatal(err)
	}
	rules := cel.NewValidator(structural, true, celconfig.PerCallLimit)
	shape, _, err := crvalidation.NewSchemaValidator(props.OpenAPIV3Schema)
	if err != nil {
		t.Fatal(err)
	}
	for text, good := range map[string]bool{
		"{}":                                   true,
		"{path: eng/web, weight: 1.5}":         true,
		"{path: '*'}":                          true,
		"{limit: {cpu: 4, memory: 1Gi}}":       true,
		"{limit: {cpu: '0'}}":                  true,
		"{guarantee: {cpu: 500m}}":             true,
		"{path: a//b}":                         false,
		"{path: -a}":                           false,
		"{path: 'a b'}":                        false,
		"{weight: 0}":                          false,
		"{weight: -1}":                         false,
		"{limit: {cpu: much}}":                 false,
		"{limit: {cpu: -1}}":                   false,
		"{guarantee: {cpu: '-1'}}":             false,
		"{path: a/b, guarantee: {cpu: 1}}":     false,
		"{path: a/b, limit: {cpu: 1, gpu: 2}}": true,
	} {
		var o map[string]any
		if err := yaml.Unmarshal([]byte("{apiVersion: trireme.dev/v1, kind: Tenant, metadata: {name: x}, spec: "+text+"}"), &o); err != nil {
			t.Fatal(err)
		}
		whole(o)
		errs := crvalidation.ValidateCustomResource(nil, o, shape)
		if len(errs) == 0 {
			errs, _ = rules.Validate(context.Background(), nil, structural, o, nil, celconfig.RuntimeCELCostBudget)
		}
		if (len(errs) == 0) != good {
			t.Errorf("%s: %v", text, errs)
		}
	}
}

// whole makes whole numbers int64, as the API server's decoder does.
func whole(o map[string]any) {
	for k, v := range o {
		switch v := v.(type) {
		case float64:
			if v == float64(int64(v)) {
				o[k] = int64(v)
			}
		case map[string]any:
			whole(v)
		}
	}
}
