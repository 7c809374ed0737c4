package agent

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/agent/assigned"
	"trireme/internal/agent/csi"
	"trireme/internal/agent/machine"
	"trireme/internal/agent/snapshot"
	"trireme/internal/agent/volume"
	"trireme/internal/object/claim"
	content "trireme/internal/object/snapshot"
	"trireme/internal/object/swarm"
	"trireme/internal/wire"
)

// removeVolumes removes the data of local volumes that are to be deleted: what
// this node was told of and is on its way out, or has gone since. What a full set
// does not have is kept: a manager that was set back may not know of it.
func (a *Agent) removeVolumes(ctx context.Context, full bool, changes []assigned.Change) {
	removed := false
	for _, c := range changes {
		v, ok := c.Object.(*corev1.PersistentVolume)
		if ok && !c.Deleted && v.Annotations[swarm.VolumeAnnotation] != "" {
			a.retryVolumes(ctx) // a pod waits for it
		}
		if !ok || c.Deleted && full {
			continue
		}
		gone, err := a.volumes.Leave(v, c.Deleted)
		if err != nil {
			a.cfg.Log.Error("removing a volume", "err", err)
		}
		removed = removed || gone
	}
	if removed {
		a.refreshNode(ctx) // the manager waits for it
	}
	if slices.ContainsFunc(changes, func(c assigned.Change) bool { return c.Table == content.Table || c.Table == "persistentvolumes" }) {
		a.snapshots.Wake()
	}
}

// newSnapshots returns who copies the node's local volumes.
func (a *Agent) newSnapshots() *snapshot.Keeper {
	return snapshot.New(snapshot.Config{
		Dir: volume.LocalRoot(a.cfg.Root), Node: a.cfg.Node, Volumes: func() []*corev1.PersistentVolume {
			return assigned.All[*corev1.PersistentVolume](a.objects, "persistentvolumes")
		},
		Contents: func() (out []*snapshotv1.VolumeSnapshotContent) {
			for _, c := range assigned.All[*content.Content](a.objects, content.Table) {
				out = append(out, &c.VolumeSnapshotContent)
			}
			return out
		},
		Report: func(states map[string]*wire.SnapshotState) { a.session.ReportSnapshots(states) },
		Made: func() {
			a.refreshNode(a.runContext()) // the manager waits for it
			a.retryVolumes(a.runContext())
		},
		Log: a.cfg.Log,
	})
}

// driversChanged tells what drivers say of this node, and has pods that may have
// waited for one look again.
func (a *Agent) driversChanged() {
	a.reportStorage()
	a.retryVolumes(a.runContext())
}

// reportStorage tells what drivers say of this node and of its volumes.
func (a *Agent) reportStorage() {
	sizes, err := a.drivers.Sizes()
	if err != nil {
		a.cfg.Log.Error("reading the sizes of volumes", "err", err)
	}
	n, topology := a.drivers.Node()
	a.session.ReportStorage(wire.NodeStorage{CSINode: n, Topology: topology, Sizes: sizes, Infeasible: a.drivers.Infeasible()})
}

// expand has drivers grow the volumes of pods that run, where these have grown.
func (a *Agent) expand(ctx context.Context) {
	for _, w := range a.allWorkers() {
		w.tell(ctx, func() { w.expand(ctx) })
	}
}

// expand has drivers grow the pod's volumes; where one cannot it is tried again.
func (w *worker) expand(ctx context.Context) {
	if !w.o.Prepared || w.o.Stopped || w.o.Removing || len(claim.OfPod(w.pod)) == 0 {
		return
	}
	if w.growth.busy {
		w.growth.again = true
		return
	}
	w.growth.busy, w.growth.again = true, false
	pod := w.pod
	w.op(ctx, func() func() {
		grown, err := w.a.volumes.Expand(pod)
		return func() {
			w.growth.busy = false
			for _, name := range grown {
				w.event(corev1.EventTypeNormal, "FileSystemResizeSuccessful", "NodeExpandVolume succeeded for volume "+strconv.Quote(name), "")
			}
			switch {
			case w.growth.again:
				w.expand(ctx)
			case err != nil:
				w.log.Warn("growing a volume", "err", err)
				w.event(corev1.EventTypeWarning, "VolumeResizeFailed", err.Error(), "")
				w.expandLater(ctx, err)
			default:
				w.growth.retry = machine.Retry{}
			}
		}
	})
}

// expandLater tries again after an error that may pass.
func (w *worker) expandLater(ctx context.Context, err error) {
	if w.growth.waits || errors.Is(err, csi.ErrCannotExpand) || errors.Is(err, csi.ErrInfeasible) {
		return
	}
	w.growth.waits, w.growth.retry = true, w.growth.retry.Again(time.Now(), machine.RetryMax)
	w.later(ctx, time.Until(w.growth.retry.NotBefore), func() {
		w.growth.waits = false
		w.expand(ctx)
	})
}

// retryVolumes has pods that wait for a volume look again at once.
func (a *Agent) retryVolumes(ctx context.Context) {
	for _, w := range a.allWorkers() {
		w.tell(ctx, func() { w.o.PrepareRetry.NotBefore = time.Time{} })
	}
}

// volumesInUse names the volumes that this node holds, as its status does.
func (a *Agent) volumesInUse() []corev1.UniqueVolumeName {
	names, err := a.volumes.InUse()
	if err != nil {
		a.cfg.Log.Error("listing the volumes in use", "err", err)
	}
	return names
}
