package volume

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"trireme/internal/object"
	"trireme/internal/object/claim"
	"trireme/internal/object/snapshot"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// origin is what a volume is made of: on a node, by the name that it has there
// (claim.MadeOf).
type origin struct{ node, name string }

// sourcesChanged reports whether something changed that a claim may be made of.
func sourcesChanged(tx *store.Tx) bool {
	for at := range tables.CustomObjects.Changed(tx) {
		if _, _, ok := tables.IsSnapshot(at); ok {
			return true
		}
	}
	for range tables.PersistentVolumeClaims.Changed(tx) {
		return true
	}
	return false
}

// beside returns the node on which a volume is to lie that is a copy: that of what it is made
// of, if it has room. nil: there is none now, and why where people should know.
func beside(tx *store.Tx, c *corev1.PersistentVolumeClaim, of claim.Source) (*corev1.Node, origin, string) {
	from, why := originOf(tx, c, of)
	if why != "" {
		return nil, origin{}, why
	}
	n, why := nodeOf(tx, c, from.node)
	return n, from, why
}

// originOf returns what the claim's volume is made of, or why it cannot be now.
func originOf(tx *store.Tx, c *corev1.PersistentVolumeClaim, of claim.Source) (origin, string) {
	switch of {
	case claim.FromSnapshot(of.Name):
		return snapshotOrigin(tx, c, of.Name)
	case claim.FromClaim(of.Name):
		return claimOrigin(tx, c, of.Name)
	}
	return origin{}, fmt.Sprintf("dataSource: this class makes volumes of VolumeSnapshots and PersistentVolumeClaims, not of %s", of.Kind)
}

func snapshotOrigin(tx *store.Tx, c *corev1.PersistentVolumeClaim, name string) (origin, string) {
	s, ok := tables.VolumeSnapshot(tx, object.Key{Namespace: c.Namespace, Name: name})
	if !ok {
		return origin{}, fmt.Sprintf("dataSource: volumesnapshot %q is not in namespace %s", name, c.Namespace)
	}
	if s.Status == nil || s.Status.ReadyToUse == nil || !*s.Status.ReadyToUse || s.Status.BoundVolumeSnapshotContentName == nil {
		return origin{}, fmt.Sprintf("dataSource: volumesnapshot %q is not ready to use", name)
	}
	content, ok := tables.SnapshotContent(tx, *s.Status.BoundVolumeSnapshotContentName)
	if !ok || !snapshot.Names(content, s) {
		return origin{}, fmt.Sprintf("dataSource: volumesnapshot %q and volumesnapshotcontent %q do not name each other", name, *s.Status.BoundVolumeSnapshotContentName)
	}
	node, called, _, ours := snapshot.Place(content)
	if !ours {
		return origin{}, fmt.Sprintf("dataSource: volumesnapshot %q is of driver %s: this class makes volumes of snapshots of %s", name, content.Spec.Driver, snapshot.Driver)
	}
	if s.Status.RestoreSize != nil {
		if why := tooSmall(c, *s.Status.RestoreSize, "volumesnapshot "+name); why != "" {
			return origin{}, why
		}
	}
	return origin{node, "snapshot/" + called}, ""
}

func claimOrigin(tx *store.Tx, c *corev1.PersistentVolumeClaim, name string) (origin, string) {
	from, ok := tables.PersistentVolumeClaims.Get(tx, object.Key{Namespace: c.Namespace, Name: name})
	if !ok {
		return origin{}, fmt.Sprintf("dataSource: persistentvolumeclaim %q is not in namespace %s", name, c.Namespace)
	}
	v, ours := tables.LocalVolume(tx, from)
	switch {
	case from.Spec.VolumeName == "":
		return origin{}, fmt.Sprintf("dataSource: persistentvolumeclaim %q is not bound yet", name)
	case !ours:
		return origin{}, fmt.Sprintf("dataSource: persistentvolumeclaim %q has a volume of another class: this one makes copies of its own", name)
	}
	if why := tooSmall(c, v.Spec.Capacity[corev1.ResourceStorage], "persistentvolumeclaim "+name); why != "" {
		return origin{}, why
	}
	return origin{claim.LocalNode(v), "volume/" + v.Name}, ""
}

// tooSmall says why the claim has no room for what it is made of; empty: it has.
func tooSmall(c *corev1.PersistentVolumeClaim, least resource.Quantity, of string) string {
	if want := c.Spec.Resources.Requests[corev1.ResourceStorage]; want.Cmp(least) < 0 {
		return fmt.Sprintf("spec.resources.requests.storage: %s is less than the %s that %s has", want.String(), least.String(), of)
	}
	return ""
}
