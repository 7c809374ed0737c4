package gang

import (
	"strings"
	"testing"

	schedulingv1alpha3 "k8s.io/api/scheduling/v1alpha3"
	"sigs.k8s.io/yaml"
)

func group(t *testing.T, spec string) *schedulingv1alpha3.PodGroup {
	t.Helper()
	g := &schedulingv1alpha3.PodGroup{}
	g.Namespace, g.Name, g.ResourceVersion = "default", "g", "1"
	if err := yaml.UnmarshalStrict([]byte(spec), &g.Spec); err != nil {
		t.Fatal(err)
	}
	return g
}

func TestObject(t *testing.T) {
	for _, c := range []struct{ spec, want string }{
		{"{schedulingPolicy: {gang: {minCount: 2}}, schedulingConstraints: {topology: [{key: topology.kubernetes.io/zone}]}, disruptionMode: {single: {}}}", ""},
		{"{schedulingPolicy: {basic: {}}}", ""},
		{"{}", "spec.schedulingPolicy: Required"},
		{"{schedulingPolicy: {basic: {}, gang: {minCount: 1}}}", "spec.schedulingPolicy: Invalid"},
		{"{schedulingPolicy: {gang: {minCount: 0}}}", "spec.schedulingPolicy.gang.minCount: Invalid"},
		{"{schedulingPolicy: {basic: {}}, schedulingConstraints: {topology: [{key: zone}]}}", "spec.schedulingConstraints.topology: Forbidden"},
		{"{schedulingPolicy: {gang: {minCount: 1}}, schedulingConstraints: {topology: [{key: a}, {key: b}]}}", "spec.schedulingConstraints.topology: Too many"},
		{"{schedulingPolicy: {gang: {minCount: 1}}, schedulingConstraints: {topology: [{key: 'no key'}]}}", "spec.schedulingConstraints.topology[0].key: Invalid"},
		{"{schedulingPolicy: {gang: {minCount: 1}}, priority: 5}", "spec.priority: Forbidden"},
		{"{schedulingPolicy: {gang: {minCount: 1}}, disruptionMode: {all: {}}}", "spec.disruptionMode.all: Forbidden"},
		{"{schedulingPolicy: {gang: {minCount: 1}}, resourceClaims: [{name: gpu, resourceClaimName: c}]}", "spec.resourceClaims: Forbidden"},
		{"{schedulingPolicy: {gang: {minCount: 1}}, parentCompositePodGroupName: p}", "spec.parentCompositePodGroupName: Forbidden"},
	} {
		errs, known := Object(group(t, c.spec))
		text := ""
		if err := errs.ToAggregate(); err != nil {
			text = err.Error()
		}
		if !known || c.want == "" && text != "" || !strings.HasPrefix(text, c.want) {
			t.Errorf("%s: %q, want %q", c.spec, text, c.want)
		}
	}
	g := group(t, "{schedulingPolicy: {gang: {minCount: 2}}}")
	g.Annotations = map[string]string{"scheduling.trireme.dev/timeout": "soon"}
	if errs, _ := Object(g); len(errs) != 1 {
		t.Errorf("a timeout that is none: %v", errs)
	}
}

func TestUpdate(t *testing.T) {
	old := group(t, "{schedulingPolicy: {gang: {minCount: 2}}}")
	for _, c := range []struct {
		spec string
		ok   bool
	}{
		{"{schedulingPolicy: {gang: {minCount: 3}}}", true},
		{"{schedulingPolicy: {basic: {}}}", false},
		{"{schedulingPolicy: {gang: {minCount: 2}}, schedulingConstraints: {topology: [{key: zone}]}}", false},
	} {
		if errs := Update(group(t, c.spec), old); (len(errs) == 0) != c.ok {
			t.Errorf("%s: %v", c.spec, errs)
		}
	}
}
