package kube_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// TestTop: kubectl top shows what the tables of samples hold, with nothing installed.
func TestTop(t *testing.T) {
	needKubectl(t)
	d := serve(t)
	now := metav1.NewTime(time.Now())
	if _, err := d.store.Update(t.Context(), func(tx *store.Tx) error {
		tables.Nodes.Put(tx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Status: corev1.NodeStatus{Allocatable: quantities("2", "1Gi")}})
		tables.NodeSamples.Put(tx, &object.NodeSample{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, At: now, CPUNano: 500e6, MemoryBytes: 512 << 20})
		for _, name := range []string{"a", "b"} {
			tables.PodSamples.Put(tx, &object.PodSample{
				ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"app": name}}, At: now,
				Containers: []object.ContainerUse{{Name: "c", CPUNano: 250e6, MemoryBytes: 64 << 20}, {Name: "d", CPUNano: 1e6, MemoryBytes: 1 << 20}},
			})
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ args, want string }{
		{"top nodes --no-headers", "n1 500m 25% 512Mi 50%"},
		{"top pods --no-headers", "a 251m 65Mi b 251m 65Mi"},
		{"top pods --no-headers -A -l app=b", "default b 251m 65Mi"},
		{"top pod a --containers --no-headers", "a c 250m 64Mi a d 1m 1Mi"},
		{"get pods.metrics.k8s.io a --no-headers", "a 251m 65Mi 0s"},
		{"get --raw /apis/metrics.k8s.io/v1beta1/nodes/n1", `"usage":{"cpu":"500m","memory":"512Mi"}`},
	} {
		got := strings.Join(strings.Fields(d.must(t, "", strings.Fields(c.args)...)), " ")
		if !strings.Contains(got, c.want) {
			t.Errorf("kubectl %s:\n%s\nwant %s", c.args, got, c.want)
		}
	}
	if out, err := d.kubectl(t, "", "top", "pod", "nobody"); err == nil || !strings.Contains(out, "not found") {
		t.Errorf("a pod without a sample: %v\n%s", err, out)
	}
	// The kinds of one name in two groups stay apart.
	if out := d.must(t, "", "get", "nodes", "--no-headers"); !strings.Contains(out, "n1") || strings.Contains(out, "500m") {
		t.Errorf("get nodes:\n%s", out)
	}
}

func quantities(cpu, memory string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
}
