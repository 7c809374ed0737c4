package policy

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/object/mesos"
)

// TestCheckMark: a template cannot say that its pods are tasks of a framework.
func TestCheckMark(t *testing.T) {
	owner := &metav1.ObjectMeta{Name: "f", UID: "u"}
	pod := func(marked bool, refs ...metav1.OwnerReference) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{OwnerReferences: refs}}
		if marked {
			p.Labels = map[string]string{mesos.FrameworkLabel: "f"}
		}
		return p
	}
	framework := object.ControllerRef(owner, mesos.FrameworkKind)
	set := framework
	set.APIVersion, set.Kind = "apps/v1", "ReplicaSet"
	for name, tt := range map[string]struct {
		pod    *corev1.Pod
		denied bool
	}{
		"a plain pod":           {pod(false, set), false},
		"a framework's":         {pod(true, framework), false},
		"a replica set's":       {pod(true, set), true},
		"nobody's":              {pod(true), true},
		"no controller, though": {pod(true, metav1.OwnerReference{APIVersion: framework.APIVersion, Kind: framework.Kind, Name: "f"}), true},
	} {
		if err := checkMark(tt.pod); kind.Is(err, kind.Denied) != tt.denied || (err != nil) != tt.denied {
			t.Errorf("%s: %v", name, err)
		}
	}
}
