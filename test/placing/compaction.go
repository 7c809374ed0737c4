package placing

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/loop"
	"trireme/internal/schedule"
	"trireme/internal/schedule/profile"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Strategies are those that are compared: the default, the same without spreading owners' pods, bin packing, and the ratio of what is asked for to what there is, as
// Kubernetes' documentation has it for packing extended resources.
func Strategies() []profile.Profile {
	plain := profile.Default()
	bare := plain
	bare.Owners = false
	most, ratio := bare, bare
	most.Strategy = profile.Most
	ratio.Strategy, ratio.Shape = profile.Ratio, []profile.Point{{Used: 0, Worth: 0}, {Used: 1, Worth: 1}}
	ratio.Resources = []profile.Resource{{Name: corev1.ResourceCPU, Weight: 1}, {Name: corev1.ResourceMemory, Weight: 1}, {Name: gpu, Weight: 3}}
	return []profile.Profile{plain, bare, most, ratio}
}

// StrategyNames are short names of Strategies, in their order.
var StrategyNames = []string{"least", "least_unspread", "most", "ratio"}

// Compaction is a cell and a workload to see how small the cell may get (Verma et al., "Evaluating job placement for Borg's cells": nodes
// are taken away at random until the workload does not fit any more, and is placed from scratch each time).
type Compaction struct {
	Seed   uint64
	Nodes  int
	Trials int
	Plain  bool // pods ask for room alone, and nodes are not tainted
}

// pendingPart is the part of the pods that may stay without a node: few that are picky do not say how large a cell has to be (as in Borg's evaluation).
const pendingPart = 0.002

// Compacted is which part of the nodes was needed in each trial, in percent, ascending.
type Compacted struct {
	Percent []float64
	Pods    int
	Seconds float64
}

// At returns the percentage that so much of the trials needed at most.
func (c Compacted) At(part float64) float64 {
	return c.Percent[min(len(c.Percent)-1, int(part*float64(len(c.Percent))))]
}

