package agent

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/agent/cgroup"
	"trireme/internal/agent/machine"
	"trireme/internal/agent/pressure"
	"trireme/internal/agent/usage"
)

// reasonEvicted is the reason of a pod that its node threw out, or did not let in.
const reasonEvicted = "Evicted"

// evictor is what package pressure asks of the agent.
type evictor struct{ a *Agent }

// watchPressure makes what watches the node.
func (a *Agent) watchPressure() error {
	a.rules = a.cfg.Eviction
	if a.rules == nil {
		var err error
		if a.rules, err = pressure.Default().Parse(); err != nil {
			return err
		}
	}
	tree, _ := a.cgroups.(*cgroup.Tree)
	a.meter = &usage.Meter{
		Root: a.cfg.Root, ImageRoot: a.path("containerd"), Runtime: a.cfg.Runtime, Tree: tree, All: a.Pods, LogDir: a.logDir, EmptyDir: a.emptyDir,
		Traffic: a.cfg.Network.Traffic,
	}
	var m pressure.Meter = a.meter
	if a.cfg.meter != nil {
		m = a.cfg.meter
	}
	a.pressure = pressure.New(a.rules, m, evictor{a}, a.cfg.Log)
	return nil
}

// Evict implements pressure.Agent.
func (e evictor) Evict(uid types.UID, message string, grace *int64) <-chan struct{} {
	w := e.a.worker(uid)
	if w == nil {
		return nil
	}
	gone := make(chan struct{})
	if !w.tell(e.a.runContext(), func() { w.evict(message, grace, gone) }) {
		return nil
	}
	return gone
}

// Reclaim implements pressure.Agent.
func (e evictor) Reclaim(ctx context.Context) error {
	return errors.Join(e.a.images.Reclaim(ctx), e.a.sandboxes.Reclaim(), e.a.fetcher.Reclaim())
}

// PressureChanged implements pressure.Agent.
func (e evictor) PressureChanged(ctx context.Context) { e.a.refreshNode(ctx) }

// evict fails the pod for the node's sake. gone is closed once nothing of it runs.
func (w *worker) evict(message string, grace *int64, gone chan struct{}) {
	w.waiters = append(w.waiters, gone)
	if w.o.Failure != nil || w.o.Ended {
		return
	}
	w.o.Failure, w.o.Evicted = &machine.Failure{Reason: reasonEvicted, Message: message}, true
	if grace != nil {
		d := time.Duration(*grace) * time.Second
		w.o.Grace = &d
		if w.o.Terminating != nil {
			w.terminate(d)
		}
	}
	w.event(corev1.EventTypeWarning, reasonEvicted, message, "")
}

// tellGone tells those who wait for it that nothing of the pod runs.
func (w *worker) tellGone() {
	for _, gone := range w.waiters {
		close(gone)
	}
	w.waiters = nil
}
