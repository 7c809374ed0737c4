package mesos

import (
	"testing"

	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	mesosv1 "trireme/internal/mesos/v1"
)

func TestNamespaceIsAPlaceOfItsOwn(t *testing.T) {
	seen := map[string]string{}
	for role, want := range map[string]string{"*": "default", "": "default", "ads": "ads", "kube-system": "kube-system", "default": "", "a/b": "", "a-b": "a-b", "Ads": "", "ä": "", "a.b": ""} {
		ns := Namespace(role)
		if want != "" && ns != want || len(validation.IsDNS1123Label(ns)) > 0 {
			t.Errorf("role %q: namespace %q", role, ns)
		}
		if other, ok := seen[ns]; ok && role != "" && other != "" {
			t.Errorf("roles %q and %q share the namespace %q", role, other, ns)
		}
		seen[ns] = role
	}
	if got := Role(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: Namespace("a/b"), Annotations: map[string]string{RoleAnnotation: "a/b"}}}); got != "a/b" {
		t.Errorf("role of the namespace of a/b: %q", got)
	}
}

func TestIDsCount(t *testing.T) {
	system := &corev1.Namespace{}
	system.UID = "u"
	for _, want := range []string{"u-0000", "u-0001"} {
		if got := FrameworkID(MasterID(system), Next(system, FrameworksAnnotation)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if name := FrameworkName("My_Framework/1"); len(validation.IsDNS1123Subdomain(name)) > 0 {
		t.Errorf("name %q", name)
	}
}

func TestFrameworkIsKeptWordForWord(t *testing.T) {
	f := &Framework{}
	f.Name = "u-0000"
	f.Spec = FrameworkSpec{ID: "u-0000", User: "ann", Suppressed: []string{"a"}, Info: Message[*mesosv1.FrameworkInfo]{&mesosv1.FrameworkInfo{
		User: proto.String("root"), Name: proto.String("x"), FailoverTimeout: proto.Float64(1e6), Roles: []string{"a", "b"},
		Capabilities: []*mesosv1.FrameworkInfo_Capability{{Type: mesosv1.FrameworkInfo_Capability_MULTI_ROLE.Enum()}},
	}}}
	u, err := f.Unstructured()
	if err != nil {
		t.Fatal(err)
	}
	back, err := FrameworkFrom(u)
	if err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(back.Spec.Info.M, f.Spec.Info.M) || back.Spec.Constraints.M != nil || len(back.Roles()) != 2 {
		t.Errorf("read back as %+v", back.Spec)
	}
}

func TestDefinitions(t *testing.T) {
	kinds, err := Definitions()
	if err != nil || len(kinds) != 2 {
		t.Fatal(kinds, err)
	}
}
