package replicaset_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/kind"
	"trireme/internal/loop"
	"trireme/internal/loop/looptest"
	"trireme/internal/orchestrate/replicaset"
	"trireme/internal/orchestrate/sow"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// pods allows as many pods as the quotas of their namespace say.
func pods(tx *store.Tx, pod *corev1.Pod) error {
	n := int64(0)
	for range tables.Pods.Rows(tx, pod.Namespace) {
		n++
	}
	for q := range tables.ResourceQuotas.In(tx, pod.Namespace) {
		if limit, ok := q.Spec.Hard[corev1.ResourcePods]; ok && n >= limit.Value() {
			return kind.New(kind.Denied, "pods %q is forbidden: exceeded quota: %s", pod.Name, q.Name)
		}
	}
	return nil
}

func TestScripts(t *testing.T) {
	looptest.Scripts(t, "testdata/*.txtar", append(tables.All(), tables.Samples()...), func() []loop.Reconciler {
		rules := sow.Rules{Allow: pods}
		return []loop.Reconciler{replicaset.New(rules), replicaset.NewControllers(rules)}
	})
}
