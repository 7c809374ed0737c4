package dispatch_test

import (
	"testing"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/object/claim"
	"trireme/internal/object/snapshot"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/wire"
)

// TestSnapshots: a content goes to its node alone, whose word is its status; another node's is
// not, nor what is said of another content of the name.
func TestSnapshots(t *testing.T) {
	m := newManager(t, time.Minute)
	here, other := m.agent("n1"), m.agent("n2")
	here.next()
	other.next()
	at := tables.SnapshotKey(tables.VolumeSnapshotContents, object.Key{Name: "c"})
	handle := "n1/pvc-1"
	put := func(c *snapshotv1.VolumeSnapshotContent) {
		u, err := tables.Unstructured(snapshotv1.SchemeGroupVersion.WithKind("VolumeSnapshotContent"), c)
		if err != nil {
			t.Fatal(err)
		}
		m.update(func(tx *store.Tx) { tables.CustomObjects.PutAt(tx, at, u) })
	}
	put(&snapshotv1.VolumeSnapshotContent{
		ObjectMeta: metav1.ObjectMeta{Name: "c", Finalizers: []string{claim.LocalData, "other"}},
		Spec: snapshotv1.VolumeSnapshotContentSpec{
			Driver: snapshot.Driver, DeletionPolicy: snapshotv1.VolumeSnapshotContentDelete,
			Source: snapshotv1.VolumeSnapshotContentSource{VolumeHandle: &handle}, VolumeSnapshotRef: corev1.ObjectReference{Name: "s", Namespace: "default", UID: "s"},
		},
	})
	item := here.drainUntil("volumesnapshotcontents c")
	sent, ok := item.Object.(*snapshot.Content)
	if !ok || *sent.Spec.Source.VolumeHandle != handle {
		t.Fatalf("the node was sent %v", item)
	}
	now := func() *snapshotv1.VolumeSnapshotContent {
		c, _ := tables.SnapshotContent(m.store.Snapshot(), "c")
		return c
	}
	says := func(a *agent, state *wire.SnapshotState) {
		a.ReportSnapshots(map[string]*wire.SnapshotState{"c": state})
	}
	uid := string(sent.UID)
	says(here, &wire.SnapshotState{Uid: uid, Error: "no blocks to share"})
	m.await("an error", func(*store.Snapshot) bool { c := now(); return c.Status != nil && c.Status.Error != nil })
	if c := now(); *c.Status.Error.Message != "no blocks to share" || *c.Status.ReadyToUse || c.Status.Error.Time.IsZero() {
		t.Errorf("a snapshot that failed: %+v", c.Status)
	}
	// What others say, or of another content, changes nothing: it comes before what counts.
	says(other, &wire.SnapshotState{Uid: uid, CreatedUnixNs: 7, Bytes: 7})
	says(here, &wire.SnapshotState{Uid: "another", CreatedUnixNs: 8, Bytes: 8})
	says(here, &wire.SnapshotState{Uid: uid, CreatedUnixNs: 1e18, Bytes: 1 << 30})
	m.await("a snapshot", func(*store.Snapshot) bool { return snapshot.Ready(now()) })
	if st := now().Status; st.Error != nil || *st.SnapshotHandle != "n1/snapshot-s" || *st.CreationTime != 1e18 || *st.RestoreSize != 1<<30 {
		t.Errorf("a snapshot that is there: %+v", st)
	}
	gone, when := now(), metav1.Now()
	gone.DeletionTimestamp, gone.Annotations = &when, map[string]string{snapshot.BeingDeleted: "yes"}
	put(gone)
	says(here, &wire.SnapshotState{Uid: uid, Removed: true})
	m.await("its finalizer is gone", func(*store.Snapshot) bool { return len(now().Finalizers) == 1 })
	m.update(func(tx *store.Tx) { tables.CustomObjects.Delete(tx, at) })
	for !here.drainUntil("volumesnapshotcontents c").Deleted {
	}
	m.update(func(tx *store.Tx) { tables.Pods.Put(tx, pod("a", "n2")) }) // the first that n2 hears
	if _, items := other.next(); items["pods default/a"].Object == nil || len(items) > 1 {
		t.Errorf("a node that has no snapshot was sent %v", items)
	}
}
