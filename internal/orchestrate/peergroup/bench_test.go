package peergroup_test

import (
	"fmt"
	"strings"
	"testing"

	"trireme/internal/loop/looptest"
	"trireme/internal/object"
	"trireme/internal/orchestrate/peergroup"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// BenchmarkOnePod is the step that follows a pod whose labels change, among 10,000
// pods on 100 nodes and policies of as many groups.
func BenchmarkOnePod(b *testing.B) {
	for _, groups := range []int{1, 200} {
		b.Run(fmt.Sprintf("groups=%d", groups), func(b *testing.B) {
			w := looptest.New(b, all())
			var docs strings.Builder
			docs.WriteString("{apiVersion: v1, kind: Namespace, metadata: {name: default}}\n")
			for i := range groups {
				fmt.Fprintf(&docs, "---\n{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p%d}, spec: {podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: a%d}}}]}]}}\n", i, i)
			}
			for i := range 10000 {
				fmt.Fprintf(&docs, "---\n{apiVersion: v1, kind: Pod, metadata: {name: web-%05d, labels: {app: a0}}, spec: {nodeName: n%d}, status: {podIP: 10.128.%d.%d}}\n", i, i%100, i%100, i/100+2)
			}
			w.Put(docs.String())
			r := w.Runner(peergroup.New())
			w.Settle(r)
			key := object.Key{Namespace: "default", Name: "web-00007"}
			for i := 0; b.Loop(); i++ {
				w.Update(func(tx *store.Tx) {
					pod, _ := tables.Pods.Get(tx, key)
					next := pod.DeepCopy()
					next.Labels = map[string]string{"app": []string{"none", "a0"}[i%2]}
					tables.Pods.Put(tx, next)
				})
				w.Settle(r)
			}
		})
	}
}
