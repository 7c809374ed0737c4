package tables

import (
	"bytes"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
)

func encodedPod(t testing.TB, name, node string, phase corev1.PodPhase) []byte {
	t.Helper()
	p := &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"app": "a"}},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "c", Image: "registry.example.com/a:1", Args: []string{"--listen=:80"}}},
			Volumes:    []corev1.Volume{{Name: "v"}}, NodeName: node, HostNetwork: true, SchedulerName: "default-scheduler",
		},
		Status: corev1.PodStatus{Phase: phase},
	}
	var b bytes.Buffer
	if err := protobuf.NewSerializer(runtime.NewScheme(), runtime.NewScheme()).Encode(p, &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestSpecOf checks that replicas have the same part in common whatever their
// names, nodes and states are, and that it is their containers and volumes.
func TestSpecOf(t *testing.T) {
	var parts [][]byte
	for _, b := range [][]byte{
		encodedPod(t, "a", "", corev1.PodPending), encodedPod(t, "a-longer-name", "node-1", corev1.PodRunning),
	} {
		from, to := specOf(b)
		parts = append(parts, b[from:to])
	}
	if len(parts[0]) == 0 || !bytes.Equal(parts[0], parts[1]) {
		t.Errorf("the parts differ:\n%q\n%q", parts[0], parts[1])
	}
	for _, want := range []string{"registry.example.com/a:1", "--listen=:80"} {
		if !bytes.Contains(parts[0], []byte(want)) {
			t.Errorf("%q is not in the common part", want)
		}
	}
	for _, not := range []string{"node-1", "default-scheduler"} {
		if bytes.Contains(parts[1], []byte(not)) {
			t.Errorf("%q is in the common part", not)
		}
	}
	if from, to := specOf([]byte(`{"kind":"Pod"}`)); from != to {
		t.Errorf("JSON has a common part: %d to %d", from, to)
	}
}

// FuzzSpecOf checks that any bytes have a part within them, or none.
func FuzzSpecOf(f *testing.F) {
	f.Add(encodedPod(f, "a", "n", corev1.PodRunning))
	f.Add([]byte("k8s\x00\x12\x05\x12\x03\x0a"))
	f.Add([]byte("k"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if from, to := specOf(b); from < 0 || to < from || to > len(b) {
			t.Errorf("%q: from %d to %d of %d", b, from, to, len(b))
		}
	})
}
