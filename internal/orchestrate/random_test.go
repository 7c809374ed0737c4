package orchestrate_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/loop/looptest"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// TestRandomLife does what users, agents and accidents do, in an order drawn from
// a seed. After each of them the loops come to rest, and loops that were just
// made find nothing to do: what the others kept in their caches was true.
func TestRandomLife(t *testing.T) {
	seeds, deeds := 20, 60
	if testing.Short() {
		seeds = 5
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			l := &life{World: looptest.New(t, append(tables.All(), tables.Samples()...)), Rand: rand.New(rand.NewPCG(uint64(seed), 1))}
			l.Put("{apiVersion: v1, kind: Namespace, metadata: {name: default}, spec: {finalizers: [kubernetes]}, status: {phase: Active}}")
			r := l.Runner(loops()...)
			for i := range deeds {
				what := l.deed()
				l.Settle(r)
				l.AtRest(fmt.Sprintf("deed %d, %s", i, what), loops())
			}
		})
	}
}

// life is a World in which things happen.
type life struct {
	*looptest.World
	*rand.Rand
	bound bool // there are loops that give pods nodes and addresses
}

// deed does one thing and says what.
func (l *life) deed() string {
	n := l.IntN(4)
	switch l.IntN(23) {
	case 0, 1:
		l.Put(fmt.Sprintf(`{apiVersion: apps/v1, kind: Deployment, metadata: {name: d%d, generation: %d}, spec: {replicas: %d, minReadySeconds: %d, revisionHistoryLimit: 1, progressDeadlineSeconds: 60,
 strategy: {type: %s}, selector: {matchLabels: {app: d%d}}, template: {metadata: {labels: {app: d%d}}, spec: {containers: [{name: c, image: "i:%d"}]}}}}`,
			n, l.IntN(1000), l.IntN(5), 5*l.IntN(2), []string{"RollingUpdate", "Recreate"}[l.IntN(2)], n, n, l.IntN(3)))
		return "apply deployment"
	case 2:
		return l.remove("deployment", tables.Deployments.Any())
	case 3, 4, 5:
		return l.pods("start", func(p *corev1.Pod) {
			if l.bound && p.Spec.NodeName == "" {
				return
			}
			if !l.bound {
				p.Spec.NodeName, p.Status.PodIP = fmt.Sprintf("n%d", l.IntN(3)), fmt.Sprintf("10.128.0.%d", l.IntN(250))
			}
			p.Status.Phase = corev1.PodRunning
			ready(p, l.Now(), corev1.ConditionTrue)
		})
	case 6:
		return l.pods("unready", func(p *corev1.Pod) { ready(p, l.Now(), corev1.ConditionFalse) })
	case 7:
		return l.pods("fail", func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed })
	case 8:
		return l.pods("relabel", func(p *corev1.Pod) { p.Labels = map[string]string{"app": fmt.Sprintf("d%d", l.IntN(4))} })
	case 9:
		return l.remove("pod", tables.Pods.Any())
	case 10:
		return l.end()
	case 11:
		l.Put(fmt.Sprintf(`{apiVersion: v1, kind: Service, metadata: {name: s%d}, spec: {publishNotReadyAddresses: %v, selector: {app: d%d}, ports: [{port: %d, protocol: TCP}]}}`, n, l.IntN(2) == 0, l.IntN(4), 80+l.IntN(2)))
		return "apply service"
	case 12:
		return l.remove("service", tables.Services.Any())
	case 13, 14:
		l.node(n, []string{"True", "True", "False", "Unknown"}[l.IntN(4)], l.IntN(2) == 0)
		return "node"
	case 15:
		return l.remove("node", tables.Nodes.Any())
	case 16, 17:
		l.statefulSet(n)
		return "apply stateful set"
	case 18:
		return l.remove("stateful set", tables.StatefulSets.Any())
	case 19, 20:
		l.daemonSet(n)
		return "apply daemon set"
	case 21:
		return l.remove("daemon set", tables.DaemonSets.Any())
	default:
		l.Advance(time.Duration(l.IntN(90)) * time.Second)
		return "wait"
	}
}

