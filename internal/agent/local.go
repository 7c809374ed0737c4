package agent

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/agent/assigned"
)

// removeVolumes removes the data of local volumes that are to be deleted: what
// this node was told of and is on its way out, or has gone since. What a full set
// does not have is kept: a manager that was set back may not know of it.
func (a *Agent) removeVolumes(ctx context.Context, full bool, changes []assigned.Change) {
	removed := false
	for _, c := range changes {
		v, ok := c.Object.(*corev1.PersistentVolume)
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
}

// driversChanged tells what drivers say of this node, and has pods that may have
// waited for one look again.
func (a *Agent) driversChanged() {
	a.session.ReportStorage(a.drivers.Node())
	a.retryVolumes(a.runContext())
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
