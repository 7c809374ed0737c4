package snapshot

import (
	"slices"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"trireme/internal/object"
	"trireme/internal/object/claim"
	"trireme/internal/object/snapshot"
	"trireme/internal/orchestrate/reap"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Loop keeps snapshots and their contents.
type Loop struct {
	open    map[object.Key]waiting // snapshots that are not at rest, and may be ours
	leaving map[string]bool        // contents that wait for their node
}

// waiting is a snapshot that is not at rest: what it waits for may be any claim, volume,
// class or node.
type waiting struct {
	claim object.Key // that it is taken of; empty: none
	holds bool       // the claim has to stay for it
}

// New returns the loop.
func New() *Loop { return &Loop{} }

// The methods of loop.Reconciler.

func (l *Loop) Name() string { return "orchestrate/snapshots" }

func (l *Loop) Reads() []store.TableID {
	return []store.TableID{tables.CustomObjects.ID(), tables.PersistentVolumeClaims.ID(), tables.PersistentVolumes.ID(), tables.Nodes.ID()}
}

func (l *Loop) Writes() []store.TableID {
	return []store.TableID{tables.CustomObjects.ID(), tables.PersistentVolumeClaims.ID()}
}

func (l *Loop) Reconcile(tx *store.Tx) (time.Time, error) {
	if tx.FullPass() {
		l.open, l.leaving = map[object.Key]waiting{}, map[string]bool{}
	}
	snapshots, contents, claims := l.take(tx)
	for _, key := range object.SortedKeys(contents) {
		if err := l.content(tx, key.Name); err != nil {
			return time.Time{}, err
		}
	}
	for _, key := range object.SortedKeys(snapshots) {
		was := l.open[key].claim
		delete(l.open, key)
		if err := l.snapshot(tx, key); err != nil {
			return time.Time{}, err
		}
		claims[was], claims[l.open[key].claim] = true, true
	}
	for _, key := range object.SortedKeys(claims) {
		l.protect(tx, key)
	}
	return time.Time{}, nil
}

// take returns what is to be looked at.
func (l *Loop) take(tx *store.Tx) (snapshots, contents, claims map[object.Key]bool) {
	snapshots, contents, claims = map[object.Key]bool{}, map[object.Key]bool{}, map[object.Key]bool{}
	for at := range tables.CustomObjects.Changed(tx) {
		resource, key, ours := tables.IsSnapshot(at)
		switch {
		case !ours:
		case resource == tables.VolumeSnapshots:
			snapshots[key] = true
		case resource == tables.VolumeSnapshotContents:
			contents[key] = true
			if c, ok := tables.SnapshotContent(tx, key.Name); ok {
				snapshots[object.Key{Namespace: c.Spec.VolumeSnapshotRef.Namespace, Name: c.Spec.VolumeSnapshotRef.Name}] = true
			}
		}
	}
	for key := range tables.PersistentVolumeClaims.Changed(tx) {
		if c, ok := tables.PersistentVolumeClaims.Get(tx, key); ok && slices.Contains(c.Finalizers, snapshot.ClaimProtection) {
			claims[key] = true
		}
	}
	if l.elseChanged(tx) {
		for key := range l.open {
			snapshots[key] = true
		}
		for name := range l.leaving {
			contents[object.Key{Name: name}] = true
		}
	}
	return snapshots, contents, claims
}

// elseChanged reports whether something changed that an open snapshot may wait for.
func (l *Loop) elseChanged(tx *store.Tx) bool {
	for at := range tables.CustomObjects.Changed(tx) {
		if _, _, ours := tables.IsSnapshot(at); ours {
			return true
		}
	}
	for range tables.PersistentVolumeClaims.Changed(tx) {
		return true
	}
	for range tables.PersistentVolumes.Changed(tx) {
		return true
	}
	for range tables.Nodes.Changed(tx) {
		return true
	}
	return false
}

// snapshot takes one step for the snapshot at key.
func (l *Loop) snapshot(tx *store.Tx, key object.Key) error {
	s, ok := tables.VolumeSnapshot(tx, key)
	if !ok {
		return nil
	}
	if s.DeletionTimestamp != nil {
		return l.leave(tx, s)
	}
	w := waiting{}
	if name := s.Spec.Source.PersistentVolumeClaimName; name != nil {
		w.claim = object.Key{Namespace: s.Namespace, Name: *name}
	}
	next := s.DeepCopy()
	c, why, err := l.bind(tx, next)
	if err != nil {
		return err
	}
	switch {
	case c == nil && why == "":
		if undecided(tx, w.claim) {
			l.open[key] = waiting{}
		}
		return nil
	case c == nil:
		l.open[key] = waiting{}
		fail(tx, next, why)
	default:
		next.Status = snapshot.Status(c)
		for _, f := range []string{snapshot.SourceProtection, snapshot.Protection} {
			if !slices.Contains(next.Finalizers, f) {
				next.Finalizers = append(next.Finalizers, f)
			}
		}
		node, _, _, _ := snapshot.Place(c)
		metav1.SetMetaDataAnnotation(&next.ObjectMeta, snapshot.OnNode, node)
		if w.holds = next.Status.Error == nil; !snapshot.Ready(c) {
			l.open[key] = w
		}
	}
	return put(tx, s, next)
}

// undecided reports whether it is yet to be seen whose volume a claim has. A content that
// comes wakes the loop itself.
func undecided(tx *store.Tx, key object.Key) bool {
	c, ok := tables.PersistentVolumeClaims.Get(tx, key)
	if !ok || c.Spec.VolumeName == "" {
		return key.Name != ""
	}
	v, ok := tables.PersistentVolumes.Get(tx, object.Key{Name: c.Spec.VolumeName})
	return !ok || claim.LocalNode(v) != ""
}

// fail says why a snapshot has no content, unless somebody has said something of it.
func fail(tx *store.Tx, s *snapshotv1.VolumeSnapshot, why string) {
	if s.Status != nil && s.Status.Error != nil {
		return
	}
	if s.Status == nil {
		s.Status = &snapshotv1.VolumeSnapshotStatus{}
	}
	at, ready := metav1.NewTime(tx.Now().Truncate(time.Second)), false
	s.Status.ReadyToUse, s.Status.Error = &ready, &snapshotv1.VolumeSnapshotError{Time: &at, Message: &why}
}

// put writes what the loop says of a snapshot, if that is news, and leaves all else of it as
// it is, also what this version does not know.
func put(tx *store.Tx, old, next *snapshotv1.VolumeSnapshot) error {
	if equality.Semantic.DeepEqual(old, next) {
		return nil
	}
	at := tables.SnapshotKey(tables.VolumeSnapshots, object.KeyOf(next))
	row, _ := tables.CustomObjects.Get(tx, at)
	u := row.DeepCopy()
	u.SetFinalizers(next.Finalizers)
	u.SetAnnotations(next.Annotations)
	if next.Generation != old.Generation {
		u.SetGeneration(next.Generation)
	}
	if name := next.Spec.VolumeSnapshotClassName; name != nil {
		if err := unstructured.SetNestedField(u.Object, *name, "spec", "volumeSnapshotClassName"); err != nil {
			return err
		}
	}
	if next.Status != nil {
		status, err := runtime.DefaultUnstructuredConverter.ToUnstructured(next.Status)
		if err != nil {
			return err
		}
		u.Object["status"] = status
	}
	tables.CustomObjects.PutAt(tx, at, u)
	return nil
}

// leave takes one step for a snapshot that is on its way out.
func (l *Loop) leave(tx *store.Tx, s *snapshotv1.VolumeSnapshot) error {
	c := contentOf(tx, s)
	if c == nil && s.Annotations[snapshot.OnNode] == "" {
		return nil // not ours, or nothing holds it
	}
	if tables.NeedsSource(tx, s.Namespace, claim.FromSnapshot(s.Name)) {
		l.open[object.KeyOf(s)] = waiting{}
		return nil
	}
	if c != nil {
		at := tables.SnapshotKey(tables.VolumeSnapshotContents, object.KeyOf(c))
		if c.Annotations[snapshot.BeingDeleted] != "yes" {
			row, _ := tables.CustomObjects.Get(tx, at)
			u := row.DeepCopy()
			noteDeletion(u)
			tables.CustomObjects.PutAt(tx, at, u)
		}
		if c.Spec.DeletionPolicy == snapshotv1.VolumeSnapshotContentDelete {
			reap.Delete(tx, tables.CustomObjects, at, metav1.DeletePropagationBackground)
			if _, still := tables.CustomObjects.Row(tx, at); still {
				l.open[object.KeyOf(s)] = waiting{}
				return nil
			}
		}
	}
	next := s.DeepCopy()
	next.Finalizers = object.Without(object.Without(s.Finalizers, snapshot.SourceProtection), snapshot.Protection)
	return put(tx, s, next)
}

// contentOf returns the content of a snapshot, if that is of our driver; nil: there is none.
func contentOf(tx *store.Tx, s *snapshotv1.VolumeSnapshot) *snapshotv1.VolumeSnapshotContent {
	name := snapshot.ContentName(s)
	if given := s.Spec.Source.VolumeSnapshotContentName; given != nil {
		name = *given
	}
	c, ok := tables.SnapshotContent(tx, name)
	if !ok || !snapshot.Names(c, s) || c.Spec.Driver != snapshot.Driver {
		return nil
	}
	return c
}

// protect gives a claim the finalizer while a snapshot is made of it, and takes it from a
// claim on a volume of ours when none is.
func (l *Loop) protect(tx *store.Tx, key object.Key) {
	c, ok := tables.PersistentVolumeClaims.Get(tx, key)
	if !ok {
		return
	}
	needed := false
	for _, w := range l.open {
		needed = needed || w.holds && w.claim == key
	}
	has := slices.Contains(c.Finalizers, snapshot.ClaimProtection)
	next := c.DeepCopy()
	switch {
	case needed && !has && c.DeletionTimestamp == nil:
		next.Finalizers = append(next.Finalizers, snapshot.ClaimProtection)
	case !needed && has:
		if _, ours := tables.LocalVolume(tx, c); !ours {
			return
		}
		next.Finalizers = object.Without(c.Finalizers, snapshot.ClaimProtection)
	default:
		return
	}
	tables.PersistentVolumeClaims.Put(tx, next)
}