func (l *life) statefulSet(n int) {
	l.Put(fmt.Sprintf(`{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: t%d, generation: %d}, spec: {replicas: %d, minReadySeconds: %d, revisionHistoryLimit: 1, serviceName: s,
 podManagementPolicy: %s, ordinals: {start: %d}, updateStrategy: {type: %s}, persistentVolumeClaimRetentionPolicy: {whenScaled: %s, whenDeleted: %s},
 volumeClaimTemplates: [{metadata: {name: data}}], selector: {matchLabels: {app: d%d}}, template: {metadata: {labels: {app: d%d}}, spec: {containers: [{name: c, image: "i:%d"}]}}}}`,
		n, l.IntN(1000), l.IntN(4), 5*l.IntN(2), l.either("OrderedReady", "Parallel"), l.IntN(2), l.either("RollingUpdate", "OnDelete"),
		l.either("Retain", "Delete"), l.either("Retain", "Delete"), n, n, l.IntN(3)))
}

func (l *life) daemonSet(n int) {
	l.Put(fmt.Sprintf(`{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: e%d, generation: %d}, spec: {minReadySeconds: %d, revisionHistoryLimit: 1,
 updateStrategy: {type: %s, rollingUpdate: {%s}}, selector: {matchLabels: {app: d%d}}, template: {metadata: {labels: {app: d%d}}, spec: {containers: [{name: c, image: "i:%d"}]}}}}`,
		n, l.IntN(100000), 5*l.IntN(2), l.either("RollingUpdate", "OnDelete"), l.either("maxSurge: 1", "maxUnavailable: 1"), n, n, l.IntN(3)))
}

func (l *life) either(a, b string) string { return []string{a, b}[l.IntN(2)] }

// node writes a node as its agent and an administrator would.
func (l *life) node(n int, ready string, cordoned bool) {
	l.Put(fmt.Sprintf(`{apiVersion: v1, kind: Node, metadata: {name: n%d}, spec: {unschedulable: %v},
 status: {conditions: [{type: Ready, status: "%s"}], addresses: [{type: InternalIP, address: 192.168.0.%d}],
 capacity: {cpu: "4", memory: 8Gi, pods: "110"}, allocatable: {cpu: "4", memory: 8Gi, pods: "110"}}}`, n, cordoned, ready, n+1))
}

func ready(p *corev1.Pod, now time.Time, status corev1.ConditionStatus) {
	object.SetPodCondition(p, corev1.PodCondition{Type: corev1.PodReady, Status: status, LastTransitionTime: metav1.NewTime(now.Truncate(time.Second))})
}

// pods changes some of the pods.
func (l *life) pods(what string, f func(*corev1.Pod)) string {
	l.Update(func(tx *store.Tx) {
		for _, p := range slices.Collect(tables.Pods.All(tx)) {
			if l.IntN(2) == 0 {
				next := p.DeepCopy()
				f(next)
				tables.Pods.Put(tx, next)
			}
		}
	})
	return what + " pods"
}

// remove takes one row away.
func (l *life) remove(what string, table *store.Table[store.Object, any]) string {
	l.Update(func(tx *store.Tx) {
		if all := slices.Collect(table.All(tx)); len(all) > 0 {
			table.Delete(tx, object.KeyOf(all[l.IntN(len(all))]))
		}
	})
	return "remove " + what
}

// end deletes one object of any kind as a door would.
func (l *life) end() string {
	what := "end"
	l.Update(func(tx *store.Tx) {
		table := []*store.Table[store.Object, any]{tables.Deployments.Any(), tables.ReplicaSets.Any(), tables.Pods.Any(), tables.Services.Any(), tables.EndpointSlices.Any(),
			tables.StatefulSets.Any(), tables.ControllerRevisions.Any(), tables.PersistentVolumeClaims.Any(), tables.DaemonSets.Any()}[l.IntN(9)]
		all := slices.Collect(table.All(tx))
		if len(all) == 0 {
			return
		}
		o := all[l.IntN(len(all))].DeepCopyObject().(store.Object)
		policy := []metav1.DeletionPropagation{metav1.DeletePropagationBackground, metav1.DeletePropagationForeground, metav1.DeletePropagationOrphan}[l.IntN(3)]
		remove, changed := object.Deletion{Now: tx.Now(), Policy: policy}.Mark(o)
		switch {
		case remove:
			table.Delete(tx, object.KeyOf(o))
		case changed:
			table.Put(tx, o)
		}
		what = fmt.Sprintf("end %s %s %s", table.ID(), o.GetName(), policy)
	})
	return what
}
