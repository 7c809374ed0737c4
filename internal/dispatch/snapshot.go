package dispatch

import (
	"context"
	"maps"
	"slices"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/object/claim"
	"trireme/internal/object/snapshot"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/wire"
)

// snapshots writes how a node says that its snapshots stand: the status of their contents.
// The finalizer of a content whose data the node has removed goes with that word.
func (d *Dispatcher) snapshots(ctx context.Context, node string, states map[string]*wire.SnapshotState) error {
	_, err := d.store.Update(ctx, func(tx *store.Tx) error {
		for _, name := range slices.Sorted(maps.Keys(states)) {
			if err := stands(tx, node, name, states[name]); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

func stands(tx *store.Tx, node, name string, says *wire.SnapshotState) error {
	c, ok := tables.SnapshotContent(tx, name)
	if !ok || string(c.UID) != says.Uid {
		return nil
	}
	on, called, _, ok := snapshot.Place(c)
	if !ok || on != node {
		return nil
	}
	at := tables.SnapshotKey(tables.VolumeSnapshotContents, object.Key{Name: name})
	if says.Removed {
		row, _ := tables.CustomObjects.Get(tx, at)
		if snapshot.Leaves(c) && slices.Contains(c.Finalizers, claim.LocalData) {
			next := row.DeepCopy()
			next.SetFinalizers(object.Without(c.Finalizers, claim.LocalData))
			tables.CustomObjects.PutAt(tx, at, next)
		}
		return nil
	}
	old := c.Status
	if old == nil {
		old = &snapshotv1.VolumeSnapshotContentStatus{}
	}
	next := old.DeepCopy()
	ready := says.CreatedUnixNs != 0
	next.ReadyToUse, next.Error = &ready, failure(old.Error, says.Error, tx.Now())
	if ready {
		handle := snapshot.Handle(node, called)
		next.SnapshotHandle, next.CreationTime, next.RestoreSize = &handle, &says.CreatedUnixNs, &says.Bytes
	}
	if equality.Semantic.DeepEqual(old, next) {
		return nil
	}
	return tables.PutStatus(tx, at, next)
}

// failure is what a status says of an error; nil: of none. One that is known keeps its time.
func failure(old *snapshotv1.VolumeSnapshotError, message string, now time.Time) *snapshotv1.VolumeSnapshotError {
	switch {
	case message == "":
		return nil
	case old != nil && old.Message != nil && *old.Message == message:
		return old
	}
	at := metav1.NewTime(now.Truncate(time.Second))
	return &snapshotv1.VolumeSnapshotError{Time: &at, Message: &message}
}