// Run compacts the cell with each of the profiles; all see the same nodes go in the same order.
func (c Compaction) Run(ctx context.Context, profiles []profile.Profile) ([]Compacted, error) {
	rng := rand.New(rand.NewPCG(c.Seed, 1))
	nodes := make([]*corev1.Node, c.Nodes)
	for i := range nodes {
		nodes[i] = mixedNode(rng, i)
	}
	pods := mixedPods(rng, nodes)
	if c.Plain {
		plain(nodes, pods)
	}
	made := 0
	base, err := store.Open(ctx, store.Config{Now: time.Now, NewID: func() types.UID { made++; return types.UID(fmt.Sprint(made)) }}, tables.Defs()...)
	if err != nil {
		return nil, err
	}
	if _, err := base.Update(ctx, func(tx *store.Tx) error {
		for _, p := range pods {
			tables.Pods.Put(tx, p)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	out := make([]Compacted, len(profiles))
	for i := range profiles {
		out[i].Pods = len(pods)
		start := time.Now()
		for trial := range c.Trials {
			order := rand.New(rand.NewPCG(c.Seed, uint64(2+trial))).Perm(len(nodes))
			need, err := least(len(nodes), func(n int) (bool, error) {
				left := make([]*corev1.Node, n)
				for j := range left {
					left[j] = nodes[order[j]]
				}
				waiting, err := pack(ctx, base, left, profiles[i])
				return float64(waiting) <= pendingPart*float64(len(pods)), err
			})
			if err != nil {
				return nil, err
			}
			out[i].Percent = append(out[i].Percent, 100*float64(need)/float64(len(nodes)))
		}
		slices.Sort(out[i].Percent)
		out[i].Seconds = time.Since(start).Seconds()
	}
	return out, nil
}

// plain takes away what nodes and pods ask of each other beside room.
func plain(nodes []*corev1.Node, pods []*corev1.Pod) {
	for _, n := range nodes {
		n.Spec.Taints = nil
	}
	for _, p := range pods {
		s := &p.Spec
		s.NodeSelector, s.Affinity, s.TopologySpreadConstraints, s.Containers[0].Ports = nil, nil, nil, nil
		delete(s.Containers[0].Resources.Requests, gpu)
	}
}

// least returns the least number up to n that will do, taking it that more than that will, too. n has to.
func least(n int, do func(int) (bool, error)) (int, error) {
	if ok, err := do(n); err != nil || !ok {
		return 0, fmt.Errorf("the workload does not fit on all %d nodes: %w", n, err)
	}
	low := n / 4 // that many do not do
	for low+1 < n {
		mid := (low + n) / 2
		ok, err := do(mid)
		if err != nil {
			return 0, err
		}
		if ok {
			n = mid
		} else {
			low = mid
		}
	}
	return n, nil
}

// pack places all pods on the nodes from scratch, and returns how many have none.
func pack(ctx context.Context, base *store.Store, nodes []*corev1.Node, p profile.Profile) (waiting int, err error) {
	now := time.Unix(1_900_000_000, 0)
	s, err := base.Fork(base.Snapshot(), store.Config{Now: func() time.Time { return now }, HistoryEvents: 2 * loop.StepWritesMax})
	if err != nil {
		return 0, err
	}
	if _, err := s.Update(ctx, func(tx *store.Tx) error {
		for _, n := range nodes {
			tables.Nodes.Put(tx, n)
		}
		return nil
	}); err != nil {
		return 0, err
	}
	if err := loop.Settle(ctx, s, loop.Config{Now: func() time.Time { return now }}, schedule.New(schedule.Config{Profiles: []profile.Profile{p}})); err != nil {
		return 0, err
	}
	for row := range tables.Pods.Rows(s.Snapshot(), "") {
		if row.Head().Node == "" {
			waiting++
		}
	}
	return waiting, nil
}

const gpu = "example.com/gpu"

func chance(rng *rand.Rand, percent int) bool { return rng.IntN(100) < percent }

func oneOf[T any](rng *rand.Rand, list ...T) T { return list[rng.IntN(len(list))] }

// mixedNode is of one of five shapes, in one of four zones; every twentieth has devices, every twentieth is kept for batch work.
func mixedNode(rng *rand.Rand, i int) *corev1.Node {
	n := PlainNode(i)
	shape := oneOf(rng, [2]string{"8", "32Gi"}, [2]string{"8", "32Gi"}, [2]string{"16", "64Gi"}, [2]string{"32", "128Gi"}, [2]string{"16", "128Gi"}, [2]string{"32", "64Gi"})
	n.Labels[corev1.LabelTopologyZone] = fmt.Sprintf("zone-%d", rng.IntN(4))
	n.Labels["disk"] = oneOf(rng, "ssd", "ssd", "hdd", "hdd", "hdd")
	n.Status.Allocatable = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(shape[0]), corev1.ResourceMemory: resource.MustParse(shape[1]), corev1.ResourcePods: resource.MustParse("110")}
	switch i % 20 {
	case 3:
		n.Status.Allocatable[gpu] = resource.MustParse("4")
		n.Spec.Taints = []corev1.Taint{{Key: gpu, Value: "present", Effect: corev1.TaintEffectNoSchedule}}
	case 11:
		n.Spec.Taints = []corev1.Taint{{Key: "dedicated", Value: "batch", Effect: corev1.TaintEffectNoSchedule}}
	}
	return n
}

// mixedPods are the pods of jobs, large and small, that together ask for nearly two thirds of the cpu or the memory of the nodes.
func mixedPods(rng *rand.Rand, nodes []*corev1.Node) (pods []*corev1.Pod) {
	var cpu, memory, cpuAll, memoryAll int64
	for _, n := range nodes {
		cpuAll += n.Status.Allocatable.Cpu().MilliValue()
		memoryAll += n.Status.Allocatable.Memory().Value()
	}
	devices := len(nodes) / 20 // of four times as many
	for job := 0; float64(cpu) < 0.62*float64(cpuAll) && float64(memory) < 0.62*float64(memoryAll); job++ {
		first, replicas := mixedJob(rng, job, &devices)
		for i := range replicas {
			p := first.DeepCopy()
			p.Name, p.UID = fmt.Sprintf("job-%04d-%03d", job, i), types.UID(fmt.Sprintf("job-%04d-%03d", job, i))
			p.CreationTimestamp = metav1.Unix(1_800_000_000+int64(job), 0)
			asks := p.Spec.Containers[0].Resources.Requests
			cpu, memory = cpu+asks.Cpu().MilliValue(), memory+asks.Memory().Value()
			pods = append(pods, p)
		}
	}
	return pods
}

// mixedJob is the first of a job's pods, and how many there are.
func mixedJob(rng *rand.Rand, job int, devices *int) (*corev1.Pod, int) {
	name := fmt.Sprintf("job-%04d", job)
	p, replicas := pod(name, name), 1+int(float64(60)*rng.Float64()*rng.Float64()*rng.Float64())
	milli := oneOf[int64](rng, 100, 100, 250, 250, 500, 500, 1000, 1000, 2000, 4000)
	if chance(rng, 5) {
		milli, replicas = oneOf[int64](rng, 6000, 12000), min(replicas, 4)
	}
	priority, never := oneOf[int32](rng, 0, 100, 100, 1000), corev1.PreemptNever
	p.Spec.Priority, p.Spec.PreemptionPolicy = &priority, &never
	p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{
		corev1.ResourceCPU: *resource.NewMilliQuantity(milli, resource.DecimalSI), corev1.ResourceMemory: *resource.NewQuantity(milli*oneOf[int64](rng, 1, 2, 4, 4, 8)<<30/2000, resource.BinarySI),
	}
	about := &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}
	switch n := rng.IntN(100); {
	case n < 10:
		p.Spec.NodeSelector = map[string]string{"disk": "ssd"}
	case n < 20:
		replicas = min(replicas, 12)
		p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{TopologyKey: corev1.LabelHostname, LabelSelector: about}}}}
	case n < 32:
		p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{MaxSkew: 2, TopologyKey: corev1.LabelTopologyZone, WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: about}}
	case n < 40:
		replicas = min(replicas, 10)
		p.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80, HostPort: int32(8000 + rng.IntN(20)), Protocol: corev1.ProtocolTCP}}
	case n < 46:
		p.Spec.Tolerations = []corev1.Toleration{{Key: "dedicated", Operator: corev1.TolerationOpExists}}
	case n < 50 && *devices > 0:
		replicas = min(replicas, 3, *devices)
		*devices -= replicas
		p.Spec.Containers[0].Resources.Requests[gpu] = resource.MustParse("1")
		p.Spec.Tolerations = []corev1.Toleration{{Key: gpu, Operator: corev1.TolerationOpExists}}
	}
	return p, replicas
}
