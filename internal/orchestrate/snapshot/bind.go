package snapshot

import (
	"fmt"
	"slices"
	"strings"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"trireme/internal/object"
	"trireme/internal/object/claim"
	"trireme/internal/object/snapshot"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// bind returns the content of a snapshot of ours, which it makes where that is to be made,
// and writes into s what the snapshot's spec lacks. nil: there is none, and why; where that
// is empty the snapshot is another driver's, or not yet known to be ours.
func (l *Loop) bind(tx *store.Tx, s *snapshotv1.VolumeSnapshot) (c *snapshotv1.VolumeSnapshotContent, why string, err error) {
	if name := s.Spec.Source.VolumeSnapshotContentName; name != nil {
		return given(tx, s, *name)
	}
	if s.Spec.Source.PersistentVolumeClaimName == nil {
		return nil, "", nil // nor of any driver
	}
	if c, ok := tables.SnapshotContent(tx, snapshot.ContentName(s)); ok {
		if c.Spec.Driver != snapshot.Driver || !snapshot.Names(c, s) {
			return nil, "", nil
		}
		return c, "", nil
	}
	v, pvc, why := source(tx, s)
	if v == nil {
		return nil, why, nil
	}
	class, why := classOf(tx, s)
	if class == nil {
		return nil, why, nil
	}
	if s.Spec.VolumeSnapshotClassName == nil {
		s.Spec.VolumeSnapshotClassName = &class.Name
		s.Generation++
	}
	if pvc.DeletionTimestamp != nil {
		return nil, fmt.Sprintf("spec.source: persistentvolumeclaim %q is being deleted", pvc.Name), nil
	}
	name, err := order(tx, s, v, class)
	if err != nil {
		return nil, "", err
	}
	c, _ = tables.SnapshotContent(tx, name)
	return c, "", nil
}

// given returns the content that a snapshot names, and has it name the snapshot.
func given(tx *store.Tx, s *snapshotv1.VolumeSnapshot, name string) (*snapshotv1.VolumeSnapshotContent, string, error) {
	c, ok := tables.SnapshotContent(tx, name)
	if !ok || c.Spec.Driver != snapshot.Driver {
		return nil, "", nil
	}
	ref := &c.Spec.VolumeSnapshotRef
	if _, _, _, ok := snapshot.Place(c); !ok || c.Spec.Source.SnapshotHandle == nil {
		return nil, fmt.Sprintf("volumesnapshotcontent %q: spec.source.snapshotHandle is to be NODE/SNAPSHOT, as status.snapshotHandle of the content that it was made for says", name), nil
	}
	if ref.Namespace != s.Namespace || ref.Name != s.Name || ref.UID != "" && ref.UID != s.UID {
		return nil, fmt.Sprintf("volumesnapshotcontent %q is volumesnapshot %s/%s's: spec.volumeSnapshotRef names it", name, ref.Namespace, ref.Name), nil
	}
	if ref.UID == s.UID {
		return c, "", nil
	}
	at := tables.SnapshotKey(tables.VolumeSnapshotContents, object.Key{Name: name})
	row, _ := tables.CustomObjects.Get(tx, at)
	u := row.DeepCopy()
	if err := unstructured.SetNestedField(u.Object, string(s.UID), "spec", "volumeSnapshotRef", "uid"); err != nil {
		return nil, "", err
	}
	u.SetGeneration(u.GetGeneration() + 1)
	tables.CustomObjects.PutAt(tx, at, u)
	c, _ = tables.SnapshotContent(tx, name)
	return c, "", nil
}

// source returns the claim that a snapshot is of and its volume, where that is ours; nil, and
// why, where it is known to be wanted of ours.
func source(tx *store.Tx, s *snapshotv1.VolumeSnapshot) (*corev1.PersistentVolume, *corev1.PersistentVolumeClaim, string) {
	name := *s.Spec.Source.PersistentVolumeClaimName
	c, ok := tables.PersistentVolumeClaims.Get(tx, object.Key{Namespace: s.Namespace, Name: name})
	if ok {
		if v, ours := tables.LocalVolume(tx, c); ours {
			return v, c, ""
		}
	}
	if n := s.Spec.VolumeSnapshotClassName; n != nil {
		if class, ok := snapshotClass(tx, *n); ok && class.Driver == snapshot.Driver {
			return nil, nil, fmt.Sprintf("spec.source: persistentvolumeclaim %q has no volume of %s: it is not there, not bound yet, or of another storage class", name, snapshot.Driver)
		}
	}
	return nil, nil, ""
}

func snapshotClass(tx *store.Tx, name string) (*snapshotv1.VolumeSnapshotClass, bool) {
	return tables.ReadCustom[snapshotv1.VolumeSnapshotClass](tx, tables.SnapshotKey(tables.VolumeSnapshotClasses, object.Key{Name: name}))
}

// classOf returns the class of a snapshot of a volume of ours: the one that it names, or the
// driver's default one.
func classOf(tx *store.Tx, s *snapshotv1.VolumeSnapshot) (*snapshotv1.VolumeSnapshotClass, string) {
	if n := s.Spec.VolumeSnapshotClassName; n != nil {
		class, ok := snapshotClass(tx, *n)
		switch {
		case !ok:
			return nil, fmt.Sprintf("spec.volumeSnapshotClassName: volumesnapshotclass %q is not there", *n)
		case class.Driver != snapshot.Driver:
			return nil, fmt.Sprintf("spec.volumeSnapshotClassName: volumesnapshotclass %q is of driver %s, the volume is of %s", *n, class.Driver, snapshot.Driver)
		}
		return class, ""
	}
	var found *snapshotv1.VolumeSnapshotClass
	var names []string
	prefix := tables.SnapshotKey(tables.VolumeSnapshotClasses, object.Key{}).String()
	for row := range tables.CustomObjects.RowsFrom(tx, prefix, "") {
		class, ok := tables.ReadCustom[snapshotv1.VolumeSnapshotClass](tx, row.Key())
		if ok && class.Driver == snapshot.Driver && snapshot.IsDefault(class) {
			found = class
			names = append(names, class.Name)
		}
	}
	switch len(names) {
	case 1:
		return found, ""
	case 0:
		return nil, "spec.volumeSnapshotClassName: name a volumesnapshotclass: none of driver " + snapshot.Driver + " is the default one"
	}
	return nil, "spec.volumeSnapshotClassName: name a volumesnapshotclass: several of driver " + snapshot.Driver + " are default ones: " + strings.Join(names, ", ")
}

// order makes the content that has the volume's node take a snapshot.
func order(tx *store.Tx, s *snapshotv1.VolumeSnapshot, v *corev1.PersistentVolume, class *snapshotv1.VolumeSnapshotClass) (name string, err error) {
	handle, mode := snapshot.Handle(claim.LocalNode(v), v.Name), corev1.PersistentVolumeFilesystem
	c := &snapshotv1.VolumeSnapshotContent{
		ObjectMeta: metav1.ObjectMeta{Name: snapshot.ContentName(s), Generation: 1, Finalizers: []string{snapshot.ContentProtection, claim.LocalData}},
		Spec: snapshotv1.VolumeSnapshotContentSpec{
			VolumeSnapshotRef: corev1.ObjectReference{
				APIVersion: snapshotv1.SchemeGroupVersion.String(), Kind: "VolumeSnapshot", Namespace: s.Namespace, Name: s.Name, UID: s.UID,
			},
			Driver: snapshot.Driver, DeletionPolicy: class.DeletionPolicy, VolumeSnapshotClassName: &class.Name,
			Source: snapshotv1.VolumeSnapshotContentSource{VolumeHandle: &handle}, SourceVolumeMode: &mode,
		},
	}
	u, err := tables.Unstructured(snapshotv1.SchemeGroupVersion.WithKind("VolumeSnapshotContent"), c)
	if err != nil {
		return "", err
	}
	tables.CustomObjects.PutAt(tx, tables.SnapshotKey(tables.VolumeSnapshotContents, object.KeyOf(c)), u)
	return c.Name, nil
}

// content takes one step for a content of ours: its finalizers.
func (l *Loop) content(tx *store.Tx, name string) error {
	delete(l.leaving, name)
	at := tables.SnapshotKey(tables.VolumeSnapshotContents, object.Key{Name: name})
	c, ok := tables.SnapshotContent(tx, name)
	if !ok {
		return nil
	}
	node, _, _, ours := snapshot.Place(c)
	if !ours {
		return nil
	}
	row, _ := tables.CustomObjects.Get(tx, at)
	next := row.DeepCopy()
	switch {
	case c.DeletionTimestamp == nil:
		for _, f := range []string{snapshot.ContentProtection, claim.LocalData} {
			if !slices.Contains(next.GetFinalizers(), f) {
				next.SetFinalizers(append(next.GetFinalizers(), f))
			}
		}
	case !snapshot.Leaves(c):
		ref := &c.Spec.VolumeSnapshotRef
		if s, ok := tables.VolumeSnapshot(tx, object.Key{Namespace: ref.Namespace, Name: ref.Name}); ok && s.UID == ref.UID {
			return nil // it goes with its snapshot
		}
		noteDeletion(next)
	default:
		_, there := tables.Nodes.Row(tx, object.Key{Name: node})
		if !there || c.Spec.DeletionPolicy == snapshotv1.VolumeSnapshotContentRetain {
			next.SetFinalizers(object.Without(next.GetFinalizers(), claim.LocalData))
		}
		if !slices.Contains(next.GetFinalizers(), claim.LocalData) {
			next.SetFinalizers(object.Without(next.GetFinalizers(), snapshot.ContentProtection))
		} else {
			l.leaving[name] = true
		}
	}
	if changed(row, next) {
		tables.CustomObjects.PutAt(tx, at, next)
	}
	return nil
}

// noteDeletion says on a content that its snapshot is on its way out.
func noteDeletion(content *unstructured.Unstructured) {
	all := content.GetAnnotations()
	if all == nil {
		all = map[string]string{}
	}
	all[snapshot.BeingDeleted] = "yes"
	content.SetAnnotations(all)
}

// changed reports whether the loop's part of a content's metadata is another.
func changed(a, b *unstructured.Unstructured) bool {
	return !slices.Equal(a.GetFinalizers(), b.GetFinalizers()) || a.GetAnnotations()[snapshot.BeingDeleted] != b.GetAnnotations()[snapshot.BeingDeleted]
}
