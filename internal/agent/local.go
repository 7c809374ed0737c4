package agent

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object/claim"
)

// removeVolumes removes the data of local volumes that are to be deleted: what
// this node was told of and is on its way out, or has gone since. What a full set
// does not have is kept: a manager that was set back may not know of it.
func (a *Agent) removeVolumes(ctx context.Context, full bool, changes []change) {
	removed := false
	for _, c := range changes {
		v, ok := c.object.(*corev1.PersistentVolume)
		if !ok || c.deleted && full || !c.deleted && v.DeletionTimestamp == nil {
			continue
		}
		bound := v.Status.Phase == corev1.VolumeBound && !c.deleted
		if bound || claim.LocalNode(v) != a.cfg.Node || v.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimDelete {
			continue
		}
		if err := a.volumes.RemoveLocal(v.Name); err != nil {
			a.cfg.Log.Error("removing a local volume", "volume", v.Name, "err", err)
			continue
		}
		removed = true
	}
	if removed {
		a.refreshNode(ctx) // the manager waits for it
	}
}

// volumesInUse names the local volumes that have data here, as the node's status
// does.
func (a *Agent) volumesInUse() []corev1.UniqueVolumeName {
	names, err := a.volumes.Local()
	if err != nil {
		a.cfg.Log.Error("listing local volumes", "err", err)
	}
	var out []corev1.UniqueVolumeName
	for _, n := range names {
		out = append(out, claim.LocalName(n))
	}
	return out
}
