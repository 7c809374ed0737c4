package agent

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/agent/volume"
	"trireme/internal/dataplane"
	"trireme/internal/runtime"
	"trireme/internal/wire"
)

// assign takes what a manager says this node has to run. The network hears of it
// first: a pod's address is there before its sandbox.
func (a *Agent) assign(ctx context.Context, full bool, items []wire.Item) error {
	changes := a.objects.apply(full, items)
	a.network(ctx, full, changes)
	a.assignPods(ctx, changes)
	a.removeVolumes(ctx, full, changes)
	if full {
		a.mu.Lock()
		a.fullSeen = true
		a.mu.Unlock()
		a.relistSoon() // which ends what is assigned no more
	}
	select {
	case a.dirtyCache <- struct{}{}:
	default:
	}
	return nil
}

// change is one object that came, changed or went. Where it went, object is what
// it was.
type change struct {
	table   string
	object  metav1.Object
	deleted bool
}

// network tells the network what changed; after an error, everything.
func (a *Agent) network(ctx context.Context, full bool, changes []change) {
	a.mu.Lock()
	again := a.netErr != nil
	a.mu.Unlock()
	if again {
		full, changes = true, a.objects.all()
	}
	var out []dataplane.Change
	for _, c := range changes {
		switch c.table {
		case "services", "endpointslices", "nodes", "pods":
			out = append(out, dataplane.Change{Object: c.object, Deleted: c.deleted})
		}
	}
	if len(out) == 0 && !full {
		return
	}
	err := a.cfg.Network.Apply(ctx, full, out)
	if err != nil && ctx.Err() == nil {
		a.cfg.Log.Error("telling the network", "err", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.netErr = err
}

func (a *Agent) assignPods(ctx context.Context, changes []change) {
	touched := map[string]bool{} // namespaces whose configuration changed
	trust := false               // authorities changed, which any pod may have
	for _, c := range changes {
		switch c.table {
		case "pods":
			a.assignPod(ctx, c)
		case "secrets", "configmaps":
			touched[c.object.GetNamespace()] = true
		case "clustertrustbundles":
			trust = true
		}
	}
	for _, w := range a.allWorkers() {
		if trust || touched[w.key.Namespace] {
			w.refresh(ctx)
		}
	}
}

func (a *Agent) assignPod(ctx context.Context, c change) {
	pod, ok := c.object.(*corev1.Pod)
	if !ok {
		return
	}
	w := a.worker(pod.UID)
	switch {
	case c.deleted && w != nil:
		w.dismiss(ctx)
	case c.deleted:
	case w == nil:
		a.startWorker(pod)
	default:
		w.update(ctx, pod)
	}
}

// startWorker runs a worker for the pod until the pod is gone.
func (a *Agent) startWorker(pod *corev1.Pod) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.workers[pod.UID] != nil || a.pool == nil || a.runCtx().Err() != nil {
		return
	}
	refused := a.refusalLocked(pod)
	w := newWorker(a, pod, a.found[pod.UID])
	if refused != nil {
		w.o.failure = refused
		w.event(corev1.EventTypeWarning, refused.reason, refused.message, "")
	}
	delete(a.found, pod.UID)
	a.workers[pod.UID] = w
	ctx, cancel := context.WithCancel(a.runCtx())
	a.pool.Go(func() {
		defer cancel() // lets what still wants to tell the worker something go
		w.run(ctx)
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.workers, w.uid)
	})
}

// dismiss ends a pod that is in the table no more.
func (w *worker) dismiss(ctx context.Context) {
	w.tell(ctx, func() { w.terminate(graceOf(w.pod)) })
}

// refresh brings the pod's volumes up to date after an object changed.
func (w *worker) refresh(ctx context.Context) {
	w.tell(ctx, func() {
		w.retryNow()
		if !w.o.prepared || w.o.preparing || w.o.terminating != nil || !volume.FromObjects(w.pod) {
			return
		}
		w.o.preparing = true // one hand on the volumes at a time
		pod := w.pod
		w.op(ctx, func() func() {
			err := w.a.volumes.Refresh(pod)
			return func() {
				w.o.preparing = false
				if err != nil {
					w.event(corev1.EventTypeWarning, "FailedMount", err.Error(), "")
				}
			}
		})
	})
}

// endOrphans ends what the runtime has of pods that no manager assigns.
func (a *Agent) endOrphans(ctx context.Context, sandboxes map[types.UID][]runtime.Sandbox) {
	a.mu.Lock()
	ready := a.fullSeen
	a.mu.Unlock()
	if !ready {
		return
	}
	for uid, list := range sandboxes {
		if a.worker(uid) != nil || a.objects.pod(uid) {
			continue
		}
		a.cfg.Log.Info("ending a pod that is assigned no more", "pod", list[0].Namespace+"/"+list[0].Name)
		a.mu.Lock()
		if a.found == nil {
			a.found = map[types.UID][]runtime.Sandbox{}
		}
		a.found[uid] = list
		a.mu.Unlock()
		a.startWorker(orphan(list[len(list)-1]))
	}
	a.removeLeftVolumes()
}

// removeLeftVolumes removes the directories of pods that nobody knows.
func (a *Agent) removeLeftVolumes() {
	uids, err := a.volumes.Pods()
	for _, uid := range uids {
		if a.worker(uid) == nil && !a.objects.pod(uid) {
			err = errors.Join(err, a.volumes.Teardown(uid), a.cgroups.Remove(uid))
		}
	}
	if err != nil {
		a.cfg.Log.Warn("removing what pods left behind", "err", err)
	}
}
