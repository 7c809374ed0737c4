package placing

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Cases are the workloads that docs/performance.md reports.
func Cases() []Case {
	cases := []Case{
		{Name: "engine_1k_100k_per_s", Nodes: 1000, Pods: 100_000, Node: largeNode},
		{Name: "engine_5k_basic_per_s", Nodes: 5000, Held: 100_000, Pods: 10_000, Pod: barePod},
		{Name: "engine_5k_nodeaffinity_per_s", Nodes: 5000, Held: 100_000, Pods: 10_000, Pod: affinePod},
		{Name: "engine_5k_extended_per_s", Nodes: 5000, Held: 100_000, Pods: 10_000, Pod: devicePod},
		{Name: "engine_5k_distinct_per_s", Nodes: 5000, Held: 100_000, Pods: 10_000, Pod: distinctPod},
	}
	return append(cases, companyCases()...)
}

// Slope is the basic workload at other sizes: as many nodes, half full, and pods of one template; with distinct
// every pod has a specification of its own.
func Slope(nodes int, distinct bool) Case {
	c := Case{Name: "engine_slope", Nodes: nodes, Held: 20 * nodes, Pods: min(10_000, 15*nodes), Pod: barePod}
	if distinct {
		c.Pod = distinctPod
	}
	return c
}

func nodeName(i int) string { return fmt.Sprintf("node-%05d", i) }

// PlainNode is a node of 4 cpus for 110 pods in one of ten zones, with four devices.
func PlainNode(i int) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: nodeName(i), Labels: map[string]string{
			corev1.LabelHostname: nodeName(i), corev1.LabelTopologyZone: fmt.Sprintf("zone-%d", i%10), "rank": fmt.Sprint(i % 100),
		}},
		Status: corev1.NodeStatus{
			Allocatable: corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourceMemory: resource.MustParse("32Gi"),
				corev1.ResourcePods: resource.MustParse("110"), "example.com/device": resource.MustParse("4"),
			},
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
		},
	}
}

// largeNode has room for a tenth of a thousand pods.
func largeNode(i int) *corev1.Node {
	n := PlainNode(i)
	n.Status.Allocatable[corev1.ResourceMemory] = resource.MustParse("64Gi")
	n.Status.Allocatable[corev1.ResourceCPU], n.Status.Allocatable[corev1.ResourcePods] = resource.MustParse("16"), resource.MustParse("250")
	return n
}

func pod(name, owner string) *corev1.Pod {
	yes := true
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name), Labels: map[string]string{"app": owner}},
		Spec: corev1.PodSpec{SchedulerName: corev1.DefaultSchedulerName, Containers: []corev1.Container{{
			Name: "c", Image: "registry.example.com/app:1", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("500Mi"),
			}},
		}}},
	}
	if owner != "" {
		p.OwnerReferences = []metav1.OwnerReference{{UID: types.UID(owner), Name: owner, Kind: "ReplicaSet", APIVersion: "apps/v1", Controller: &yes}}
	}
	return p
}

// ServicePod is one of the replicas of one owner.
func ServicePod(i int) *corev1.Pod { return pod(fmt.Sprintf("task-%06d", i), "service") }

// HeldPod is one of ten replicas.
func HeldPod(i int) *corev1.Pod {
	return pod(fmt.Sprintf("held-%06d", i), fmt.Sprintf("owner-%05d", i/10))
}

func barePod(i int) *corev1.Pod { return pod(fmt.Sprintf("pod-%06d", i), "") }

// affinePod may run in two of ten zones.
func affinePod(i int) *corev1.Pod {
	p := barePod(i)
	p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
		NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{
			{Key: corev1.LabelTopologyZone, Operator: corev1.NodeSelectorOpIn, Values: []string{"zone-1", "zone-2"}},
		}}},
	}}}
	return p
}

// devicePod wants one of a node's devices.
func devicePod(i int) *corev1.Pod {
	p := barePod(i)
	p.Spec.Containers[0].Resources.Requests["example.com/device"] = resource.MustParse("1")
	return p
}

// distinctPod is like no other: its demand, its owner, and where it may run.
func distinctPod(i int) *corev1.Pod {
	p := pod(fmt.Sprintf("pod-%06d", i), fmt.Sprintf("own-%06d", i))
	asks := p.Spec.Containers[0].Resources.Requests
	asks[corev1.ResourceCPU] = *resource.NewMilliQuantity(int64(50+i%100), resource.DecimalSI)
	asks[corev1.ResourceMemory] = *resource.NewQuantity(int64(400<<20+i), resource.BinarySI)
	p.Spec.Tolerations = []corev1.Toleration{{Key: fmt.Sprintf("dedicated-%06d", i), Operator: corev1.TolerationOpExists}}
	switch i % 4 {
	case 0:
		p.Spec.NodeSelector = map[string]string{corev1.LabelTopologyZone: fmt.Sprintf("zone-%d", i%10)}
	case 1:
		p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{
				{Key: "rank", Operator: corev1.NodeSelectorOpGt, Values: []string{fmt.Sprint(i % 40)}},
				{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpNotIn, Values: []string{nodeName(i % 5000)}},
			}}},
		}}}
	}
	return p
}
