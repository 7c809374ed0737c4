package placing

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/loop"
	"trireme/internal/schedule"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Preempt measures how fast room is made for pods of high priority in a cluster that is full: the loop on a store without a
// log, until every pod has a node where its victims are leaving (scheduler_perf, PreemptionAsync: four pods a node, of which three
// have to go).
func Preempt(ctx context.Context, nodes, pods int) (Result, error) {
	made := 0
	s, err := store.Open(ctx, store.Config{Now: time.Now, NewID: func() types.UID { made++; return types.UID(fmt.Sprint(made)) }}, tables.Defs()...)
	if err != nil {
		return Result{}, err
	}
	update := func(f func(tx *store.Tx)) error {
		_, err := s.Update(ctx, func(tx *store.Tx) error { f(tx); return nil })
		return err
	}
	r := loop.New(s, loop.Config{}, schedule.New(schedule.Config{}))
	settle := func() error {
		for again := true; again; {
			if again, _, err = r.Tick(ctx); err != nil {
				return err
			}
		}
		return nil
	}
	err = update(func(tx *store.Tx) {
		for i := range nodes {
			tables.Nodes.Put(tx, PlainNode(i))
			for j := range 4 {
				p := demanding(fmt.Sprintf("low-%05d-%d", i, j), "900m", 0)
				p.Spec.NodeName, p.Status.Phase = nodeName(i), corev1.PodRunning
				tables.Pods.Put(tx, p)
			}
		}
	})
	if err == nil {
		err = settle()
	}
	if err == nil {
		err = update(func(tx *store.Tx) {
			for i := range pods {
				tables.Pods.Put(tx, demanding(fmt.Sprintf("high-%05d", i), "3", 100))
			}
		})
	}
	if err != nil {
		return Result{}, err
	}
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		return Result{}, fmt.Errorf("resetting the peak of memory: %w", err)
	}
	cpu, start := cpuTime(), time.Now()
	if err := settle(); err != nil {
		return Result{}, err
	}
	out := Result{Seconds: time.Since(start).Seconds(), CPUSeconds: (cpuTime() - cpu).Seconds(), PeakBytes: peak()}
	for row := range tables.Pods.Rows(s.Snapshot(), "") {
		switch {
		case row.Head().Deleting:
			out.Victims++
		case row.Object().Status.NominatedNodeName != "":
			out.Placed++
		}
	}
	if out.Placed != pods {
		return out, fmt.Errorf("%d of %d pods have room kept for them", out.Placed, pods)
	}
	return out, nil
}

func demanding(name, cpu string, priority int32) *corev1.Pod {
	p := barePod(0)
	p.Name, p.UID, p.Spec.Priority = name, types.UID(name), &priority
	p.Spec.Containers[0].Resources.Requests[corev1.ResourceCPU] = resource.MustParse(cpu)
	return p
}
