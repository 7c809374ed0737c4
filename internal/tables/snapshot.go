package tables

import (
	"slices"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"trireme/internal/object"
	"trireme/internal/object/claim"
	"trireme/internal/object/snapshot"
	"trireme/internal/store"
)

// The resources of snapshots, in CustomObjects.
const (
	VolumeSnapshots        = "volumesnapshots"
	VolumeSnapshotClasses  = "volumesnapshotclasses"
	VolumeSnapshotContents = "volumesnapshotcontents"
)

// SnapshotsByNode finds, in CustomObjects, the VolumeSnapshotContents whose data this
// cluster's agents keep, by the node that they lie on.
const SnapshotsByNode = "snapshotNode"

func snapshotNode(o *unstructured.Unstructured) []string {
	if o.GetKind() != "VolumeSnapshotContent" || o.GroupVersionKind().Group != snapshotv1.GroupName {
		return nil
	}
	if c, ok := AsSnapshotContent(o); ok {
		if node, _, _, ok := snapshot.Place(c); ok {
			return []string{node}
		}
	}
	return nil
}

// SnapshotKey returns where an object of a resource of snapshots is in CustomObjects; only
// VolumeSnapshots have a namespace.
func SnapshotKey(resource string, key object.Key) object.Key {
	return CustomPlace{Group: snapshotv1.GroupName, Plural: resource, Key: key}.CustomKey()
}

// IsSnapshot returns the resource and own key of an object of snapshots, false where the key
// in CustomObjects is of another group.
func IsSnapshot(at object.Key) (resource string, key object.Key, ok bool) {
	if at.Namespace != snapshotv1.GroupName {
		return "", object.Key{}, false
	}
	p := ParseCustomKey(at)
	return p.Plural, p.Key, true
}

// AsSnapshotContent returns a custom object as the VolumeSnapshotContent that it is; false
// where it is nil or cannot be read.
func AsSnapshotContent(o store.Object) (*snapshotv1.VolumeSnapshotContent, bool) {
	u, ok := o.(*unstructured.Unstructured)
	if !ok || u == nil {
		return nil, false
	}
	c := &snapshotv1.VolumeSnapshotContent{}
	return c, runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, c) == nil
}

// VolumeSnapshot returns a snapshot; false where there is none that can be read.
func VolumeSnapshot(r store.Reader, key object.Key) (*snapshotv1.VolumeSnapshot, bool) {
	return ReadCustom[snapshotv1.VolumeSnapshot](r, SnapshotKey(VolumeSnapshots, key))
}

// SnapshotContent returns a content; false where there is none that can be read.
func SnapshotContent(r store.Reader, name string) (*snapshotv1.VolumeSnapshotContent, bool) {
	return ReadCustom[snapshotv1.VolumeSnapshotContent](r, SnapshotKey(VolumeSnapshotContents, object.Key{Name: name}))
}

// LocalVolume returns the volume that a claim is bound to, where LocalProvisioner made it.
func LocalVolume(r store.Reader, c *corev1.PersistentVolumeClaim) (*corev1.PersistentVolume, bool) {
	v, ok := PersistentVolumes.Get(r, object.Key{Name: c.Spec.VolumeName})
	return v, ok && claim.BoundTo(c, v) && claim.LocalNode(v) != ""
}

// NeedsSource reports whether a claim in the namespace is still to get its volume made of
// the source: it waits for one, or its node has not made it yet.
func NeedsSource(r store.Reader, namespace string, of claim.Source) bool {
	for c := range PersistentVolumeClaims.In(r, namespace) {
		if from, ok := claim.SourceOf(c); !ok || from != of || c.DeletionTimestamp != nil {
			continue
		}
		if c.Spec.VolumeName == "" {
			return true
		}
		v, ok := LocalVolume(r, c)
		if !ok || v.DeletionTimestamp != nil {
			continue
		}
		n, ok := Nodes.Get(r, object.Key{Name: claim.LocalNode(v)})
		if ok && !slices.Contains(n.Status.VolumesInUse, claim.LocalName(v.Name)) {
			return true
		}
	}
	return false
}
