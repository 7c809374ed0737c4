package agent

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/agent/assigned"
)

// cacheDelay lets a burst of assignments be one write.
const cacheDelay = time.Second

func (a *Agent) cacheFile() string { return a.path("agent", "assignments") }

// cacheLoop keeps the file of the last assignments.
func (a *Agent) cacheLoop(ctx context.Context) error {
	for {
		select {
		case <-a.dirtyCache:
		case <-ctx.Done():
			return errors.Join(ctx.Err(), a.saveCache()) // with the newest statuses
		}
		t := time.NewTimer(cacheDelay)
		select {
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
		if err := a.saveCache(); err != nil {
			a.cfg.Log.Error("keeping the assignments", "err", err)
		}
	}
}

// saveCache writes the assignments with the newest statuses, so that an agent
// that starts without a manager knows what it last saw.
func (a *Agent) saveCache() error {
	return a.objects.Save(a.cacheFile(), func(pod *corev1.Pod) *corev1.PodStatus {
		if w := a.worker(pod.UID); w != nil {
			return w.newest()
		}
		return nil
	})
}

// loadCache assigns what was assigned when the agent last ran.
func (a *Agent) loadCache(ctx context.Context) error {
	items, err := assigned.Load(a.cacheFile())
	if err != nil || items == nil {
		return err
	}
	items, _, _ = a.static.Rewrite(true, items)
	changes := a.objects.Apply(true, items)
	a.network(ctx, true, changes)
	a.assignPods(ctx, changes)
	return nil
}

// newest returns the pod's newest status, which nobody changes; nil: none was made.
func (w *worker) newest() *corev1.PodStatus {
	w.shown.mu.Lock()
	defer w.shown.mu.Unlock()
	return w.shown.status
}

// containers returns what is known of the pod's containers.
func (w *worker) containers() map[string]shownContainer {
	w.shown.mu.Lock()
	defer w.shown.mu.Unlock()
	return w.shown.containers
}
