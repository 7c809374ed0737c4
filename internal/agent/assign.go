package agent

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/agent/assigned"
	"trireme/internal/agent/machine"
	"trireme/internal/dataplane"
	"trireme/internal/object/floating"
	"trireme/internal/object/network"
	"trireme/internal/object/route"
	"trireme/internal/runtime"
	"trireme/internal/wire"
)

// take takes over what the node has to run. The network hears of it first: a pod's
// address is there before its sandbox.
func (a *Agent) take(ctx context.Context, full bool, items []wire.Item) {
	changes := a.objects.Apply(full, items)
	a.network(ctx, full, changes)
	a.assignPods(ctx, changes)
	a.orders(items)
	a.removeVolumes(ctx, full, changes)
	select {
	case a.dirtyCache <- struct{}{}:
	default:
	}
}

// network tells the network what changed; after an error, everything.
func (a *Agent) network(ctx context.Context, full bool, changes []assigned.Change) {
	a.mu.Lock()
	again := a.netErr != nil
	a.mu.Unlock()
	if again {
		full, changes = true, a.objects.All()
	}
	var out []dataplane.Change
	for _, c := range changes {
		switch c.Table {
		case "pods":
			out = append(out, dataplane.Change{Object: a.withAddresses(c.Object), Deleted: c.Deleted})
		case "services", "endpointslices", "nodes", "networkpolicies", "peergroups", "secrets", route.TableName, floating.Table, network.Table:
			out = append(out, dataplane.Change{Object: c.Object, Deleted: c.Deleted})
		case network.MembersTable:
			if o, ok := c.Object.(*discoveryv1.EndpointSlice); ok {
				out = append(out, dataplane.Change{Object: &dataplane.Members{EndpointSlice: o}, Deleted: c.Deleted})
			}
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

const leaseEvery = time.Second // well within a lease

// leaseLoop renews the node's right to its floating addresses while a manager hears of
// it. Where nothing renews it the kernel drops them: another node has them.
func (a *Agent) leaseLoop(ctx context.Context) error {
	t := time.NewTicker(leaseEvery)
	defer t.Stop()
	for {
		if lease := a.session.Lease(); lease > 0 {
			if err := a.cfg.Network.Renew(lease); err != nil {
				a.cfg.Log.Error("renewing floating addresses", "err", err)
			}
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (a *Agent) assignPods(ctx context.Context, changes []assigned.Change) {
	touched := map[string]bool{} // namespaces whose configuration changed
	trust := false               // authorities changed, which any pod may have
	mount := false               // volumes did, or who serves them
	again := false               // runtime classes did, which sandboxes may wait for
	for _, c := range changes {
		switch c.Table {
		case "pods":
			a.assignPod(ctx, c)
		case "secrets", "configmaps":
			touched[c.Object.GetNamespace()] = true
		case "runtimeclasses":
			again = true
		case "csidrivers", "volumeattachments", "persistentvolumes", "persistentvolumeclaims":
			mount = true
		case "clustertrustbundles":
			trust = true
		}
	}
	if mount {
		a.retryVolumes(ctx)
		a.expand(ctx)
	}
	for _, w := range a.allWorkers() {
		if trust || touched[w.key.Namespace] {
			w.refresh(ctx)
		}
		if again {
			w.tell(ctx, func() { w.o.Sandbox.Retry.NotBefore = time.Time{} })
		}
	}
}

func (a *Agent) assignPod(ctx context.Context, c assigned.Change) {
	pod, ok := c.Object.(*corev1.Pod)
	if !ok {
		return
	}
	w := a.worker(pod.UID)
	switch {
	case c.Deleted && w != nil:
		w.dismiss(ctx)
	case c.Deleted:
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
		w.o.Failure = refused
		w.event(corev1.EventTypeWarning, refused.Reason, refused.Message, "")
	}
	delete(a.found, pod.UID)
	a.workers[pod.UID] = w
	ctx, cancel := context.WithCancel(a.runCtx())
	a.pool.Go(func() {
		defer cancel() // lets what still wants to tell the worker something go
		w.run(ctx)
		if !w.o.Gone {
			return // the agent ends, and the cache wants its status
		}
		more := a.grants.Release(w.uid)
		a.releaseHardware(w.uid)
		a.given.set(w.uid, nil)
		a.mu.Lock()
		delete(a.workers, w.uid)
		a.mu.Unlock()
		a.passOn(ctx, more)
	})
}

// dismiss ends a pod that is in the table no more.
func (w *worker) dismiss(ctx context.Context) {
	w.tell(ctx, func() { w.terminate(machine.GraceOf(w.pod)) })
}

// refresh brings the pod's volumes up to date after an object changed.
func (w *worker) refresh(ctx context.Context) {
	w.tell(ctx, func() {
		w.retryNow()
		w.rewrite(ctx)
	})
}

// republish has drivers called again that want to be.
func (w *worker) republish(ctx context.Context) {
	w.tell(ctx, func() {
		if w.a.volumes.Republished(w.pod) {
			w.rewrite(ctx)
		}
	})
}

// rewrite brings what the pod's volumes hold up to date.
func (w *worker) rewrite(ctx context.Context) {
	if w.o.Preparing {
		w.stale = true // one hand on the volumes at a time
		return
	}
	if !w.o.Prepared || w.o.Terminating != nil || !w.a.volumes.Renewed(w.pod) {
		return
	}
	w.o.Preparing = true
	pod := w.pod
	w.op(ctx, func() func() {
		err := w.a.volumes.Refresh(pod)
		return func() {
			w.o.Preparing = false
			if err != nil {
				w.event(corev1.EventTypeWarning, "FailedMount", err.Error(), "")
			}
			w.rewriteStale(ctx)
		}
	})
}

func (w *worker) rewriteStale(ctx context.Context) {
	if w.stale {
		w.stale = false
		w.rewrite(ctx)
	}
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
		if a.worker(uid) != nil || a.objects.Pod(uid) {
			continue
		}
		a.cfg.Log.Info("ending a pod that is assigned no more", "pod", list[0].Namespace+"/"+list[0].Name)
		a.mu.Lock()
		if a.found == nil {
			a.found = map[types.UID][]runtime.Sandbox{}
		}
		a.found[uid] = list
		a.mu.Unlock()
		a.startWorker(assigned.Orphan(list[len(list)-1]))
	}
	a.removeLeftVolumes()
	has := func(uid types.UID) bool { return a.worker(uid) != nil || a.objects.Pod(uid) }
	if err := errors.Join(a.cpus.Keep(has), a.devices.Keep(has)); err != nil {
		a.cfg.Log.Error("noting who has what of the node", "err", err)
	}
}

// removeLeftVolumes removes the directories of pods that nobody knows.
func (a *Agent) removeLeftVolumes() {
	uids, err := a.volumes.Pods()
	for _, uid := range uids {
		if a.worker(uid) == nil && !a.objects.Pod(uid) {
			err = errors.Join(err, a.volumes.Teardown(uid), a.cgroups.Remove(uid))
		}
	}
	if err != nil {
		a.cfg.Log.Warn("removing what pods left behind", "err", err)
	}
}
