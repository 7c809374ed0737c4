// Package placing measures the scheduler's engine alone, without a store: workloads in the manner of Kubernetes'
// scheduler_perf, and how fast they are placed.
package placing

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/schedule"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Case is a workload.
type Case struct {
	Name  string
	Nodes int
	Held  int // pods that have a node before
	Pods  int
	// Node, Had and Pod make the i-th of each; nil: the plain ones.
	Node func(i int) *corev1.Node
	Had  func(i int) *corev1.Pod
	Pod  func(i int) *corev1.Pod
}

// Result is how a case went.
type Result struct {
	Placed     int
	Victims    int // who has to leave for them
	Seconds    float64
	CPUSeconds float64
	PeakBytes  int64 // of the whole process, the workload's objects included
}

// Run runs a case: what is timed is from a pod to its node, the hash that finds its class included, one after another.
func Run(c Case) (Result, error) {
	s, err := store.Open(context.Background(), store.Config{Now: time.Now, NewID: func() types.UID { return "" }}, tables.Defs()...)
	if err != nil {
		return Result{}, err
	}
	e := schedule.NewEngine(s.Snapshot())
	node, had, pod := c.Node, c.Had, c.Pod
	if node == nil {
		node = PlainNode
	}
	if had == nil {
		had = HeldPod
	}
	if pod == nil {
		pod = ServicePod
	}
	for i := range c.Nodes {
		e.SetNode(node(i))
	}
	for i := range c.Held {
		p := had(i)
		p.Spec.NodeName = nodeName(i % c.Nodes)
		e.Place(p)
	}
	pods := make([]*corev1.Pod, c.Pods)
	for i := range pods {
		pods[i] = pod(i)
	}
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		return Result{}, fmt.Errorf("resetting the peak of memory: %w", err)
	}
	r := Result{}
	cpu, start := cpuTime(), time.Now()
	for _, p := range pods {
		name, why := e.Place(p)
		if name == "" {
			return r, fmt.Errorf("%s: pod %s has no node: %s", c.Name, p.Name, why)
		}
		r.Placed++
	}
	r.Seconds, r.CPUSeconds = time.Since(start).Seconds(), (cpuTime() - cpu).Seconds()
	r.PeakBytes = peak()
	runtime.KeepAlive(e)
	return r, nil
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// peak returns the most memory that the process had since the peak was reset.
func peak() int64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		var kb int64
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kb); n == 1 {
			return kb << 10
		}
	}
	return 0
}
